//! The language row by row: each row of `rows/list.txt` has a file of cases, builds that are accepted and builds that are refused.
//!
//! A file is a document: the inputs of its builds and what came of them, the configuration and every entry of every layer, or the exact
//! text on standard error. The test makes the document again and compares all of it. `WBUILD_ROWS=write` writes it instead, to be read
//! before it is committed. Nothing here is judged by wbuild's own code: layers are read with another tar.

mod document;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace;

use document::{Case, Document, Kind, Section};

fn directory() -> PathBuf {
    workspace::root().join("tests/images/rows")
}

/// Rows are tests of their own, so that a failure names one.
macro_rules! rows {
    ($($row:ident)*) => {
        $(#[test] fn $row() { compare(stringify!($row)); })*
        const ROWS: &[&str] = &[$(stringify!($row)),*];
    };
}

rows! {
    directives
    comments_and_continuations
    heredocs
    ignore_files
    expansion
    from
    arg
    run
    run_mounts
    run_network
    named_contexts
    copy
    copy_link_parents
    add
    add_url
    configuration
    onbuild
    history
    lint
    call
    command_line_build
    command_line_image
    command_line_refused
}

#[test]
fn every_row_of_the_list_has_cases_of_both_kinds() {
    let list = fs::read_to_string(directory().join("list.txt")).unwrap();
    let listed: BTreeSet<&str> =
        list.lines().filter_map(|line| line.split_once(": ")).map(|(row, _)| row).collect();
    assert_eq!(listed, ROWS.iter().copied().collect::<BTreeSet<_>>());
    for row in ROWS {
        let kinds: Vec<Kind> = document_of(row).1.cases.iter().map(|case| case.kind).collect();
        let accepted = kinds.iter().any(|kind| *kind != Kind::Refused) || *row == "command_line_refused";
        assert!(kinds.contains(&Kind::Refused) && accepted, "{row}");
    }
}

fn document_of(row: &str) -> (PathBuf, Document) {
    let path = directory().join(row).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    (path, document)
}

fn compare(row: &str) {
    let (path, expected) = document_of(row);
    let caller = if workspace::is_root() { Caller::Root } else { Caller::Myself };
    let mut session = Session::new(caller).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1").env("SOURCE_DATE_EPOCH", "1700000000");
    let cases = expected.cases.iter().map(|case| made(case, &mut session)).collect();
    let found = Document { head: expected.head.clone(), cases };
    if std::env::var("WBUILD_ROWS").as_deref() == Ok("write") {
        fs::write(&path, found.to_string()).unwrap();
        return;
    }
    for (expected, found) in expected.cases.iter().zip(&found.cases) {
        for (expected, found) in expected.sections.iter().zip(&found.sections) {
            assert_eq!(found.body, expected.body, "{row}: {}: {}", expected.title, path.display());
        }
        assert_eq!(expected, found, "{row}");
    }
}

/// The case with what came of it in the place of what it expects.
fn made(case: &Case, session: &mut Session) -> Case {
    let base = base::busybox().unwrap();
    let project = Project::new(&base, "").unwrap();
    let context = project.path().to_path_buf();
    for file in case.files() {
        file.write(&context).unwrap_or_else(|error| panic!("{}: {error:#}", case.title));
    }
    let served = context.join("served");
    let address =
        served.is_dir().then(|| server(fs::read_dir(&served).unwrap().map(|e| e.unwrap().path()).collect()));
    let address = address.as_deref().unwrap_or("no-server");
    fs::remove_dir_all(&served).ok();
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).unwrap();
    fs::write(context.join("Dockerfile"), dockerfile.replace("{server}", address)).unwrap();
    let shown = |text: &str| text.replace(address, "{server}").replace(&context.display().to_string(), ".");
    let arguments: Vec<String> = case
        .arguments()
        .iter()
        .map(|word| word.replace("{context}", &context.display().to_string()))
        .collect();
    let arguments: Vec<&str> =
        ["--progress", "quiet"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let (layout, outcome) = project.build_in(session, &arguments).unwrap();
    let mut sections = case.inputs();
    match case.kind {
        Kind::Refused => {
            assert!(!layout.join("index.json").exists(), "{}: there is an image", case.title);
            let code = outcome.status.code().unwrap_or(-1);
            let text = format!("exit {code}\n{}", shown(&outcome.text()));
            assert_ne!(code, 0, "{}: {text}", case.title);
            sections.push(Section::new("error", &text));
        }
        Kind::Printed => {
            let text = shown(&outcome.success().unwrap().text());
            sections.push(Section::new("printed", &text));
        }
        Kind::Accepted => {
            outcome.success().unwrap_or_else(|error| panic!("{}: {error:#}", case.title));
            let image = Image::verify(&layout).unwrap();
            sections.push(Section::new("config", &shown(&config_of(&image))));
            sections.push(Section::new("tree", &tree_of(&image, &base)));
        }
    }
    Case { sections, ..case.clone() }
}

/// The whole configuration but for digests, which stand for what `tree` says.
fn config_of(image: &Image) -> String {
    let mut config = image.config.clone();
    if let Value::Object(fields) = &mut config {
        fields.remove("rootfs");
    }
    format!("{}\n", serde_json::to_string_pretty(&config).unwrap())
}

/// Every entry of every layer, in the order of the archive; the base's own layer, which holds this machine's busybox, is not shown.
fn tree_of(image: &Image, base: &base::Base) -> String {
    let layers = image.layers().unwrap();
    let own = Image::verify(&base.layout).unwrap().layers().unwrap();
    let base = layers.iter().zip(&own).take_while(|(layer, own)| layer.diff_id == own.diff_id).count();
    let mut text = String::new();
    for layer in layers.iter().skip(base) {
        text.push_str("layer\n");
        let mut archive = tar::Archive::new(image.archive(layer).unwrap());
        for entry in archive.entries().unwrap() {
            writeln!(text, "{}", line(entry.unwrap())).unwrap();
        }
    }
    text
}

fn line(mut entry: tar::Entry<'_, Box<dyn Read>>) -> String {
    let header = entry.header().clone();
    let path = entry.path().unwrap().display().to_string();
    let link = entry.link_name().unwrap().map(|link| link.display().to_string());
    let kind = match header.entry_type() {
        tar::EntryType::Directory => 'd',
        tar::EntryType::Symlink => 'l',
        tar::EntryType::Link => 'h',
        tar::EntryType::Fifo => 'p',
        tar::EntryType::Char => 'c',
        tar::EntryType::Block => 'b',
        _ => '-',
    };
    let mut line = format!(
        "{kind} {:04o} {}:{} {path}",
        header.mode().unwrap(),
        header.uid().unwrap(),
        header.gid().unwrap()
    );
    match (kind, link) {
        (_, Some(target)) => write!(line, " -> {target}").unwrap(),
        ('-', None) => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            match wbuild_tests::layout::digest(content.as_slice()).unwrap() {
                (digest, size) if size > 200 => write!(line, " {size} bytes {digest}").unwrap(),
                _ => write!(line, " {:?}", String::from_utf8_lossy(&content)).unwrap(),
            }
        }
        _ => {}
    }
    line
}

/// A server on loopback that gives these files by their names, dated 2001-02-03; its address.
fn server(files: Vec<PathBuf>) -> String {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let files: Vec<(String, Vec<u8>)> =
        files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let asked = request.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
            let found = files.iter().find(|(name, _)| *name == asked);
            let (status, content) = found.map_or(("404 Not Found", &[][..]), |(_, c)| ("200 OK", c));
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sat, 03 Feb 2001 04:05:06 GMT\r\n\
                 Connection: close\r\n\r\n",
                content.len()
            );
            // A client that has seen enough may go.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content));
        }
    });
    address
}

/// Permission bits of what a case writes into its context.
fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
