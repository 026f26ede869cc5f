//! Attacks on a policy, each with its control: the same line passes where the one rule it is aimed at is lifted. All network traffic is to
//! loopback, of a step that has no socket.

use wbuild_tests::base;
use wbuild_tests::project::{self, Project};
use wbuild_tests::session::{Caller, Session};

/// What a step with `rules` is to be stopped at.
struct Attack {
    /// For messages.
    name: &'static str,
    /// The keys of `[[step]]`.
    rules: &'static str,
    /// The lines after `FROM base`.
    lines: &'static str,
    /// What the message holds.
    says: &'static str,
}

const fn attack(name: &'static str, rules: &'static str, lines: &'static str, says: &'static str) -> Attack {
    Attack { name, rules, lines, says }
}

const KEYS: &str = "fs.read.deny = [\"/root/keys/**\"]";
const NO_ETC: &str = "fs.write.deny = [\"/etc/**\"]";
const ONLY_TMP: &str = "fs.write.allow = [\"/tmp/**\"]";
const PRELOAD: &str = "fs.write.deny = [\"/opt/lib/preload\"]";
const NO_NET: &str = "net.default = \"deny\"";
const NO_NATIVE: &str = "exec.native = \"deny\"";
const NO_TOOL: &str = "exec.deny = [\"/sbin/true\"]";

/// The files that the lines are about stand in the context: no rule is about COPY.
const PREPARED: &str = "FROM base\nCOPY id /root/keys/id\nCOPY hosts.allow /etc/hosts.allow\nCOPY evil /tmp/d/preload\nCOPY lib /opt/lib/lib\n\
                        COPY tool /sbin/true\n";

const FILES: &[Attack] = &[
    attack("reads the file", KEYS, "RUN cat /root/keys/id", "P0303"),
    attack("lists the directory", KEYS, "RUN ls /root/keys", "P0303"),
    attack("reads through a symlink", KEYS, "RUN ln -s /root/keys/id /tmp/l && cat /tmp/l", "P0303"),
    attack("reads through a linked directory", KEYS, "RUN ln -s /root /tmp/r && cat /tmp/r/keys/id", "P0303"),
    attack("reads by a relative path", KEYS, "RUN cd /root/keys && cat id", "P0303"),
    attack(
        "reads through the working directory",
        KEYS,
        "RUN cd /root/keys && cat /proc/self/cwd/id",
        "P0303",
    ),
    attack("reads through dots", KEYS, "RUN cat /tmp/../root/./keys/../keys/id", "P0303"),
    attack("reads by a hard link", KEYS, "RUN ln /root/keys/id /tmp/h && cat /tmp/h", "P0303"),
    attack("reads after a rename", KEYS, "RUN mv /root/keys/id /tmp/m && cat /tmp/m", "P0303"),
    attack(
        "reads after its directory was renamed",
        KEYS,
        "RUN mv /root/keys /tmp/k && cat /tmp/k/id",
        "P0303",
    ),
    attack("reads after its parent was renamed", KEYS, "RUN mv /root /r && cat /r/keys/id", "P0303"),
    attack("copies the tree", KEYS, "RUN cp -a /root /tmp/copy", "P0303"),
    attack("archives the tree", KEYS, "RUN tar cf /tmp/a.tar root/keys", "P0303"),
    attack(
        "reads as another user",
        KEYS,
        "RUN chmod -R a+rX /root\nUSER 1234\nRUN cat /root/keys/id",
        "P0303",
    ),
    attack("reads from a background process", KEYS, "RUN (cat /root/keys/id & wait $!)", "P0303"),
    attack("runs it through a shell's dot", KEYS, "RUN . /root/keys/id", "P0303"),
    attack("writes the file", NO_ETC, "RUN echo x > /etc/hosts.allow", "P0304"),
    attack("appends to the file", NO_ETC, "RUN echo x >> /etc/hosts.allow", "P0304"),
    attack("makes a file", NO_ETC, "RUN touch /etc/new", "P0304"),
    attack("makes a directory", NO_ETC, "RUN mkdir /etc/new", "P0304"),
    attack("makes a link", NO_ETC, "RUN ln -s /tmp /etc/new", "P0304"),
    attack("makes a fifo", NO_ETC, "RUN mkfifo /etc/new", "P0304"),
    attack("removes the file", NO_ETC, "RUN rm -f /etc/hosts.allow && ! test -e /etc/hosts.allow", "P0304"),
    attack("renames over the file", NO_ETC, "RUN echo x > /tmp/x && mv /tmp/x /etc/hosts.allow", "P0304"),
    attack("renames the directory away", NO_ETC, "RUN mv /etc/hosts.allow /tmp/x", "P0304"),
    attack("changes its mode", NO_ETC, "RUN chmod 777 /etc/hosts.allow", "P0304"),
    attack("changes its owner", NO_ETC, "RUN chown 5:5 /etc/hosts.allow", "P0304"),
    attack("changes its times", NO_ETC, "RUN touch -d 2001-01-01 /etc/hosts.allow", "P0304"),
    attack("truncates it", NO_ETC, "RUN truncate -s 0 /etc/hosts.allow", "P0304"),
    attack("writes through a symlink", NO_ETC, "RUN ln -s /etc /tmp/e && echo x > /tmp/e/new", "P0304"),
    attack("writes by a hard link", NO_ETC, "RUN ln /etc/hosts.allow /tmp/h && echo x > /tmp/h", "P0304"),
    attack("writes outside of an allow list", ONLY_TMP, "RUN echo x > /usr/x", "P0304"),
    attack("moves outside of an allow list", ONLY_TMP, "RUN echo x > /tmp/x && mv /tmp/x /usr/x", "P0304"),
    attack("links outside of an allow list", ONLY_TMP, "RUN echo x > /tmp/x && ln /tmp/x /usr/x", "P0304"),
    attack(
        "unpacks outside of an allow list",
        ONLY_TMP,
        "RUN tar cf /tmp/a.tar tmp/d && tar xf /tmp/a.tar -C /usr",
        "P0304",
    ),
    attack("brings the name in a directory", PRELOAD, "RUN rm -r /opt/lib && mv /tmp/d /opt/lib", "P0304"),
    attack("brings the name by a link", PRELOAD, "RUN rm -r /opt/lib && ln -s /tmp/d /opt/lib", "P0304"),
    attack(
        "brings the name by a link further up",
        PRELOAD,
        "RUN rm -r /opt && mkdir /tmp/o && mv /tmp/d /tmp/o/lib && ln -s /tmp/o /opt",
        "P0304",
    ),
    attack(
        "makes the parent first",
        PRELOAD,
        "RUN rm -r /opt/lib && mkdir /opt/lib && cp /tmp/d/preload /opt/lib/",
        "P0304",
    ),
];

