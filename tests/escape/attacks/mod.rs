//! The table of attacks: each is held under every caller, profile and exec strategy, and each succeeds once its fence is down.
//!
//! `cargo xtask test sandbox` prints what the controls and the callers came to. The full product of profiles and strategies is the
//! soak's; the tests run a diagonal of it.

mod table;
mod victim;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{ATTACKS, Attack, needs_no_network};
use victim::Victim;
use wbuild_tests::command::{self, command};
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::project::Project;
use wbuild_tests::seccomp::Profile;
use wbuild_tests::session::Caller;
use wbuild_tests::workspace::{self, Scale, Scratch};
use wbuild_tests::{base, guest, image};

/// Whom steps run as on the host where root builds.
const SCRATCH_ID: u32 = 65_321;

/// A tree with the program, in which single steps are run by the step runner of host/native.
struct Bed(Scratch);

impl Bed {
    fn new() -> Self {
        let dir = Scratch::new("bed").unwrap();
        let bed = Self(dir);
        command::run(bed.step(&[])).unwrap().success().unwrap();
        for name in ["tree/fs/bin", "tree/fs/tmp", "scratch"] {
            fs::create_dir(bed.0.path().join(name)).unwrap();
        }
        fs::copy(guest::program("attacks").unwrap(), bed.0.path().join("tree/fs/bin/attacks")).unwrap();
        command::output(
            "chown",
            ["-R", &format!("{SCRATCH_ID}:{SCRATCH_ID}"), bed.0.path().to_str().unwrap()],
        )
        .unwrap();
        bed
    }

    fn step(&self, argv: &[&str]) -> Command {
        let mut step = command("timeout", ["--signal=KILL", "100"]);
        step.arg(workspace::step_runner().unwrap()).arg(self.0.path().join("tree"));
        step.arg(self.0.path().join("scratch")).args(argv);
        step
    }

    /// Whether the attack comes through without its fence, and what was seen of it.
    fn attempt(&self, attack: &Attack) -> (bool, String) {
        let program = guest::program("attacks").unwrap();
        let victim = Victim::new(&program, SCRATCH_ID);
        let port = format!("port={}", victim.port());
        // The kernel finds the first program by itself, too, where exec is let through.
        let kernel_runs_it = attack.without.split(',').any(|fence| fence == "execve");
        let inside =
            if kernel_runs_it { self.0.path().join("tree/fs/bin/attacks") } else { "/bin/attacks".into() };
        let path = victim.path().to_str().unwrap();
        let mut step = self.step(&[inside.to_str().unwrap(), path, &port, "least=3000", attack.name]);
        // Nothing slows the call down then: the other side of a race needs its time.
        step.env("STEP_WITHOUT", attack.without);
        if needs_no_network(attack) {
            step.env("STEP_NETWORK", "none");
        }
        let outcome = command::run(step).unwrap();
        let traces = victim.traces();
        let got = outcome.stdout.lines().any(|line| line == format!("{} got", attack.name));
        (got || !traces.is_empty(), format!("{}{traces:?}", outcome.text()))
    }
}

