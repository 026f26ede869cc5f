//! The Dockerfile language beyond local files, each with the image it makes: flags of COPY, ADD of URLs, archives as contexts, lint.

use std::io::{Read, Write};
use std::net::TcpListener;

use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

fn project(dockerfile: &str) -> Project {
    Project::new(&base::busybox().unwrap(), dockerfile).unwrap()
}

/// Every name in the image's last layer, directories with a slash.
fn last_layer(image: &Image) -> Vec<String> {
    let layers = image.layers().unwrap();
    let mut archive = tar::Archive::new(image.archive(layers.last().unwrap()).unwrap());
    let name = |entry: std::io::Result<tar::Entry<'_, Box<dyn Read>>>| {
        let path = entry.unwrap().path().unwrap().display().to_string();
        path.strip_prefix("./").unwrap_or(&path).to_owned()
    };
    archive.entries().unwrap().map(name).collect()
}

/// A server on loopback that gives these bytes for every path, dated 2001-02-03; its address.
fn server(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: Sat, 03 Feb 2001 04:05:06 GMT\r\n\
                 Connection: close\r\n\r\n",
                content.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(content).unwrap();
        }
    });
    address
}

#[test]
fn excluded_files_are_not_copied() {
    let project = project("FROM base\nCOPY --exclude=**/*.md --exclude=skip src /out/\n");
    for name in ["src/a.txt", "src/a.md", "src/deep/b.md", "src/deep/b.txt", "src/skip/c.txt"] {
        project.file(name, name).unwrap();
    }
    let built = project.build(Caller::Root).unwrap();
    assert_eq!(last_layer(&built.image), ["out/", "out/a.txt", "out/deep/", "out/deep/b.txt"]);
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let project = project("FROM base\nCOPY --parents crates/./*/Cargo.toml top/**/x /out/\n");
    for name in ["crates/a/Cargo.toml", "crates/a/lib.rs", "crates/b/Cargo.toml", "top/d/e/x", "top/d/y"] {
        project.file(name, name).unwrap();
    }
    let built = project.build(Caller::Root).unwrap();
    assert_eq!(
        last_layer(&built.image),
        [
            "out/",
            "out/a/",
            "out/a/Cargo.toml",
            "out/b/",
            "out/b/Cargo.toml",
            "out/top/",
            "out/top/d/",
            "out/top/d/e/",
            "out/top/d/e/x"
        ]
    );
}

#[test]
fn a_linked_copy_replaces_a_link_of_the_base_and_its_layer_does_not_depend_on_it() {
    let linked = "COPY --link f /l/f\n";
    let text = format!(
        "FROM base\nRUN mkdir /real && ln -s /real /l\n{linked}\
         RUN test ! -L /l && test -f /l/f && test ! -e /real/f\n"
    );
    let first = project(&text);
    first.file("f", "linked").unwrap();
    let built = first.build(Caller::Root).unwrap();
    let other = project(&format!("FROM base\n{linked}"));
    other.file("f", "linked").unwrap();
    let without = other.build(Caller::Root).unwrap();
    let names = last_layer(&without.image);
    assert_eq!(names, ["l/", "l/f"], "the directory is in the layer, whatever is below it");
    assert_eq!(built.image.text("l/f").unwrap(), "linked");
}

#[test]
fn add_of_a_url_verifies_its_checksum_and_keeps_its_date() {
    let address = server(b"hello\n");
    let sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let project =
        project(&format!("FROM base\nADD --checksum=sha256:{sum} http://{address}/dir/hello.txt /opt/\n"));
    let attempt = project.try_build(Caller::Root, &["--timestamp", "1700000000"]).unwrap();
    attempt.outcome.success().unwrap();
    let found = Image::verify(&attempt.layout).unwrap().entry("opt/hello.txt").unwrap().unwrap();
    assert_eq!((found.mode, found.uid, found.mtime), (0o600, 0, 981_173_106));
    assert_eq!(found.content, b"hello\n");

    let wrong = sum.replace('5', "6");
    project
        .file("Dockerfile", &format!("FROM base\nADD --checksum=sha256:{wrong} http://{address}/x /x\n"))
        .unwrap();
    let attempt = project.try_build(Caller::Root, &[]).unwrap();
    let text = attempt.outcome.code(6).unwrap().text();
    assert!(text.contains("Dockerfile:2:1") && text.contains(&wrong) && text.contains(sum), "{text}");
    assert!(!attempt.layout.join("index.json").exists());
}

#[test]
fn a_context_may_be_an_archive() {
    let project = project("FROM scratch\nCOPY a dir /x/\n");
    project.file("a", "of the archive").unwrap().file("dir/b", "b").unwrap();
    let session = Session::new(Caller::Root).unwrap();
    let archive = project.path().with_extension("tar.gz");
    let archive = archive.to_str().unwrap();
    run(command("tar", ["-C", project.path().to_str().unwrap(), "-czf", archive, "."]))
        .unwrap()
        .success()
        .unwrap();
    let build = |name: &str, context: &str| {
        let (host, out) = session.out(name).unwrap();
        let output = format!("type=oci,tar=false,dest={out}");
        session.succeed(&["build", "--output", &output, context]).unwrap();
        Image::verify(&host).unwrap()
    };
    let (packed, plain) = (build("packed", archive), build("plain", project.path().to_str().unwrap()));
    std::fs::remove_file(archive).unwrap();
    assert_eq!(last_layer(&packed), ["x/", "x/a", "x/b"]);
    assert_eq!(packed.text("x/a").unwrap(), "of the archive");
    assert_eq!(packed.digest, plain.digest, "how a context comes changes nothing");
}

#[test]
fn a_check_names_rules_and_lines_and_builds_nothing() {
    let project = project("FROM scratch AS Bad\nMAINTAINER me\nCMD run me\n");
    let attempt = project.try_build(Caller::Root, &["--check"]).unwrap();
    let text = attempt.outcome.code(3).unwrap().text();
    for line in [
        "StageNameCasing: Stage name 'Bad' should be lowercase (line 1)",
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        "(line 3)",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!attempt.layout.join("index.json").exists());
    project.file("Dockerfile", "# check=error=true\nFROM scratch\nMAINTAINER me\n").unwrap();
    let text = project.try_build(Caller::Root, &[]).unwrap().outcome.code(3).unwrap().text();
    assert!(text.contains("lint violation found for rules: MaintainerDeprecated"), "{text}");
    project.file("Dockerfile", "FROM scratch\nLABEL a=b\n").unwrap();
    let outcome = project.try_build(Caller::Root, &["--check"]).unwrap().outcome.success().unwrap();
    assert!(outcome.stdout.contains("no warnings found"), "{}", outcome.stdout);
}
