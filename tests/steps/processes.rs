//! Shells, pipes and processes of a step, and what is left of them when it ends.

use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};

const PIPES: &str = r#"FROM base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN diff <(seq 1 5000) <(seq 1 5000 | cat) && paste <(echo a) <(echo b) > /paste
RUN seq 1 20000 | sort -r | uniq | tac | awk '{ s += $1 } END { print s }' > /sum
RUN mkfifo /pipe && { seq 1 1000 > /pipe & wc -l < /pipe > /lines; wait; rm /pipe; }
RUN ! timeout 0.2 cat <(sleep 600) && ! { mkfifo /never; timeout 0.2 cat /never; }; rm -f /never
RUN trap 'echo trapped > /trap' TERM; kill -TERM $$; true
RUN cat <<< "here string" > /here; exec 3<>/here; read -u 3 line; echo "$line" > /line
RUN ( set +o pipefail; yes | head -n 3 > /yes ); false | true; test ${PIPESTATUS[0]} = 1
"#;

#[test]
fn pipelines_with_process_substitution_and_fifos() {
    let built = Project::new(&base::debian().unwrap(), PIPES).unwrap().build(pod().unwrap()).unwrap();
    for (name, expected) in [
        ("paste", "a\tb\n"),
        ("sum", "200010000\n"),
        ("lines", "1000\n"),
        ("trap", "trapped\n"),
        ("line", "here string\n"),
        ("yes", "y\ny\ny\n"),
    ] {
        assert_eq!(built.image.text(name).unwrap(), expected, "{name}");
    }
}

const BACKGROUND: &str = r#"FROM base
RUN sleep 987654 & (setsid nohup sleep 987655 > /dev/null 2>&1 &) ; while :; do echo x >> /growing; sleep 0.01; done & sleep 0.3; echo done > /first
RUN cat /growing | wc -l > /before; sleep 0.2; cat /growing | wc -l > /after; \
    for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline; echo; done > /processes
"#;

#[test]
fn what_runs_when_a_step_ends_is_killed() {
    let built = Project::new(&base::busybox().unwrap(), BACKGROUND).unwrap().build(pod().unwrap()).unwrap();
    assert_eq!(built.image.text("first").unwrap(), "done\n");
    assert_eq!(built.image.text("before").unwrap(), built.image.text("after").unwrap());
    let processes = built.image.text("processes").unwrap();
    assert!(
        processes.contains("tr ") || processes.contains("sh -c"),
        "the step sees its own processes: {processes}"
    );
    assert!(!processes.contains("98765"), "{processes}");
}

const FAILING: &str =
    "FROM base\nRUN echo before > /x\nRUN echo told; echo wrong >&2; exit 42\nRUN echo never\n";

#[test]
fn a_failing_step_is_told_with_its_line_and_its_code() {
    let project = Project::new(&base::busybox().unwrap(), FAILING).unwrap();
    let attempt = project.try_build(pod().unwrap(), &[]).unwrap();
    let outcome = attempt.outcome.code(1).unwrap();
    let text = outcome.text();
    assert!(text.contains("42") && text.contains("Dockerfile:3"), "{text}");
    assert!(text.contains("told") && text.contains("wrong") && !text.contains("never\n"), "{text}");
    assert!(!attempt.layout.join("index.json").exists(), "no image is written");
}
