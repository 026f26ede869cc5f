//! Hostile wasm modules: what they name, what they ask of the engine, and what they ask of its compiler.

use std::os::unix::fs::PermissionsExt;
use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::workspace::Scratch;

/// Opens the path at 100 (its length at 96) and prints what it holds; exits with the errno where it cannot.
fn reader(path: &str, directory: u32) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "{path}")
  (func (export "_start")
    (local $errno i32)
    (local.set $errno (call $open (i32.const {directory}) (i32.const 1) (i32.const 100) (i32.const {length})
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 600)))
    (if (local.get $errno) (then (call $exit (local.get $errno))))
    (i32.store (i32.const 0) (i32.const 2048))
    (i32.store (i32.const 4) (i32.const 4096))
    (local.set $errno (call $read (i32.load (i32.const 600)) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (local.get $errno) (then (call $exit (local.get $errno))))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        length = path.len()
    )
}

/// A command whose only deed is `body`.
fn command(body: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func $deep (call $deep) (call $deep))
  (func (export "_start") {body}))"#
    )
}

fn put(project: &Project, name: &str, bytes: &[u8]) {
    let path = project.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Builds with these modules; each is run once and its status written behind its name.
fn statuses(modules: &[(&str, Vec<u8>)], before: &str) -> String {
    let runs: String = modules
        .iter()
        .map(|(name, _)| format!("timeout 20 {name} >>/out 2>&1; echo {name} $? >>/out\n"))
        .collect();
    let dockerfile = format!("FROM base\nCOPY *.wasm /bin/\nWORKDIR /work\n{before}\nRUN <<EOF\n{runs}EOF\n");
    let project = Project::new(&base::busybox().unwrap(), &dockerfile).unwrap();
    for (name, bytes) in modules {
        put(&project, name, bytes);
    }
    project.build(pod().unwrap()).unwrap().image.text("out").unwrap()
}

fn text(source: &str) -> Vec<u8> {
    wat::parse_str(source).unwrap()
}

#[test]
fn no_name_leads_out_of_the_tree() {
    let secret = Scratch::new("secret").unwrap();
    std::fs::write(secret.path().join("file"), "secret of the host\n").unwrap();
    let outside = secret.path().join("file");
    let outside = outside.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(40), &outside[1..]);
    let modules = [
        ("absolute.wasm", text(&reader(outside, 3))),
        ("stripped.wasm", text(&reader(&outside[1..], 3))),
        ("up.wasm", text(&reader(&up, 3))),
        ("link.wasm", text(&reader("link", 3))),
        ("process.wasm", text(&reader("proc/1/environ", 3))),
        ("root.wasm", text(&reader(&format!("proc/self/root{outside}"), 3))),
        ("memory.wasm", text(&reader("proc/self/mem", 3))),
        ("stream.wasm", text(&reader("etc/passwd", 1))),
        ("nobody.wasm", text(&reader("etc/passwd", 4000))),
        ("clamped.wasm", text(&reader("../../../../../../etc/hostname-of-the-tree", 3))),
    ];
    let before = format!("RUN ln -s {outside} link && echo inside > /etc/hostname-of-the-tree");
    let out = statuses(&modules, &before);
    assert!(!out.contains("secret of the host"), "{out}");
    assert!(out.contains("inside\nclamped.wasm 0"), "what is inside is read: {out}");
    // EPERM for an absolute name; ENOTDIR for a stream; EBADF for a number that nobody has.
    for line in ["absolute.wasm 63", "stream.wasm 54", "nobody.wasm 8"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    for name in ["stripped", "up", "link", "root"] {
        assert!(!out.contains(&format!("{name}.wasm 0")), "{name}: {out}");
    }
}

#[test]
fn what_a_module_asks_of_the_engine_has_an_end() {
    let far = "(i32.const 2147483644)";
    let modules = [
        ("deep.wasm", text(&command("(call $deep)"))),
        (
            "grow.wasm",
            text(&command(
                "(if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then (call $exit (i32.const 9))))",
            )),
        ),
        (
            "table.wasm",
            text(&command(
                "(if (i32.ne (table.grow $table (ref.null func) (i32.const 20000000)) (i32.const -1)) (then (call $exit (i32.const 9))))",
            )),
        ),
        (
            "vectors.wasm",
            text(&command(&format!(
                "(call $exit (call $write (i32.const 1) {far} (i32.const 2) (i32.const 8)))"
            ))),
        ),
        (
            "many.wasm",
            text(&command(
                "(call $exit (call $read (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8)))",
            )),
        ),
        (
            "result.wasm",
            text(&command(
                "(call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const -2)))",
            )),
        ),
        (
            "listing.wasm",
            text(&command(&format!(
                "(call $exit (call $readdir (i32.const 3) {far} (i32.const 4096) (i64.const 0) (i32.const 8)))"
            ))),
        ),
        (
            "cookie.wasm",
            text(&command(
                "(call $exit (call $readdir (i32.const 3) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 80)))",
            )),
        ),
        ("random.wasm", text(&command("(call $exit (call $random (i32.const 65530) (i32.const 100)))"))),
        (
            "poll.wasm",
            text(&command(
                "(call $exit (call $poll (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8)))",
            )),
        ),
        ("renumber.wasm", text(&command("(call $exit (call $renumber (i32.const 3) (i32.const 70)))"))),
        (
            "socket.wasm",
            text(&command("(call $exit (call $accept (i32.const 0) (i32.const 0) (i32.const 8)))")),
        ),
        ("spin.wasm", text(&command("(loop $on (br $on))"))),
    ];
    let out = statuses(&modules, "");
    for line in [
        "deep.wasm 134",
        "grow.wasm 0",
        "table.wasm 0",
        "vectors.wasm 21",
        "many.wasm 28",
        "result.wasm 21",
        "listing.wasm 21",
        "cookie.wasm 0",
        "random.wasm 21",
        "poll.wasm 28",
        "renumber.wasm 8",
        "socket.wasm 57",
        "spin.wasm 143",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(out.contains("call stack exhausted"), "{out}");
}

#[test]
fn what_is_no_module_is_refused_with_a_reason() {
    let good = text(&command(""));
    let mut huge_count = b"\0asm\x01\0\0\0".to_vec();
    // A type section that claims four thousand million types.
    huge_count.extend([1, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x60]);
    let modules = [
        ("empty.wasm", b"\0asm\x01\0\0\0".to_vec()),
        ("version.wasm", b"\0asm\x09\0\0\0".to_vec()),
        ("cut.wasm", good[..good.len() / 2].to_vec()),
        ("claim.wasm", huge_count),
        ("noise.wasm", [b"\0asm\x01\0\0\0".as_slice(), &[0xa5; 4096]].concat()),
        ("component.wasm", [b"\0asm\x0d\0\x01\0".as_slice(), &[0x5a; 64]].concat()),
        (
            "foreign.wasm",
            text(
                r#"(module (import "env" "system" (func (param i32))) (memory (export "memory") 1) (func (export "_start")))"#,
            ),
        ),
        (
            "memoryless.wasm",
            text(
                r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func $call (result i32))) (func (export "_start") (drop (call $call))))"#,
            ),
        ),
    ];
    let out = statuses(&modules, "");
    for name in ["empty", "cut", "claim", "noise", "component", "foreign", "memoryless"] {
        assert!(out.contains(&format!("{name}.wasm 126")), "{name}: {out}");
    }
    // As any file of a format that the kernel does not know: the shell tries it as a script.
    assert!(out.contains("version.wasm 127"), "{out}");
    for reason in ["cannot compile", "env::system", "_start", "exports no memory"] {
        assert!(out.contains(reason), "{reason}: {out}");
    }
}