const PROGRAMS: &[Attack] = &[
    attack("starts any program", NO_NATIVE, "RUN true", "P0301"),
    attack("starts a program in exec form", NO_NATIVE, "RUN [\"/sbin/true\"]", "P0301"),
    attack("starts a script", NO_NATIVE, "RUN <<EOF\n#!/bin/sh\ntrue\nEOF", "P0301"),
    attack("starts a denied program", NO_TOOL, "RUN /sbin/true", "P0302"),
    attack(
        "starts a denied program by a link",
        NO_TOOL,
        "RUN ln -s /sbin/true /tmp/true && /tmp/true",
        "P0302",
    ),
    attack("starts a denied program by its directory", NO_TOOL, "RUN cd /sbin && ./true", "P0302"),
    attack(
        "starts a denied program as interpreter",
        NO_TOOL,
        "RUN printf '#!/sbin/true\\n' > /tmp/s && chmod +x /tmp/s && /tmp/s",
        "P0302",
    ),
];

/// Refused by the port, each of these says so; refused by the policy, it says that, and the line fails.
const NETWORK: &[Attack] = &[
    attack(
        "makes a TCP socket",
        NO_NET,
        "RUN ! nc 127.0.0.1 9 2>&1 < /dev/null | grep -i permission",
        "P0312",
    ),
    attack(
        "fetches by http",
        NO_NET,
        "RUN ! wget -q -O- http://127.0.0.1:9/ 2>&1 | grep -i permission",
        "P0312",
    ),
    attack(
        "asks a name server",
        NO_NET,
        "RUN ! nslookup name.test 127.0.0.1:9 2>&1 | grep -i permission",
        "P0312",
    ),
];

fn prepared(lines: &str) -> Project {
    let project = Project::new(&base::busybox().unwrap(), &format!("{PREPARED}{lines}\n")).unwrap();
    for (name, content) in [("id", "true\n"), ("hosts.allow", "none\n"), ("evil", "evil\n"), ("lib", "lib\n")]
    {
        project.file(name, content).unwrap();
    }
    project.program("tool", std::path::Path::new("/bin/busybox")).unwrap();
    project
}

