//! Rules on files hold for whatever name, link, move or descriptor leads to the file; each way works where no rule stands.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, RenameFlags};
use wbuild_policy::Policy;

use super::{User, World, policy, root_user};
use crate::{AccessKind, Errno, Fault, LastLink, Monitor, ViewNode, ViewPath, Views};

const NONE: RenameFlags = RenameFlags::empty();

/// A tree with a file that rules are about, made before they hold.
#[expect(clippy::disallowed_methods, reason = "a test makes its tree with std")]
fn world(policy: Policy) -> World {
    World::with(policy, |root| {
        let fs = root.path().join("fs");
        for dir in ["etc/keys", "tmp/d"] {
            std::fs::create_dir_all(fs.join(dir)).unwrap();
        }
        std::fs::write(fs.join("etc/keys/id"), "key").unwrap();
        std::fs::write(fs.join("tmp/d/evil"), "evil").unwrap();
        std::fs::write(fs.join("tmp/plain"), "plain").unwrap();
    })
}

fn reads(who: &User<'_>, path: &str) -> Result<(), Errno> {
    who.open(path, OFlags::RDONLY, 0).map(|_| ())
}

/// Tries one way on a tree with the rules and on one without: it must fail there and work here.
fn only_the_rule_stops(rules: &str, way: impl Fn(&User<'_>) -> Result<(), Errno>) {
    let root = root_user();
    let (held, free) = (world(policy(rules)), world(Policy::default()));
    assert_eq!(way(&held.as_user(&root)), Err(Errno::ACCESS), "{rules}");
    assert_eq!(way(&free.as_user(&root)), Ok(()), "without {rules}");
    assert!(!held.monitor.denials().list.is_empty());
    // In audit mode all of it happens and is recorded.
    let audit = world(policy_in_audit(rules));
    assert_eq!(way(&audit.as_user(&root)), Ok(()), "audit of {rules}");
    assert!(!audit.monitor.denials().list.is_empty());
}

fn policy_in_audit(rules: &str) -> Policy {
    use wbuild_policy::{Ruleset, Source, StepName};
    let source = Source { name: "test.toml".into(), text: format!("mode = \"audit\"\n[[step]]\n{rules}\n") };
    let set = Ruleset::load(source, &mut |_, _| Err("there is no other file".into())).unwrap();
    set.for_step(StepName { stage: "s", instruction: "RUN", command: "c" })
}

const NO_KEYS: &str = "fs.read.deny = [\"/etc/keys/**\"]";
const NO_EVIL: &str = "fs.write.deny = [\"/etc/new/evil\", \"/etc/keys/id\"]";

#[test]
fn a_denied_file_is_not_read_by_any_name() {
    only_the_rule_stops(NO_KEYS, |who| reads(who, "/etc/keys/id"));
    only_the_rule_stops(NO_KEYS, |who| reads(who, "/etc/../etc/./keys/id"));
    only_the_rule_stops(NO_KEYS, |who| reads(who, "/etc/keys"));
    only_the_rule_stops(NO_KEYS, |who| {
        who.symlink("/etc/keys/id", "/tmp/link")?;
        reads(who, "/tmp/link")
    });
    only_the_rule_stops(NO_KEYS, |who| {
        who.symlink("/etc", "/tmp/etc")?;
        reads(who, "/tmp/etc/keys/id")
    });
    only_the_rule_stops(NO_KEYS, |who| {
        who.link("/etc/keys/id", "/tmp/other", LastLink::NoFollow)?;
        reads(who, "/tmp/other")
    });
}

#[test]
fn a_denied_file_is_not_moved_away_from_its_rule() {
    for from in ["/etc/keys/id", "/etc/keys", "/etc"] {
        only_the_rule_stops(NO_KEYS, |who| who.rename(from, "/moved", NONE));
        only_the_rule_stops(NO_KEYS, |who| who.rename(from, "/tmp/d", RenameFlags::EXCHANGE));
        only_the_rule_stops(NO_KEYS, |who| who.rename("/tmp/d", from, RenameFlags::EXCHANGE));
    }
}

/// `/proc/held` leads to what this descriptor is open on, as /proc/self/fd/N does.
struct Held(OwnedFd);

impl Views for Held {
    fn node(&self, place: &ViewPath) -> Result<ViewNode, Fault> {
        match place.rest.is_empty() {
            true => Ok(ViewNode::Directory),
            false => Ok(ViewNode::Object(rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?)),
        }
    }
}

#[test]
fn a_denied_file_is_not_read_once_it_has_no_name() {
    only_the_rule_stops(NO_KEYS, |who| {
        let held = Held(who.fd("/etc/keys/id", OFlags::PATH)?);
        who.unlink("/etc/keys/id")?;
        reads(&User { views: &held, ..*who }, "/proc/held")
    });
}

#[test]
fn a_denied_path_is_not_written_by_any_way() {
    only_the_rule_stops(NO_EVIL, |who| who.open("/etc/keys/id", OFlags::WRONLY, 0).map(|_| ()));
    only_the_rule_stops(NO_EVIL, |who| who.on("/etc/keys/id", |m, s, w| m.truncate(s, w, 0)));
    only_the_rule_stops(NO_EVIL, |who| who.chmod("/etc/keys/id", 0o777));
    only_the_rule_stops(NO_EVIL, |who| who.unlink("/etc/keys/id"));
    only_the_rule_stops(NO_EVIL, |who| who.rename("/tmp/plain", "/etc/keys/id", NONE));
    only_the_rule_stops(NO_EVIL, |who| {
        who.make_dir("/etc/new", 0o755)?;
        who.write("/etc/new/evil", b"x")
    });
    // A directory, or a link to one, that brings the name along.
    only_the_rule_stops(NO_EVIL, |who| who.rename("/tmp/d", "/etc/new", NONE));
    only_the_rule_stops(NO_EVIL, |who| who.symlink("/tmp/d", "/etc/new"));
    only_the_rule_stops(NO_EVIL, |who| {
        who.make_dir("/etc/new", 0o755)?;
        who.link("/tmp/d/evil", "/etc/new/evil", LastLink::NoFollow)
    });
    // Another name of the file would be a way to its content.
    only_the_rule_stops(NO_EVIL, |who| who.link("/etc/keys/id", "/tmp/other", LastLink::NoFollow));
}

#[test]
fn an_allow_list_closes_everything_else() {
    let rules = "fs.write.allow = [\"/tmp/**\"]";
    only_the_rule_stops(rules, |who| who.write("/etc/x", b"x"));
    only_the_rule_stops(rules, |who| who.make_dir("/top", 0o755));
    only_the_rule_stops(rules, |who| who.rename("/tmp/d", "/etc/d", NONE));
    only_the_rule_stops(rules, |who| who.rename("/etc/keys", "/tmp/keys", NONE));
    let held = world(policy(rules));
    let root = root_user();
    let who = held.as_user(&root);
    assert_eq!(who.write("/tmp/d/new", b"x"), Ok(()));
    assert_eq!(who.rename("/tmp/d", "/tmp/e", NONE), Ok(()));
    assert_eq!(reads(&who, "/etc/keys/id"), Ok(()));
    assert!(held.monitor.denials().list.is_empty());
}

#[test]
fn denials_are_counted_and_bounded() {
    let held = world(policy(NO_EVIL));
    let root = root_user();
    let who = held.as_user(&root);
    for _ in 0..3 {
        assert_eq!(who.chmod("/etc/keys/id", 0o700), Err(Errno::ACCESS));
    }
    let denials = held.monitor.denials();
    assert_eq!((denials.list[0].kind, denials.list[0].count), (AccessKind::Write, 3));
    let told = denials.list[0].explanation.as_ref().unwrap();
    assert_eq!((told.rule.key.as_str(), told.rule.value.as_str()), ("fs.write.deny", "/etc/keys/id"));
    let closed = world(policy("fs.write.allow = []"));
    let who = closed.as_user(&root);
    for index in 0..500 {
        assert_eq!(who.write(&format!("/tmp/{index}"), b""), Err(Errno::ACCESS));
    }
    let denials = closed.monitor.denials();
    assert_eq!((denials.list.len(), denials.unlisted), (200, 300));
}

#[test]
fn watching_is_reading_and_attributes_are_not() {
    only_the_rule_stops(NO_KEYS, |who| who.on("/etc/keys", Monitor::watch).map(|_| ()));
    let held = world(policy(NO_KEYS));
    let root = root_user();
    let who = held.as_user(&root);
    assert_eq!(who.stat("/etc/keys/id").map(|stat| stat.stx_size), Ok(3));
    assert!(held.monitor.denials().list.is_empty());
}
