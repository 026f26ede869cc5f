//! `--audit`: what a step did is in it, held against its schema by a validator that nobody here wrote.

use std::path::Path;

use serde_json::Value;
use wbuild_tests::base;
use wbuild_tests::command::{self, command};
use wbuild_tests::project::{self, Project};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::{oracles, workspace};

/// Builds `project` with an audit; its lines, which keep to the schema.
fn audited(session: &mut Session, project: &Project, more: &[&str], code: i32) -> Vec<Value> {
    let name = format!("audit-{}", session.number());
    let (host, seen) = session.out(&name).unwrap();
    let (_, outcome) = project.build_in(session, &[&["--audit", &seen], more].concat()).unwrap();
    outcome.code(code).unwrap();
    check_schema(&host);
    let text = std::fs::read_to_string(&host).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check_schema(file: &Path) {
    let script = "import json, sys, jsonschema\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  check = jsonschema.Draft202012Validator(schema)\n\
                  for line in open(sys.argv[2]): check.validate(json.loads(line))\n";
    let mut check = command(oracles::python(&["jsonschema"]).unwrap(), ["-c", script]);
    check.arg(workspace::root().join("docs/audit.schema.json")).arg(file);
    command::run(check).unwrap().success().unwrap();
}

fn steps(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["type"] == "step").collect()
}

fn paths(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

const TEXT: &str = "FROM base\nCOPY input /in/input\n\
    RUN cat /in/input > /out && cat /in/input >> /out && rm -f /in/input && /bin/busybox true\n";

fn project() -> Project {
    let project = Project::new(&base::busybox().unwrap(), TEXT).unwrap();
    project.file("input", "what is read\n").unwrap();
    project
}

#[test]
fn a_step_leaves_a_record_of_what_it_did() {
    let mut session = Session::new(project::pod().unwrap()).unwrap();
    let project = project();
    let lines = audited(&mut session, &project, &["--audit-files", "digests"], 0);
    assert_eq!((lines[0]["type"].as_str(), lines[0]["policy"].is_null()), (Some("build"), true));
    assert_eq!(lines.last().unwrap()["result"], "built");
    let steps = steps(&lines);
    let (copy, run) = (steps[0], steps[1]);
    assert_eq!((copy["instruction"].as_str(), copy["recorded"].as_bool()), (Some("COPY"), Some(false)));
    assert_eq!(paths(&copy["files"]["written"]["list"]), ["/in", "/in/input"]);
    assert_eq!((run["exit"]["code"].as_i64(), run["line"].as_i64()), (Some(0), Some(3)));
    let busybox = run["programs"].as_array().unwrap().iter().find(|p| p["path"] == "/bin/busybox");
    assert!(busybox.is_some_and(|p| p["digest"].is_string()), "{run}");
    let read = run["files"]["read"]["list"].as_array().unwrap();
    let input = read.iter().find(|file| file["path"] == "/in/input").unwrap();
    let (digest, _) = wbuild_tests::layout::digest("what is read\n".as_bytes()).unwrap();
    assert_eq!(input["digest"], digest);
    let written = &run["files"]["written"];
    let out = written["list"].as_array().unwrap().iter().find(|file| file["path"] == "/out").unwrap();
    let (digest, _) = wbuild_tests::layout::digest("what is read\nwhat is read\n".as_bytes()).unwrap();
    assert_eq!(out["digest"], digest);
    assert_eq!(written["removed_list"], serde_json::json!(["/in/input"]));
    // The next time nothing is executed, and the audit says so.
    let lines = audited(&mut session, &project, &[], 0);
    let again = self::steps(&lines);
    assert!(
        again.iter().all(|step| step["cached"] == true && step["programs"] == serde_json::json!([])),
        "{lines:?}"
    );
}

#[test]
fn counts_are_without_lists() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = project();
    let lines = audited(&mut session, &project, &[], 0);
    let files = &steps(&lines)[1]["files"];
    assert!(files["read"]["count"].as_u64().unwrap() >= 1 && files["read"].get("list").is_none(), "{files}");
    assert_eq!((files["written"]["removed"].as_u64(), files["written"].get("list")), (Some(1), None));
}