fn policy(session: &mut Session, name: &str, text: &str) -> String {
    let (host, seen) = session.out(name).unwrap();
    std::fs::write(host, text).unwrap();
    seen
}

fn stopped(attacks: &[Attack]) {
    let mut session = Session::new(Caller::Root).unwrap();
    for (number, Attack { name, rules, lines, says }) in attacks.iter().enumerate() {
        let project = prepared(lines);
        let held = policy(&mut session, &format!("{number}.toml"), &format!("[[step]]\n{rules}\n"));
        let (_, outcome) = project.build_in(&mut session, &["--policy", &held]).unwrap();
        let text = outcome.code(4).unwrap_or_else(|error| panic!("{name}: {error:#}")).text();
        assert!(text.contains(says) && text.contains(&format!("{held}:2")), "{name}: {text}");
        // The control: the same line, with a policy that lacks the one rule.
        let lifted =
            policy(&mut session, &format!("{number}-lifted.toml"), "[[step]]\nlimits.wall = \"10m\"\n");
        let (_, outcome) = project.build_in(&mut session, &["--policy", &lifted]).unwrap();
        outcome.success().unwrap_or_else(|error| panic!("{name}, without the rule: {error:#}"));
    }
}

#[test]
fn no_name_leads_around_a_rule_on_files() {
    stopped(FILES);
}

#[test]
fn no_name_leads_around_a_rule_on_programs() {
    stopped(PROGRAMS);
}

#[test]
fn no_socket_is_made_where_there_is_no_network() {
    stopped(NETWORK);
}

/// What uses a machine up is ended at its limit, with exit code 5; with a wider limit the same line ends by itself.
#[test]
fn what_uses_the_machine_up_is_ended() {
    let mut session = Session::new(Caller::Root).unwrap();
    for (number, (limit, wider, line)) in [
        ("wall = \"1s\"", "wall = \"10m\"", "RUN sleep 3"),
        ("wall = \"1s\"", "wall = \"10m\"", "RUN trap '' TERM HUP INT; (trap '' TERM; sleep 4) & sleep 3"),
        ("cpu = \"500ms\"", "cpu = \"10m\"", "RUN i=0; while [ $i -lt 900000 ]; do i=$((i+1)); done"),
        ("processes = 20", "processes = 900", "RUN for i in $(seq 60); do sleep 2 & done; wait"),
        (
            "memory = \"30MiB\"",
            "memory = \"1GiB\"",
            "RUN dd if=/dev/zero bs=90M count=1 | (sleep 2; cat > /dev/null)",
        ),
        ("write = \"4MiB\"", "write = \"1GiB\"", "RUN dd if=/dev/zero of=/big bs=1M count=20"),
        (
            "write = \"4MiB\"",
            "write = \"1GiB\"",
            "RUN for i in $(seq 12); do dd if=/dev/zero of=/big$i bs=1M count=1; done; sleep 1",
        ),
        ("log = \"64KiB\"", "log = \"1GiB\"", "RUN seq 60000"),
    ]
    .into_iter()
    .enumerate()
    {
        let project = Project::new(&base::busybox().unwrap(), &format!("FROM base\n{line}\n")).unwrap();
        let narrow =
            policy(&mut session, &format!("{number}.toml"), &format!("[[step]]\nlimits = {{ {limit} }}\n"));
        let (_, outcome) = project.build_in(&mut session, &["--policy", &narrow]).unwrap();
        let text = outcome.code(5).unwrap_or_else(|error| panic!("{limit}: {error:#}")).text();
        let key = limit.split(' ').next().unwrap();
        assert!(text.contains("P0401") && text.contains(&format!("limits.{key}")), "{limit}: {text}");
        let wide = policy(
            &mut session,
            &format!("{number}-wide.toml"),
            &format!("[[step]]\nlimits = {{ {wider} }}\n"),
        );
        let (_, outcome) = project.build_in(&mut session, &["--policy", &wide]).unwrap();
        outcome.success().unwrap_or_else(|error| panic!("{wider}: {error:#}"));
    }
}

