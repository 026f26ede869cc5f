//! Wasm modules as programs of a step: exec form without a shell, pipelines, signals, exit statuses, files.

use std::os::unix::fs::PermissionsExt;
use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};

/// Copies standard input to standard output; with `exit N` as arguments it exits with N.
pub(crate) const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 4096))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)) (then unreachable))
        (br $more))))))"#;

/// Exits with 42.
const ANSWER: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 42))))"#;

/// Traps two calls deep, with names.
const TRAP: &str = r#"(module
  (memory (export "memory") 1)
  (func $inner unreachable)
  (func $outer (call $inner))
  (func (export "_start") (call $outer)))"#;

/// Writes `made` into the file `made` relative to the directory it is given.
const MAKE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "made\n")
  (func (export "_start")
    (local $errno i32)
    (local.set $errno (call $open (i32.const 3) (i32.const 1) (i32.const 100) (i32.const 4)
      (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 200)))
    (if (local.get $errno) (then (call $exit (local.get $errno))))
    (i32.store (i32.const 0) (i32.const 100))
    (i32.store (i32.const 4) (i32.const 5))
    (call $exit (call $write (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// A component that does nothing and succeeds.
const COMPONENT: &str = r#"(component
  (core module $module (func (export "run") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $module))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

/// Runs for ever.
const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))"#;

/// Writes for ever.
const FLOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "yyyyyyy\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100))
    (i32.store (i32.const 4) (i32.const 8))
    (loop $on
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $on))))"#;

pub(crate) fn module(project: &Project, name: &str, text: &str) {
    let path = project.path().join(name);
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn built(dockerfile: &str) -> wbuild_tests::project::Built {
    let project = Project::new(&base::busybox().unwrap(), dockerfile).unwrap();
    for (name, text) in [
        ("cat.wasm", CAT),
        ("answer.wasm", ANSWER),
        ("trap.wasm", TRAP),
        ("component.wasm", COMPONENT),
        ("failing.wasm", &COMPONENT.replace("i32.const 0", "i32.const 1")),
        ("make.wasm", MAKE),
        ("spin.wasm", SPIN),
        ("flood.wasm", FLOOD),
    ] {
        module(&project, name, text);
    }
    project.build(pod().unwrap()).unwrap()
}

#[test]
fn a_module_stands_in_a_pipeline_as_a_program_does() {
    let built = built(
        "FROM base\nCOPY *.wasm /bin/\n\
         RUN echo x | cat.wasm | tr x y > /out; answer.wasm; echo $? >> /out\n\
         RUN component.wasm; echo $? >> /out; failing.wasm; echo $? >> /out\n\
         RUN trap.wasm 2> /trap; echo $? >> /trap\n\
         RUN flood.wasm | head -n 1 > /pipe; spin.wasm & sleep 0.2; kill $!; wait $!; echo $? >> /pipe\n\
         RUN printf '#!/bin/cat.wasm\\n' > /script; chmod +x /script; echo through | /script > /interpreted\n",
    );
    assert_eq!(built.image.text("out").unwrap(), "y\n42\n0\n1\n");
    let trap = built.image.text("trap").unwrap();
    assert!(trap.contains("unreachable") && trap.contains("inner") && trap.ends_with("134\n"), "{trap}");
    assert_eq!(built.image.text("pipe").unwrap(), "yyyyyyy\n143\n");
    assert_eq!(built.image.text("interpreted").unwrap(), "through\n");
}

#[test]
fn a_module_needs_no_shell_and_its_files_are_its_users() {
    let built = built(
        "FROM base\nCOPY *.wasm /bin/\nRUN mkdir /work && chown 12:34 /work && ln -s /work /link\nUSER 12:34\nWORKDIR /link\n\
         RUN [\"make.wasm\"]\nRUN [\"busybox\", \"stat\", \"-c\", \"%u:%g %a %s\", \"made\"]\n",
    );
    assert_eq!(built.image.text("work/made").unwrap(), "made\n");
    assert!(built.outcome.text().contains("12:34 644 5"), "{}", built.outcome.text());
}
