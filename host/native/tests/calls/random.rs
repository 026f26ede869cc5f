//! Random sequences of operations on paths, under the broker and in a plain chroot as a container's root: every answer and what is there
//! afterwards must be the same. A sequence that differs is shrunk to the operations that it takes.
//!
//! Two things the sequences leave out because they differ: what a user who is not root writes natively keeps the setuid and setgid bits that he
//! created it with, and futimens on an opened device node changes nothing.
//! `cargo xtask soak paths` tries more of them.

use super::{natively, under_the_broker};

/// Operations of a sequence.
const LENGTH: usize = 60;

/// Answers that may differ, for calls whose words begin and end so: the operation, Linux's answer, the broker's, and why.
const ALLOWED: &[(&str, &str, &str, &str)] = &[
    ("ftruncate", "EBADF", "EINVAL", "a handle is a sealed file of memory, and ftruncate is native"),
    ("link", "ENOENT", "EBADF", "both descriptors are looked at before both names"),
    ("link", "ENOTDIR", "EBADF", "both descriptors are looked at before both names"),
    ("link", "EACCES", "EBADF", "both descriptors are looked at before both names"),
    ("link", "ELOOP", "EBADF", "both descriptors are looked at before both names"),
    ("rename", "ENOENT", "EBADF", "both descriptors are looked at before both names"),
    ("rename", "ENOTDIR", "EBADF", "both descriptors are looked at before both names"),
    ("rename", "EACCES", "EBADF", "both descriptors are looked at before both names"),
    ("rename", "ELOOP", "EBADF", "both descriptors are looked at before both names"),
    (
        "removexattr",
        "EACCES",
        "EOPNOTSUPP",
        "a name without a namespace is refused before its owner is asked",
    ),
    ("getxattr", "EACCES", "EOPNOTSUPP", "a name without a namespace is refused before its owner is asked"),
    ("setxattr", "EACCES", "EOPNOTSUPP", "a name without a namespace is refused before its owner is asked"),
    ("mknod", "EEXIST", "EPERM", "a device is refused before its name is looked up"),
    ("open", "EEXIST", "EISDIR", "`./` with O_CREAT|O_EXCL is refused as a directory"),
];

/// The name of an operation, and its answer, of a line `PLACE [@N | N =] NAME .. = ANSWER`.
fn parts(line: &str) -> Option<(&str, &str)> {
    let name = line.split(' ').find(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))?;
    Some((name, line.rsplit(" = ").next()?))
}

fn may_differ(native: &str, ours: &str) -> bool {
    let (Some((name, theirs)), Some((_, ours))) = (parts(native), parts(ours)) else { return false };
    ALLOWED.iter().any(|(op, linux, broker, _)| *op == name && *linux == theirs && *broker == ours)
}

/// Where the two outputs first differ: the sequence, the line of the chroot, the broker's.
fn difference(native: &str, ours: &str) -> Option<(String, String, String)> {
    let mut sequence = String::new();
    let mut ours = ours.lines();
    for line in native.lines() {
        if let Some(number) = line.strip_prefix("sequence ") {
            number.clone_into(&mut sequence);
        }
        let other = ours.next().unwrap_or("(the end)");
        if line != other && !may_differ(line, other) {
            return Some((sequence, line.to_owned(), other.to_owned()));
        }
    }
    ours.next().map(|line| (sequence, "(the end)".to_owned(), line.to_owned()))
}

fn run(arguments: &[&str]) -> Option<(String, String, String)> {
    difference(&natively("paths", arguments), &under_the_broker("paths", arguments))
}

/// The operations that a difference takes, as the two outputs show them.
fn shrunk(sequence: &str) -> Option<(String, String)> {
    let differs = |kept: &[u8]| {
        let kept = String::from_utf8_lossy(kept).into_owned();
        run(&[sequence, "1", &LENGTH.to_string(), &kept]).is_some()
    };
    let mut kept = vec![b'1'; LENGTH];
    if !differs(&kept) {
        return None;
    }
    for place in (0..LENGTH).rev() {
        kept[place] = b'0';
        if !differs(&kept) {
            kept[place] = b'1';
        }
    }
    let kept = String::from_utf8_lossy(&kept).into_owned();
    let arguments = [sequence, "1", &LENGTH.to_string(), &kept];
    Some((natively("paths", &arguments), under_the_broker("paths", &arguments)))
}

#[test]
fn random_operations_on_paths_do_what_they_do_in_a_chroot() {
    if !rustix::process::geteuid().is_root() {
        panic!("the model is a chroot, which needs root");
    }
    let rounds = if std::env::var("WBUILD_TEST_SCALE").is_ok_and(|scale| scale == "soak") { 50 } else { 1 };
    for round in 0..rounds {
        let first = (1 + round * 200).to_string();
        let Some((sequence, native, ours)) = run(&[&first, "200", &LENGTH.to_string()]) else { continue };
        let least = match shrunk(&sequence) {
            Some((native, ours)) => format!("--- chroot\n{native}--- broker\n{ours}"),
            None => "it takes the sequences before it".to_owned(),
        };
        panic!("sequence {sequence}: a chroot says `{native}`, the broker `{ours}`\n{least}");
    }
}

#[test]
fn only_what_is_allowed_may_differ() {
    assert!(may_differ("59 ftruncate @3 2864 = EBADF", "59 ftruncate @3 2864 = EINVAL"));
    assert!(may_differ("6 @3 link b/a ./ 0 = ENOENT", "6 @3 link b/a ./ 0 = EBADF"));
    assert!(!may_differ("6 @3 link b/a ./ 0 = EBADF", "6 @3 link b/a ./ 0 = ENOENT"));
    assert!(!may_differ("6 mkdir a = ok", "6 mkdir a = EEXIST"));
    assert!(difference("sequence 3\n1 mkdir a = ok\n", "sequence 3\n1 mkdir a = EPERM\n").is_some());
    assert!(difference("sequence 3\n", "sequence 3\n  /tmp/3/a\n").is_some());
}