/// What is denied before a step runs: all of it in one message, exit code 4, nothing written.
#[test]
fn lines_are_denied_together_before_anything_runs() {
    let mut session = Session::new(Caller::Root).unwrap();
    let rules = "[sources.images]\nallow = [\"mirror.example/*\"]\n[dockerfile]\ndeny = [\"ONBUILD\", \"VOLUME\"]\n\
                 deny_run_flags = [\"network\"]\n[output]\npush = [\"mirror.example/*\"]\n";
    let held = policy(&mut session, "p.toml", rules);
    let text = "FROM base\nONBUILD RUN true\nVOLUME /v\nRUN --network=none true\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let more = ["--policy", &held, "-t", "other.example/a:1", "--push"];
    let (layout, outcome) = project.build_in(&mut session, &more).unwrap();
    let said = outcome.code(4).unwrap().text();
    for line in
        ["P0201", "Dockerfile:2", "Dockerfile:3", "P0202", "Dockerfile:4", "P0501", "other.example/a:1"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("RUN --network=none true\n#") && !layout.join("index.json").exists(), "{said}");
    let image = Project::new(&base::busybox().unwrap(), "FROM other.example/image:1\n").unwrap();
    let (_, outcome) = image.build_in(&mut session, &["--policy", &held]).unwrap();
    let said = outcome.code(4).unwrap().text();
    assert!(
        said.contains("P0101") && said.contains("sources.images.allow += [\"other.example/image:1\"]"),
        "{said}"
    );
}

/// A trigger of a base image is an instruction of this build.
#[test]
fn a_base_cannot_bring_what_a_dockerfile_may_not_say() {
    let mut session = Session::new(Caller::Root).unwrap();
    let parent = Project::new(&base::busybox().unwrap(), "FROM base\nONBUILD VOLUME /v\n").unwrap();
    let (layout, outcome) = parent.build_in(&mut session, &[]).unwrap();
    outcome.success().unwrap();
    let project = Project::new(&base::busybox().unwrap(), "FROM parent\n").unwrap();
    let context = format!("parent=oci-layout://{}", layout.display());
    let held = policy(&mut session, "p.toml", "[dockerfile]\ndeny = [\"VOLUME\"]\n");
    let (_, outcome) =
        project.build_in(&mut session, &["--policy", &held, "--build-context", &context]).unwrap();
    assert!(outcome.code(4).unwrap().text().contains("P0201"));
    let lifted = policy(&mut session, "q.toml", "[dockerfile]\ndeny = [\"EXPOSE\"]\n");
    let (_, outcome) =
        project.build_in(&mut session, &["--policy", &lifted, "--build-context", &context]).unwrap();
    outcome.success().unwrap();
}

/// A cached layer was made under another policy: the step runs again.
#[test]
fn the_cache_is_no_way_around_a_policy() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = Project::new(&base::busybox().unwrap(), "FROM base\nRUN echo x > /etc/new\n").unwrap();
    let (_, outcome) = project.build_in(&mut session, &[]).unwrap();
    outcome.success().unwrap();
    let held = policy(&mut session, "p.toml", &format!("[[step]]\n{NO_ETC}\n"));
    let (_, outcome) = project.build_in(&mut session, &["--policy", &held]).unwrap();
    assert!(outcome.code(4).unwrap().text().contains("P0304"));
}

#[test]
fn audit_denies_nothing_and_says_everything() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = prepared("RUN echo x > /etc/new; nc 127.0.0.1 9 < /dev/null; cat /root/keys/id");
    let rules = format!("[[step]]\n{NO_ETC}\n{NO_NET}\n{KEYS}\n");
    let held = policy(&mut session, "p.toml", &rules);
    let (_, outcome) = project.build_in(&mut session, &["--policy", &held, "--policy-mode=audit"]).unwrap();
    let text = outcome.success().unwrap().text();
    for line in ["write /etc/new would be denied", "internet socket", "read /root/keys/id would be denied"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_stranger_is_held_in_the_pod() {
    let mut session = Session::new(project::pod().unwrap()).unwrap();
    let project = prepared("RUN ! nc 127.0.0.1 9 2>&1 < /dev/null | grep -i permission");
    let (_, outcome) = project.build_in(&mut session, &["--policy", "untrusted"]).unwrap();
    assert!(outcome.code(4).unwrap().text().contains("P0312"));
    let burner = prepared("RUN true");
    let (_, outcome) = burner.build_in(&mut session, &["--policy", "untrusted"]).unwrap();
    outcome.success().unwrap();
}
