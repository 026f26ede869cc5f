//! Files: places, suggestions, extends, what is shown.

use crate::{Access, BUILT_IN, Cases, Limit, Mode, Network, PolicyError, Ruleset, Source, StepName, Verdict};

const RUN: StepName<'static> = StepName { stage: "build", instruction: "RUN", command: "npm ci" };

fn load(text: &str) -> Result<Ruleset, PolicyError> {
    let source = Source { name: "p.toml".into(), text: text.into() };
    Ruleset::load(source, &mut |_, path| Err(format!("{path} is not here")))
}

fn error(text: &str) -> PolicyError {
    load(text).unwrap_err()
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion_and_a_place() {
    let wrong = error("[[step]]\nexec.nativ = \"deny\"\n");
    assert_eq!(wrong.message, "there is no key \"nativ\" here");
    assert_eq!(wrong.hint.as_deref(), Some("did you mean \"native\"?"));
    let place = wrong.place.unwrap();
    assert_eq!((place.line, place.column, place.width), (2, 6, 5));
    assert_eq!(place.text, "exec.nativ = \"deny\"");
}

#[test]
fn what_would_not_be_enforced_is_an_error() {
    for (text, what) in [
        ("[cache]\nread = []\n", "cache"),
        ("[[step]]\nnet.allow = [\"example.com\"]\n", "net.allow"),
        ("[[step]]\nsecrets.allow = []\n", "secrets"),
        ("[[step]]\nfs.setuid = \"deny\"\n", "setuid"),
    ] {
        assert_eq!(error(text).message, format!("{what} is not enforced yet"));
    }
}

#[test]
fn wrong_values_are_errors_with_their_line() {
    for (text, line) in [
        ("[[step]]\nlimits = { wall = \"soon\" }\n", 2),
        ("[[step]]\nlimits.processes = 0\n", 2),
        ("[[step]]\nfs.write.deny = [\n  \"/a\",\n  \"b/c\",\n]\n", 4),
        ("[[step]]\nfs.read.deny = [\"/a/../b\"]\n", 2),
        ("[[step]]\nfs.read.deny = [\"/a/x**\"]\n", 2),
        ("[[step]]\nexec.native = \"never\"\n", 2),
        ("[[step]]\nmatch = { instruction = \"COPY\" }\n", 2),
        ("[dockerfile]\ndeny = [\"ONBILD\"]\n", 2),
        ("[dockerfile]\ndeny_run_flags = [\"mounts\"]\n", 2),
        ("[output]\nmax_bytes = \"1 GiB\"\n", 2),
        ("[host]\nrequire = [\"landlock>=x\"]\n", 2),
        ("mode = \"permissive\"\n", 1),
        ("a = = b\n", 1),
    ] {
        assert_eq!(error(text).place.map(|place| place.line), Some(line), "{text}");
    }
}

#[test]
fn extends_finds_built_in_names_and_paths_and_refuses_circles() {
    assert_eq!(
        error("extends = [\"untrustd\"]\n").hint.as_deref(),
        Some("did you mean \"untrusted\"? A path ends in .toml")
    );
    assert!(error("extends = [\"base.toml\"]\n").message.contains("base.toml is not here"));
    let source = Source { name: "a.toml".into(), text: "extends = [\"b.toml\"]\n".into() };
    let circle = Ruleset::load(source, &mut |from, _| {
        assert_eq!(from, "a.toml");
        Ok(Source { name: "a.toml".into(), text: String::new() })
    });
    assert_eq!(circle.unwrap_err().message, "a.toml extends itself");
    let set = load("extends = [\"untrusted\"]\n[[step]]\nlimits.wall = \"1m\"\n").unwrap();
    let policy = set.for_step(RUN);
    assert_eq!(policy.network(), Network::None);
    assert_eq!(policy.limits().of(Limit::Wall), Some(60_000));
    assert_eq!(policy.limit_rule(Limit::Wall).unwrap().file, "p.toml");
    assert_eq!(policy.limit_rule(Limit::Cpu).unwrap().file, "untrusted");
}

#[test]
fn a_file_cannot_widen_what_it_extends() {
    let wider = error("extends = [\"untrusted\"]\n[[step]]\nnet.default = \"allow\"\n");
    assert_eq!(wider.message, "net.default cannot be widened: untrusted denies it");
    assert_eq!(wider.place.unwrap().line, 3);
    assert!(error("extends = [\"untrusted\"]\nmode = \"audit\"\n").message.starts_with("mode cannot be"));
    // A larger limit, and another allow list, leave the smaller in force.
    let set = load("extends = [\"untrusted\"]\n[[step]]\nlimits.wall = \"9h\"\n[output]\npush = [\"a/*\"]\n")
        .unwrap();
    assert_eq!(set.for_step(RUN).limits().of(Limit::Wall), Some(15 * 60_000));
    assert!(!set.push("b/c:1", "1").is_empty() && set.push("a/c:1", "1").is_empty());
}

#[test]
fn steps_match_by_stage_and_command() {
    let set = load(
        "[[step]]\nmatch = { stage = \"test*\" }\nnet.default = \"deny\"\n\
         [[step]]\nmatch = { command = \"npm *\" }\nfs.write.deny = [\"/etc/**\"]\n",
    )
    .unwrap();
    assert_eq!(set.for_step(RUN).network(), Network::Open);
    assert_eq!(set.for_step(RUN).decide(Access::Write(b"/etc/passwd")).verdict, Verdict::Deny);
    let other = StepName { stage: "tests", command: "make", ..RUN };
    assert_eq!(set.for_step(other).network(), Network::None);
    assert_eq!(set.for_step(other).decide(Access::Write(b"/etc/passwd")).verdict, Verdict::Allow);
    assert!(set.for_step(StepName { command: "make", ..RUN }).is_open());
}

#[test]
fn a_denial_says_which_rule_what_was_near_and_what_to_write() {
    let set = load("[[step]]\nfs.write.allow = [\"/usr/local/**\", \"/tmp/**\"]\n").unwrap();
    let policy = set.for_step(RUN);
    let access = Access::Write(b"/usr/lib/x");
    let told = policy.explain(access, policy.decide(access).rule.unwrap()).unwrap();
    assert_eq!((told.rule.key.as_str(), told.rule.line), ("fs.write.allow", 2));
    assert_eq!(told.near.as_deref(), Some("fs.write.allow has \"/usr/local/**\""));
    assert_eq!(told.allow, "fs.write.allow += [\"/usr/lib/x\"]");
    // What the line says is what allows it.
    let more = load("[[step]]\nfs.write.allow = [\"/usr/local/**\", \"/tmp/**\", \"/usr/lib/x\"]\n").unwrap();
    assert_eq!(more.for_step(RUN).decide(access).verdict, Verdict::Allow);
}

#[test]
fn a_name_cannot_be_moved_from_under_a_rule() {
    let set =
        load("[[step]]\nfs.read.deny = [\"/root/.ssh/**\", \"/**/.aws/credentials\", \"/etc/shadow\"]\n")
            .unwrap();
    let policy = set.for_step(RUN);
    for denied in ["/root", "/root/.ssh", "/root/.ssh/id", "/home/u/.aws", "/etc", "/etc/shadow"] {
        assert_eq!(policy.decide(Access::Move(denied.as_bytes())).verdict, Verdict::Deny, "{denied}");
    }
    for allowed in ["/home", "/usr", "/root2", "/root/.sshx", "/etc/shadow-", "/home/u"] {
        assert_eq!(policy.decide(Access::Move(allowed.as_bytes())).verdict, Verdict::Allow, "{allowed}");
    }
    assert_eq!(policy.decide(Access::Write(b"/root")).verdict, Verdict::Allow);
}

#[test]
fn patterns_mean_what_the_documentation_says() {
    let policy =
        |pattern: &str| load(&format!("[[step]]\nfs.read.deny = [{pattern:?}]\n")).unwrap().for_step(RUN);
    let denied = |pattern: &str, path: &str| {
        policy(pattern).decide(Access::Read(path.as_bytes())).verdict == Verdict::Deny
    };
    for (pattern, path) in [
        ("/a", "/a"),
        ("/a/**", "/a"),
        ("/a/**", "/a/b/c"),
        ("/**", "/"),
        ("/**", "/x/y"),
        ("/*/b", "/a/b"),
        ("/**/b", "/b"),
        ("/**/b", "/x/y/b"),
        ("/a/**/b", "/a/b"),
        ("/a/**/b", "/a/x/y/b"),
        ("/a?c", "/abc"),
        ("/a*/**", "/ab"),
        ("/a*/**", "/ab/c"),
        ("/**/*.key", "/x/y.key"),
        ("/", "/"),
    ] {
        assert!(denied(pattern, path), "{pattern} {path}");
    }
    for (pattern, path) in [
        ("/a", "/a/b"),
        ("/a", "/ab"),
        ("/a/**", "/ab"),
        ("/*", "/a/b"),
        ("/*/b", "/a/c/b"),
        ("/a?c", "/a/c"),
        ("/a/**/b", "/a/bc"),
        ("/**/b", "/b/c"),
        ("/", "/a"),
    ] {
        assert!(!denied(pattern, path), "{pattern} {path}");
    }
}

#[test]
fn the_ready_policies_are_policies_with_a_reason_beside_each_rule() {
    for (name, text) in BUILT_IN {
        let set = Ruleset::built_in(name).unwrap();
        assert_eq!(set.mode(), Mode::Enforce, "{name}");
        for line in text.lines().map(str::trim) {
            let opens = line.is_empty() || line.starts_with(['#', '[', ']']) || line.ends_with('[');
            assert!(opens || line.contains(" # "), "{name}: {line:?} has no reason");
        }
    }
}

#[test]
fn the_effective_rules_have_their_origin() {
    let set = load("extends = [\"wasm-only\"]\n[[step]]\nlimits.wall = \"1m\"\n").unwrap();
    let text = set.effective();
    for line in ["# p.toml:3", "# untrusted:", "exec.native = \"deny\"", "# wasm-only:"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_schema_knows_every_section_and_closes_them() {
    let schema = crate::schema();
    let properties = schema["properties"].as_object().unwrap();
    for section in ["extends", "mode", "sources", "dockerfile", "step", "output", "host"] {
        assert!(properties.contains_key(section), "{section}");
    }
    assert_eq!(schema["additionalProperties"], serde_json::Value::Bool(false));
}

#[test]
fn images_are_compared_whole_and_by_name() {
    let set = load("[sources.images]\nallow = [\"docker.io/library/debian\", \"r.example/*\"]\ndeny = [\"*:latest\"]\nrequire = [\"digest\"]\n").unwrap();
    let digest = Some("sha256:0");
    assert!(set.image("docker.io/library/debian:12@sha256:0", digest).is_empty());
    assert_eq!(set.image("docker.io/library/debian:12", None)[0].code.as_str(), "P0102");
    assert_eq!(set.image("docker.io/library/debianx:12@sha256:0", digest)[0].code.as_str(), "P0101");
    assert_eq!(set.image("r.example/x:latest", digest).len(), 1);
    assert!(set.image("r.example:5000/x:1", digest).len() == 1, "a port is no part of the registry's name");
}

#[test]
fn what_leaves_and_what_is_written_in_a_dockerfile() {
    let set = load(
        "[dockerfile]\ndeny = [\"onbuild\"]\ndeny_run_flags = [\"mount\"]\nfinal_user = \"non-root\"\nrequire_labels = [\"owner\"]\n\
         [output]\npush = [\"r.example/*\"]\ndeny_tags = [\"latest\"]\nmax_layers = 2\nmax_bytes = \"1KiB\"\n\
         [sources.http]\nallow = [\"https://a.example/*\"]\nrequire = [\"checksum\"]\n[sources.git]\nallow = [\"*\"]\nrequire = [\"commit\"]\n",
    )
    .unwrap();
    assert!(!set.instruction("ONBUILD").is_empty() && set.instruction("RUN").is_empty());
    assert!(!set.run_flag("mount").is_empty() && set.run_flag("network").is_empty());
    for (user, root) in
        [("", true), ("root", true), ("0", true), ("00:5", true), ("app", false), ("1000:0", false)]
    {
        assert_eq!(!set.image_config(user, &|_| true).is_empty(), root, "{user:?}");
    }
    assert_eq!(set.image_config("app", &|_| false)[0].code.as_str(), "P0204");
    assert!(set.push("r.example/a:1", "1").is_empty());
    assert!(!set.push("r.example/a:latest", "latest").is_empty() && !set.push("other/a:1", "1").is_empty());
    assert_eq!((set.size(2, 1024).len(), set.size(3, 1025).len()), (0, 2));
    assert!(set.http("https://a.example/x", Some("sha256:1")).is_empty());
    assert_eq!(set.http("http://b.example/x", None).len(), 2);
    assert!(set.git("https://g.example/r", Some(&"a".repeat(40))).is_empty());
    assert!(!set.git("https://g.example/r", Some("main")).is_empty());
}

#[test]
fn every_ready_policy_decides_as_its_cases_say() {
    let texts = [
        ("trusted", include_str!("../../../../policies/cases/trusted.toml")),
        ("ci", include_str!("../../../../policies/cases/ci.toml")),
        ("untrusted", include_str!("../../../../policies/cases/untrusted.toml")),
        ("hermetic", include_str!("../../../../policies/cases/hermetic.toml")),
        ("wasm-only", include_str!("../../../../policies/cases/wasm-only.toml")),
    ];
    assert_eq!(texts.len(), BUILT_IN.len());
    for (name, text) in texts {
        let cases = Cases::parse(&Source { name: name.into(), text: text.into() }).unwrap();
        assert_eq!(cases.policy, name);
        assert_eq!(cases.run(&Ruleset::built_in(name).unwrap()), [], "{name}");
    }
}

#[test]
fn a_case_that_is_decided_otherwise_says_how() {
    let text = "policy = \"ci\"\n[[case]]\nwhat = \"x\"\nhttp = \"http://a\"\nexpect = \"allow\"\n\
                [[case]]\nwhat = \"y\"\nhttp = \"http://a\"\nexpect = \"deny\"\nrule = \"net.default\"\n";
    let cases = Cases::parse(&Source { name: "c".into(), text: text.into() }).unwrap();
    let wrong = cases.run(&Ruleset::built_in("ci").unwrap());
    let said: Vec<&str> = wrong.iter().map(|wrong| wrong.difference.as_str()).collect();
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("expected allow, it is deny by sources.http.allow"), "{said:?}");
    assert!(said[1].starts_with("expected to be denied by net.default"), "{said:?}");
}

#[test]
fn a_rule_on_modules_alone_is_asked_about() {
    let policy = load("[[step]]\nexec.deny = [\"wasm:/opt/*.wasm\"]\n").unwrap().for_step(RUN);
    assert!(policy.restricts_programs());
    assert_eq!(policy.decide(Access::ExecModule(b"/opt/a.wasm")).verdict, Verdict::Deny);
    assert_eq!(policy.decide(Access::ExecNative(b"/opt/a.wasm")).verdict, Verdict::Allow);
}
