//! Disks that are full, at every stage: exit 8 with what to do, a valid store, and success once there is room.
//!
//! The small disk is a tmpfs in the mount namespace of one shell, over the store or over where outputs go. Nothing stays mounted.

use std::fs;
use std::path::Path;

use wbuild_tests::base;
use wbuild_tests::command::{self, Outcome, command};
use wbuild_tests::layout;
use wbuild_tests::project::Project;
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

/// Mounts `$1` KiB at `$2`, filled to the last page where `$3` says so; runs wbuild (`$4` and on), makes room, verifies the store and runs it
/// again. Each part's exit code goes to standard error, the first run's text to standard output.
const SCRIPT: &str = r#"
mount -t tmpfs -o "size=$1k,mode=777" tmpfs "$2" || exit 99
case $3 in
filled) head -c 1G /dev/zero > "$2/fill" 2>/dev/null ;;
esac
dir=$2; shift 3
"$@" 2>&1; echo "first=$?" >&2
rm -f "$dir/fill"; mount -o remount,size=1g "$dir" || exit 99
"$1" cache verify > /dev/null 2>"$dir/verify"; echo "verify=$?" >&2
sed 's/^/verify: /' "$dir/verify" >&2; rm "$dir/verify"
"$@" > /dev/null 2>"$dir/again"; echo "again=$?" >&2
sed 's/^/again: /' "$dir/again" >&2
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// So many KiB.
    Kib(u64),
    /// No byte.
    None,
}

/// What the first run on the small disk was.
struct Tried {
    code: i32,
    text: String,
}

