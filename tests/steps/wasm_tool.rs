//! Tools that use `wbuild:step`: what they set is in the image, what they say is in the output.

use std::os::unix::fs::PermissionsExt;

use wbuild_tests::project::{Project, pod};

/// Imports of each interface; says a line, gives `/site` to 33, sets a label, and fails where one of these fails.
const TOOL: &str = r#"(component
  (import "wbuild:step/events@0.1.0" (instance $events
    (type $level' (enum "debug" "info" "warning" "error"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "message" string)))))
  (import "wbuild:step/outputs@0.1.0" (instance $outputs
    (type $code' (enum "not-found" "denied" "read-only" "invalid" "failed"))
    (export "code" (type $code (eq $code')))
    (type $error' (record (field "code" $code) (field "message" string)))
    (export "error" (type $error (eq $error')))
    (export "set-owner" (func (param "path" string) (param "uid" u32) (param "gid" u32)
      (result (result (error $error)))))))
  (import "wbuild:step/image@0.1.0" (instance $image
    (export "set-label" (func (param "name" string) (param "value" string) (result (result (error string)))))))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $libc (instantiate $libc))
  (core func $log (canon lower (func $events "log") (memory $libc "memory") string-encoding=utf8))
  (core func $owner (canon lower (func $outputs "set-owner")
    (memory $libc "memory") (realloc (func $libc "realloc")) string-encoding=utf8))
  (core func $label (canon lower (func $image "set-label")
    (memory $libc "memory") (realloc (func $libc "realloc")) string-encoding=utf8))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "step" "log" (func $log (param i32 i32 i32)))
    (import "step" "owner" (func $owner (param i32 i32 i32 i32 i32)))
    (import "step" "label" (func $label (param i32 i32 i32 i32 i32)))
    (data (i32.const 100) "said by a tool")
    (data (i32.const 200) "/site")
    (data (i32.const 300) "NAME")
    (data (i32.const 400) "yes")
    (func (export "run") (result i32)
      (call $log (i32.const 2) (i32.const 100) (i32.const 14))
      (call $owner (i32.const 200) (i32.const 5) (i32.const 33) (i32.const 34) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
      (call $label (i32.const 300) (i32.const 4) (i32.const 400) (i32.const 3) (i32.const 0))
      (i32.load8_u (i32.const 0))))
  (core instance $step (export "log" (func $log)) (export "owner" (func $owner)) (export "label" (func $label)))
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "step" (instance $step))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

/// The tool with a label of four bytes.
pub(crate) fn tool(project: &Project, name: &str, label: &str) {
    assert_eq!(label.len(), 4);
    let path = project.path().join(name);
    std::fs::write(&path, wat::parse_str(TOOL.replace("NAME", label)).unwrap()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_tool_sets_is_in_the_image_and_what_it_says_is_shown() {
    let project = Project::new(
        &wbuild_tests::base::busybox().unwrap(),
        "FROM base AS site\nCOPY *.wasm /bin/\nRUN mkdir /site\nRUN [\"one.wasm\"]\nRUN two.wasm && echo done\n\
         FROM site\nLABEL user=mine\n",
    )
    .unwrap();
    tool(&project, "one.wasm", "tool");
    tool(&project, "two.wasm", "user");
    let built = project.build(pod().unwrap()).unwrap();
    assert!(built.outcome.text().contains("warning: said by a tool"), "{}", built.outcome.text());
    let labels = &built.image.config["config"]["Labels"];
    assert_eq!((&labels["tool"], &labels["user"]), (&"yes".into(), &"mine".into()), "{labels}");
    let site = built.image.entry("site").unwrap().unwrap();
    assert_eq!((site.uid, site.gid), (33, 34));
}

#[test]
fn a_tool_that_fails_fails_its_step() {
    let project = Project::new(
        &wbuild_tests::base::busybox().unwrap(),
        "FROM base\nCOPY one.wasm /bin/\nRUN [\"one.wasm\"]\n",
    )
    .unwrap();
    tool(&project, "one.wasm", "tool");
    // There is no /site.
    let attempt = project.try_build(pod().unwrap(), &[]).unwrap();
    attempt.outcome.code(1).unwrap();
}