#[test]
fn what_was_denied_and_what_failed_is_in_the_audit() {
    let mut session = Session::new(Caller::Root).unwrap();
    let text = "FROM base\nRUN nc 127.0.0.1 9 < /dev/null; echo x > /etc/new || exit 3\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let (host, seen) = session.out("p.toml").unwrap();
    std::fs::write(host, "[[step]]\nfs.write.deny = [\"/etc/**\"]\n").unwrap();
    let lines = audited(&mut session, &project, &["--policy", &seen], 4);
    assert_eq!(lines[0]["policy"]["mode"], "enforce");
    let step = steps(&lines)[0];
    assert_eq!((step["failed"].as_bool(), step["exit"]["code"].as_i64()), (Some(true), Some(3)));
    let denial = &step["denials"][0];
    assert_eq!((denial["code"].as_str(), denial["path"].as_str()), (Some("P0304"), Some("/etc/new")));
    assert_eq!(denial["rule"]["line"], 2);
    assert_eq!(step["hosts"], serde_json::json!([{"address": "127.0.0.1", "port": 9, "count": 1}]));
    assert_eq!(lines.last().unwrap()["result"], "failed");
}

#[test]
fn a_secret_is_named_and_nothing_of_it_told() {
    let mut session = Session::new(Caller::Root).unwrap();
    let text = "FROM base\nRUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let (host, seen) = session.out("token").unwrap();
    std::fs::write(host, "swordfish-and-more").unwrap();
    let secret = format!("id=token,src={seen}");
    let lines = audited(&mut session, &project, &["--secret", &secret, "--audit-files", "digests"], 0);
    assert_eq!(steps(&lines)[0]["secrets"], serde_json::json!(["token"]));
    assert!(!serde_json::to_string(&lines).unwrap().contains("swordfish"));
}

/// A build argument is no place for a token, and people put them there: the file that is kept does not have its value.
#[test]
fn no_value_of_a_build_argument_is_told() {
    let mut session = Session::new(Caller::Root).unwrap();
    let text = "FROM base\nARG TOKEN\nWORKDIR /w-$TOKEN\nRUN echo ${TOKEN} | wc -c\nRUN test -z $TOKEN\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let lines = audited(&mut session, &project, &["--build-arg", "TOKEN=swordfish"], 1);
    assert!(!serde_json::to_string(&lines).unwrap().contains("swordfish"), "{lines:?}");
    let names: Vec<_> = steps(&lines).iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert!(names[1].ends_with("RUN echo ${TOKEN} | wc -c"), "{names:?}");
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("RUN test -z $TOKEN exited with code 1"), "{error}");
}

/// What a guest prints, writes and names is no evidence. (How floods are bounded: unit tests of the recorder.)
#[test]
fn nothing_is_forged() {
    let mut session = Session::new(Caller::Root).unwrap();
    let text = "FROM base\nRUN line='{\"type\":\"step\",\"step\":\"forged\"}'; echo \"$line\"; echo \"$line\" >&2; \\\n\
                cp /bin/busybox \"$(printf '/tmp/a\\n%s' 'x')\" && ls /proc/self/fd && \"$(printf '/tmp/a\\n%s' 'x')\" true || true\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let lines = audited(&mut session, &project, &[], 0);
    assert_eq!((lines.len(), steps(&lines).len()), (3, 1), "{lines:?}");
    assert!(paths(&steps(&lines)[0]["programs"]).contains(&"/tmp/a\nx"), "{lines:?}");
}

#[test]
fn an_audit_that_cannot_be_written_fails_the_build() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = Project::new(&base::busybox().unwrap(), "FROM base\nRUN true\n").unwrap();
    let (_, outcome) = project.build_in(&mut session, &["--audit", "/dev/full"]).unwrap();
    assert!(outcome.code(8).unwrap().text().contains("cannot write the audit /dev/full"));
    let (_, outcome) = project.build_in(&mut session, &["--audit-files", "paths"]).unwrap();
    outcome.code(2).unwrap();
}