fn report(name: &str, text: &str) {
    let dir = workspace::cache("attacks").unwrap();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

#[test]
fn sandbox_every_attack_succeeds_without_its_fence() {
    let bed = Bed::new();
    let mut text = String::from("attack | family: way | without | without its fence it\n");
    let mut wrong = String::new();
    for attack in ATTACKS {
        let (succeeds, seen) = bed.attempt(attack);
        if !succeeds {
            writeln!(wrong, "{} fails even without {}: {seen}", attack.name, attack.without).unwrap();
        }
        let control = if succeeds { "succeeds" } else { "FAILS" };
        let Attack { name, family, way, without } = attack;
        writeln!(text, "{name} | {family}: {way} | {without} | {control}").unwrap();
    }
    report("table", &text);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn sandbox_no_two_attacks_are_the_same() {
    let mut seen = BTreeMap::new();
    for attack in ATTACKS {
        let before = seen.insert((attack.family, attack.way, attack.without), attack.name);
        assert_eq!(before, None, "{} is the same attack", attack.name);
    }
    assert!(ATTACKS.len() >= 60);
}

/// The uid that guests of this caller have on the host.
fn owner(caller: &Caller) -> u32 {
    match caller {
        Caller::Root => SCRATCH_ID,
        Caller::User(uid) => *uid,
        Caller::Pod(pod) => pod.uid().unwrap(),
        Caller::Myself => unreachable!("attacks are tried by root's tests"),
    }
}

/// How the program of the attacks is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linking {
    Static,
    /// By the exec strategy that the caller's root allows.
    Dynamic,
}

fn project(victim: &Victim, linking: Linking) -> Project {
    let (path, port) = (victim.path().to_str().unwrap(), victim.port());
    let tries = Scale::of_this_run().pick(150, 3000);
    let names = |network: bool| {
        let named = ATTACKS.iter().filter(|attack| needs_no_network(attack) != network);
        named.map(|attack| format!("\"{}\"", attack.name)).collect::<Vec<_>>().join(",")
    };
    let all = format!("[\"attacks\",\"{path}\",\"tries={tries}\",{}]", names(true));
    let text = format!(
        "FROM base\nCOPY attacks /bin/\nCOPY libc.so /lib/ld-musl-x86_64.so.1\nRUN {all}\nUSER 1234\nRUN {all}\n\
         USER 0\nRUN --network=none [\"attacks\",\"{path}\",\"port={port}\",{}]\n",
        names(false)
    );
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    let program = match linking {
        Linking::Static => guest::program("attacks"),
        Linking::Dynamic => guest::dynamic_program("attacks"),
    };
    project.program("attacks", &program.unwrap()).unwrap();
    project.program("libc.so", &guest::musl().unwrap()).unwrap();
    project
}

/// Tries every attack as `caller`, whom a pod may also show the victim.
fn held(mut caller: Caller, linking: Linking) {
    let shown = caller.to_string();
    let victim = Victim::new(&guest::program("attacks").unwrap(), owner(&caller));
    if let Caller::Pod(pod) = &mut caller {
        pod.bind(victim.path(), victim.path().to_str().unwrap(), Access::ReadWrite);
    }
    let attempt = project(&victim, linking).try_build(caller, &[]).unwrap();
    let text = attempt.outcome.success().unwrap_or_else(|error| panic!("{shown}: {error:#}")).text();
    let traces = victim.traces();
    assert!(traces.is_empty(), "{shown}: {traces:#?}");
    let words: Vec<&str> = text.split_whitespace().collect();
    for attack in ATTACKS {
        let results: Vec<&str> =
            words.windows(2).filter(|pair| pair[0] == attack.name).map(|pair| pair[1]).collect();
        let runs = results.iter().filter(|result| **result == "held").count();
        let wanted = if needs_no_network(attack) { 1 } else { 2 };
        let bad = results.iter().any(|result| ["got", "hung", "died"].contains(result));
        assert!(runs == wanted && !bad, "{shown}: {}: {results:?}", attack.name);
    }
    let strategy = if linking == Linking::Dynamic { "dynamic program" } else { "static program" };
    let name = format!("{shown}, {strategy}").replace(['/', ' '], "-");
    report(&name, &format!("{shown}, {strategy}: all {} attacks held\n", ATTACKS.len()));
}

/// The restricted pod with this profile and with the stub at the interpreters' paths, or without.
fn pod(profile: Profile, rootfs: &Path) -> Caller {
    let mut pod = Pod::new(rootfs).unwrap();
    pod.profile(profile);
    Caller::Pod(Box::new(pod))
}

/// A root for pods with nothing but the binary.
fn bare() -> (Scratch, PathBuf) {
    let copy = Scratch::new("bare").unwrap();
    fs::copy(image::pod_rootfs().unwrap().join("wbuild"), copy.path().join("wbuild")).unwrap();
    fs::create_dir(copy.path().join("scratch")).unwrap();
    let path = copy.path().to_owned();
    (copy, path)
}

#[test]
fn sandbox_attacks_are_held_for_root() {
    held(Caller::Root, Linking::Dynamic);
}

#[test]
fn sandbox_attacks_are_held_for_an_ordinary_user() {
    held(Caller::User(12_361), Linking::Dynamic);
}

/// The stub stands where the kernel looks for the interpreter.
#[test]
fn sandbox_attacks_are_held_in_pods_with_the_stub() {
    let rootfs = image::pod_rootfs().unwrap();
    let profiles = match Scale::of_this_run() {
        Scale::Default => &[Profile::Moby, Profile::Unconfined][..],
        Scale::Soak => &Profile::ALL,
    };
    for profile in profiles {
        held(pod(*profile, &rootfs), Linking::Dynamic);
    }
}

/// Without it the stub is executed in the program's place.
#[test]
fn sandbox_attacks_are_held_in_pods_without_the_stub() {
    let (_keep, rootfs) = bare();
    let profiles = match Scale::of_this_run() {
        Scale::Default => &[Profile::ContainersCommon, Profile::Containerd16][..],
        Scale::Soak => &Profile::ALL,
    };
    for profile in profiles {
        held(pod(*profile, &rootfs), Linking::Dynamic);
    }
}

#[test]
fn sandbox_attacks_of_a_static_program_are_held() {
    held(pod(Profile::Containerd17, &image::pod_rootfs().unwrap()), Linking::Static);
}
