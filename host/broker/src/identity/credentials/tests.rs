//! The rules against a record of what Linux 6.18 did with the same calls.
//!
//! The record was made by tests/guests/ids.c as root with a container's capabilities: 200 processes, each with some
//! random calls, and execs of files with set-id bits and capabilities. Each line is `call => result errno state`.

use super::*;
use crate::identity::{ExecFile, FileCapabilities};

const RECORD: &str = include_str!("linux-6.18.txt");

/// The files of the record by number: mode, owner, group, capabilities.
fn file(number: usize) -> ExecFile {
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    let caps = |permitted, inheritable, effective| {
        let (permitted, inheritable) = (CapabilitySet(permitted), CapabilitySet(inheritable));
        Some(FileCapabilities { permitted, inheritable, effective })
    };
    let (mode, uid, gid, capabilities) = match number {
        0 => (0o755, 0, 0, None),
        1 => (0o4755, 0, 0, None),
        2 => (0o2755, 0, 50, None),
        3 => (0o4755, 1000, 1000, None),
        4 => (0o6755, 33, 33, None),
        5 => (0o755, 0, 0, caps(SETUID | SETGID, 0, true)),
        6 => (0o755, 0, 0, caps(0, SETUID | 1 << 5, true)),
        7 => (0o4755, 0, 0, caps(1 << 13, 0, true)),
        8 => (0o755, 0, 0, caps(1 << 21, 0, true)),
        _ => (0o755, 0, 0, caps(1 << 21 | SETUID, 0, false)),
    };
    ExecFile { mode, uid, gid, capabilities }
}

fn id(word: i64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap()
}

fn some(word: i64) -> Option<u32> {
    (word != -1).then_some(id(word))
}

/// The call's answer as the kernel gives it, and who the process is afterwards.
fn model(old: &Identity, call: &str, secure: &mut bool) -> (i64, Identity) {
    let mut words = call.split_whitespace();
    let name = words.next().unwrap();
    let args: Vec<i64> = words.map(|w| w.parse().unwrap()).collect();
    let changed = |new: Result<Identity, Errno>| match new {
        Ok(new) => (0, new),
        Err(errno) => (-i64::from(errno.raw_os_error()), old.clone()),
    };
    match name {
        "setuid" => changed(old.setuid(id(args[0]))),
        "setgid" => changed(old.setgid(id(args[0]))),
        "setreuid" => changed(old.setreuid(some(args[0]), some(args[1]))),
        "setregid" => changed(old.setregid(some(args[0]), some(args[1]))),
        "setresuid" => changed(old.setresuid([some(args[0]), some(args[1]), some(args[2])])),
        "setresgid" => changed(old.setresgid([some(args[0]), some(args[1]), some(args[2])])),
        "setfsuid" => (i64::from(old.credentials.uid.fs), old.setfsuid(id(args[0]))),
        "setfsgid" => (i64::from(old.credentials.gid.fs), old.setfsgid(id(args[0]))),
        "setgroups" => changed(old.setgroups(args.iter().map(|g| id(*g)).collect())),
        "capset" => {
            let set = |i: usize| crate::identity::capability_set(args[i].cast_unsigned());
            changed(old.capset(set(0), set(1), set(2)))
        }
        "exec" => match old.exec(&file(usize::try_from(args[0]).unwrap())) {
            Ok(transition) => {
                *secure = transition.secure;
                (0, transition.identity)
            }
            Err(errno) => (-i64::from(errno.raw_os_error()), old.clone()),
        },
        "prctl" => {
            let args: Vec<u64> = args.iter().map(|a| a.cast_unsigned()).collect();
            match crate::identity::prctl(old, [args[0], args[1], args[2], args[3], args[4]]) {
                Ok((value, new)) => (value, new.unwrap_or_else(|| old.clone())),
                Err(errno) => (-i64::from(errno.raw_os_error()), old.clone()),
            }
        }
        other => panic!("unknown call {other}"),
    }
}

fn shown(identity: &Identity, secure: bool) -> String {
    let c = &identity.credentials;
    let ids = |i: Ids| format!("{} {} {} {}", i.real, i.effective, i.saved, i.fs);
    let groups: String = c.groups.iter().map(|g| format!(" {g}")).collect();
    let s = c.capabilities;
    format!(
        "u {} g {} G{groups} c {:x} {:x} {:x} {:x} {:x} s {:x} k {} n {} x {}",
        ids(c.uid),
        ids(c.gid),
        s.effective.0,
        s.permitted.0,
        s.inheritable.0,
        s.bounding.0,
        s.ambient.0,
        identity.securebits.bits(),
        u8::from(identity.securebits.has(SecureBits::KEEP_CAPS)),
        u8::from(identity.no_new_privs),
        u8::from(secure),
    )
}

#[test]
fn every_call_of_the_record_ends_as_on_linux() {
    let mut identity = Identity::of_step(0, 0, Vec::new());
    let mut secure = false;
    let mut calls = 0;
    for (number, line) in RECORD.lines().enumerate() {
        if line == "begin" {
            identity = Identity::of_step(0, 0, Vec::new());
            secure = false;
            continue;
        }
        let (call, recorded) = line.split_once(" => ").unwrap();
        let (answer, new) = model(&identity, call, &mut secure);
        let (result, errno) = if answer < 0 { (-1, -answer) } else { (answer, 0) };
        let modelled = format!("{result} {errno} {}", shown(&new, secure));
        assert_eq!(modelled, recorded, "line {}: {call}\nbefore: {}", number + 1, shown(&identity, secure));
        identity = new;
        calls += 1;
    }
    assert!(calls > 1500, "the record is cut short: {calls} calls");
}

#[test]
fn apt_cannot_regain_root() {
    // apt's DropPrivileges: setgroups, setresgid, setresuid to _apt, then it checks that no way leads back.
    let root = Identity::of_step(0, 0, vec![]);
    let apt = root.setgroups(vec![65534]).unwrap();
    let apt = apt.setresgid([Some(65534); 3]).unwrap().setresuid([Some(42); 3]).unwrap();
    assert_eq!(apt.setuid(0), Err(Errno::PERM));
    assert_eq!(apt.setreuid(Some(0), None), Err(Errno::PERM));
    assert_eq!(apt.setresuid([None, Some(0), None]), Err(Errno::PERM));
    assert_eq!(apt.setgid(0), Err(Errno::PERM));
    assert_eq!(apt.setgroups(vec![0]), Err(Errno::PERM));
    assert_eq!(apt.setfsuid(0).credentials.uid.fs, 42);
    assert_eq!(apt.credentials.capabilities.permitted, CapabilitySet::EMPTY);
}