/// Runs wbuild with a small disk over `dir`; what comes after must be well.
fn tried(session: &Session, dir: &Path, room: Room, arguments: &[&str]) -> Tried {
    let (kib, filled) = match room {
        Room::Kib(kib) => (kib, "as-it-is"),
        Room::None => (64, "filled"),
    };
    let wbuild = session.command(arguments).unwrap();
    let mut run = command("unshare", ["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    run.arg(kib.to_string()).arg(dir).arg(filled).arg(wbuild.get_program()).args(wbuild.get_args());
    run.envs(wbuild.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Outcome { stdout, stderr, .. } = command::run(run).unwrap().success().unwrap();
    let code = |what: &str| -> i32 {
        let found = stderr.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{what}: {stdout}{stderr}")).parse().unwrap()
    };
    let shown = format!("{room:?} for {arguments:?}: {stdout}{stderr}");
    assert_eq!((code("verify"), code("again")), (0, 0), "{shown}");
    let first = code("first");
    assert!(first == 0 || first == 8, "{shown}");
    if first == 8 {
        assert!(stdout.contains("hint: the disk is full: make room"), "{shown}");
        assert_eq!(stdout.matches("hint:").count(), 1, "{shown}");
    }
    Tried { code: first, text: stdout }
}

fn kib(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len().div_ceil(1024)
}

/// The layer of the base, and what it has unpacked, in KiB.
fn base_sizes() -> (u64, u64) {
    let blobs = fs::read_dir(base::busybox().unwrap().layout.join("blobs/sha256")).unwrap();
    (blobs.map(|entry| kib(&entry.unwrap().path())).sum(), kib(Path::new("/bin/busybox")))
}

/// `n` KiB that no compression makes smaller.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(word).flatten().take(n << 10).collect()
}

#[test]
fn a_build_says_where_the_store_got_full_and_goes_on_later() {
    let base = base::busybox().unwrap();
    let (packed, unpacked) = base_sizes();
    let copy = Project::new(&base, "FROM base\nCOPY noise /noise\n").unwrap();
    fs::write(copy.path().join("noise"), noise(4096)).unwrap();
    let run = Project::new(&base, "FROM base\nRUN head -c 8000000 /dev/urandom > /noise\n").unwrap();
    let from = format!("base=oci-layout://{}:{}", base.layout.display(), base.tag);
    let below = packed + unpacked;
    for (project, room, part) in [
        (&copy, Room::None, "store"),
        (&copy, Room::Kib(packed / 2), "cannot read image base"),
        (&copy, Room::Kib(packed + unpacked / 2), "cannot unpack the layers"),
        (&copy, Room::Kib(below + 2000), "cannot write /noise"),
        (&copy, Room::Kib(below + 4096 + 2000), "cannot commit the layer"),
        (&run, Room::Kib(below + 4000), "RUN head"),
        (&run, Room::Kib(below + 7900 + 4000), "cannot commit the layer"),
    ] {
        let session = Session::new(Caller::Root).unwrap();
        let context = project.path().to_str().unwrap();
        let build = ["build", "--progress=plain", "--build-context", &from, context];
        let tried = tried(&session, &session.store(), room, &build);
        assert!(tried.code == 8 && tried.text.contains(part), "{room:?}: {}: {}", tried.code, tried.text);
    }
    // Whatever is written last, records and all, it is one or the other.
    let small = Project::new(&base, "FROM base\nRUN echo x > /x\n").unwrap();
    let mut codes = Vec::new();
    for step in 0..12 {
        let session = Session::new(Caller::Root).unwrap();
        let build = ["build", "--progress=plain", "--build-context", &from, small.path().to_str().unwrap()];
        codes.push(tried(&session, &session.store(), Room::Kib(below + 24 * step), &build).code);
    }
    assert!(codes.contains(&8), "{codes:?}");
}

#[test]
fn a_full_disk_of_an_output_is_named() {
    let base = base::busybox().unwrap();
    let project = Project::new(&base, "FROM base\nRUN head -c 300000 /dev/urandom > /noise\n").unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    project.build_in(&mut session, &[]).unwrap().1.success().unwrap();
    let from = format!("base=oci-layout://{}:{}", base.layout.display(), base.tag);
    let out = Scratch::new("out").unwrap();
    let at = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let output = |form: &str, name: &str| vec!["-o".to_owned(), format!("{form},dest={}", at(name))];
    let cases = [
        output("type=oci", "image.tar"),
        output("type=oci,tar=false", "image"),
        output("type=docker", "docker.tar"),
        output("type=tar", "rootfs.tar"),
        output("type=local", "rootfs"),
        vec!["--metadata-file".to_owned(), at("metadata")],
        vec!["--iidfile".to_owned(), at("iid")],
        vec!["--cache-to".to_owned(), format!("type=local,dest={}", at("cache"))],
    ];
    for more in cases {
        for room in [Room::None, Room::Kib(200)] {
            let words: Vec<&str> = more.iter().map(String::as_str).collect();
            let context = project.path().to_str().unwrap();
            let build = [&["build", "--progress=plain", "--build-context", &from], &words[..], &[context]];
            let tried = tried(&session, out.path(), room, &build.concat());
            // A digest has room on almost any disk.
            let fits = room != Room::None && (words[0] == "--metadata-file" || words[0] == "--iidfile");
            assert_eq!(tried.code, if fits { 0 } else { 8 }, "{more:?} {room:?}: {}", tried.text);
            assert!(fits || tried.text.contains(out.path().to_str().unwrap()), "{more:?}: {}", tried.text);
        }
    }
}

#[test]
fn images_outside_a_build_meet_a_full_store() {
    let base = base::busybox().unwrap();
    let registry = Registry::start().unwrap();
    registry.seed(&base.layout, base.tag, "base:1").unwrap();
    let name = registry.reference("base:1");
    let layout = format!("oci-layout://{}:{}", base.layout.display(), base.tag);
    let (to, index) = (registry.reference("to:1"), registry.reference("index:1"));
    let out = Scratch::new("out").unwrap();
    let output = format!("type=oci,dest={}", out.path().join("index.tar").display());
    let (packed, _) = base_sizes();
    let pull: &[&str] = &["pull", "-q", &name];
    let push: &[&str] = &["push", "-q", &layout, &to];
    let create: &[&str] = &["index", "create", "-q", "-o", &output, &index, &name];
    for (arguments, rooms) in [
        (pull, [Room::None, Room::Kib(packed / 2)]),
        (push, [Room::None, Room::Kib(4)]),
        (create, [Room::None, Room::Kib(packed / 2)]),
    ] {
        for room in rooms {
            let session = Session::new(Caller::Root).unwrap();
            let tried = tried(&session, &session.store(), room, arguments);
            assert_eq!(tried.code, 8, "{arguments:?} {room:?}: {}", tried.text);
        }
    }
    let pulled = Scratch::new("pulled").unwrap();
    registry.pull("to:1", &pulled.path().join("image")).unwrap();
    assert_eq!(
        layout::Image::verify(&pulled.path().join("image")).unwrap().layers().unwrap().len(),
        1,
        "what was pushed later is whole"
    );
}
