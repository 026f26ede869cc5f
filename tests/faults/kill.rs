//! wbuild killed with SIGKILL at random moments: the store stays valid, the next build succeeds, no process is left.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scale;

const DOCKERFILE: &str = r#"FROM base
COPY . /context
RUN for d in $(seq 1 20); do mkdir -p /many/$d; for f in $(seq 1 20); do echo $d$f > /many/$d/$f; done; done
RUN (while :; do sleep 0.01; done) & head -c 20000000 /dev/urandom > /random; sha256sum /random > /sum
RUN ls -R /many | wc -l > /count; rm -r /many/3; chown -R 7:8 /many
"#;

/// Small and quick; the moments need to differ, not to be secret.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Command lines of the processes that belong to this uid.
fn processes_of(uid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let dir = entry.unwrap().path();
        let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
        let owner = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        // A zombie has been killed and waits only to be counted.
        if owner.split_whitespace().any(|word| word == uid.to_string()) && !status.contains("State:\tZ") {
            found.push(
                String::from_utf8_lossy(&fs::read(dir.join("cmdline")).unwrap_or_default())
                    .replace('\0', " "),
            );
        }
    }
    found
}

fn assert_none_is_left(uid: u32) {
    let start = Instant::now();
    loop {
        let left = processes_of(uid);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "still running: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_build_leaves_a_valid_store_and_no_process() {
    let uid = 12_350;
    let project = Project::new(&base::busybox().unwrap(), DOCKERFILE).unwrap();
    for number in 0..200 {
        project.file(&format!("dir{}/{number}", number % 7), &format!("{number}\n").repeat(100)).unwrap();
    }
    let mut session = Session::new(Caller::User(uid)).unwrap();
    let context = session.share(project.path()).unwrap();
    let base =
        format!("base=oci-layout://{}:latest", session.share(&base::busybox().unwrap().layout).unwrap());
    let whole = Instant::now();
    let (_, outcome) = project.build_in(&mut session, &[]).unwrap();
    outcome.success().unwrap();
    let whole = u64::try_from(whole.elapsed().as_micros()).unwrap();
    let mut state = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() | 1;
    println!("seed {state}");
    let mut killed = 0;
    let rounds = Scale::of_this_run().pick(8, 200);
    for round in 0..rounds {
        let (_, out) = session.out(&format!("killed-{round}")).unwrap();
        let output = format!("type=oci,tar=false,dest={out}");
        // From the cache it would be over before it can be killed.
        let build = ["build", "--no-cache", "--build-context", &base, "--output", &output, &context];
        let mut command = session.command(&build).unwrap();
        let mut wbuild = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(next(&mut state) % whole));
        killed += u32::from(wbuild.try_wait().unwrap().is_none());
        wbuild.kill().unwrap();
        wbuild.wait().unwrap();
        assert_none_is_left(uid);
        // Every blob is what its name says, and what the next build finds it can use.
        session.succeed(&["cache", "verify"]).unwrap();
        if round % 4 == 3 {
            // In turn by what the killed builds left in the cache, and anew.
            let how: &[&str] = if round % 8 == 3 { &[] } else { &["--no-cache"] };
            let (layout, outcome) = project.build_in(&mut session, how).unwrap();
            outcome.success().unwrap();
            let image = Image::verify(&layout).unwrap();
            assert_eq!(image.text("count").unwrap().trim(), "461");
            assert_eq!(image.entry("many/4/5").unwrap().unwrap().uid, 7);
            assert_none_is_left(uid);
            session.succeed(&["cache", "prune", "--max-size", "60m"]).unwrap();
            assert_eq!(
                fs::read_dir(session.store().join("ingest")).unwrap().count(),
                0,
                "half done, and still there"
            );
        }
    }
    assert!(killed * 4 >= rounds, "only {killed} of {rounds} builds were killed before their end");
}
