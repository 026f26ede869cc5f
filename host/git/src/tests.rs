//! Repositories that git makes and serves (`git http-backend`, asked as a CGI program), judged by what git itself checks out.

mod hostile;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_oci::{Digest, GitSource};
use wbuild_store::{ErrorClass, GitFound, Store};

use crate::{Answer, Checkout, GitError, Http, HttpFailure, Limits, checkout, find};

/// Which version of the protocol a server is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Zero,
    Two,
}

/// A directory with repositories, served, and a store.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    version: Version,
    pub(super) limits: Limits,
    asked: std::sync::Mutex<Vec<String>>,
}

impl Http for Bench {
    fn get(&self, url: &str) -> Result<Answer, HttpFailure> {
        self.backend(url, None)
    }

    fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, HttpFailure> {
        self.backend(url, Some(body))
    }
}

impl Bench {
    pub(super) fn new(version: Version) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("srv")).unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        Self { dir, version, limits: Limits::default(), asked: Default::default() }
    }

    fn backend(&self, url: &str, body: Option<Vec<u8>>) -> Result<Answer, HttpFailure> {
        let missing = || HttpFailure {
            class: ErrorClass::Missing,
            source: Box::new(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        self.asked.lock().unwrap().push(url.to_owned());
        let path = url.strip_prefix("http://127.0.0.1").ok_or_else(missing)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut command = Command::new("git");
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", self.dir.path().join("srv"))
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", if body.is_some() { "POST" } else { "GET" })
            .env("CONTENT_TYPE", "application/x-git-upload-pack-request")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if self.version == Version::Two {
            command.env("GIT_PROTOCOL", "version=2");
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&body.unwrap_or_default()).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(output[..end].to_vec()).unwrap();
        if head.lines().any(|line| line.starts_with("Status: ")) {
            return Err(missing());
        }
        let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or_default();
        let body = std::io::Cursor::new(output[end + 4..].to_vec());
        Ok(Answer { url: url.to_owned(), content_type: kind.to_owned(), body: Box::new(body) })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs git in a directory of the bench.
    pub(super) fn git(&self, dir: &str, args: &[&str]) -> String {
        self.git_with(dir, args, b"")
    }

    pub(super) fn git_with(&self, dir: &str, args: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "core.autocrlf=false",
        ]);
        command
            .args(args)
            .current_dir(self.path(dir))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", self.dir.path());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "n").env(format!("GIT_{who}_EMAIL"), "e@example.org");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A repository with files, served as `NAME.git`.
    pub(super) fn repository(&self, name: &str, files: &[(&str, &str)]) {
        let dir = format!("srv/{name}.git");
        std::fs::create_dir(self.path(&dir)).unwrap();
        self.git(&dir, &["init", "-q"]);
        self.commit(name, files);
    }

    pub(super) fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let dir = format!("srv/{name}.git");
        for (path, text) in files {
            let path = self.path(&dir).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&dir, &["add", "-A"]);
        self.git(&dir, &["commit", "-qm", "m"]);
        self.git(&dir, &["rev-parse", "HEAD"])
    }

    pub(super) fn store(&self) -> Store {
        Store::open(&Dir::open_ambient_dir(self.path("store"), ambient_authority()).unwrap()).unwrap()
    }

    pub(super) fn try_fetch(&self, text: &str) -> Result<(GitFound, Digest), GitError> {
        let source = GitSource::parse(&format!("http://127.0.0.1/{text}")).unwrap().unwrap();
        let found = find(self, &source, &self.limits)?;
        let (store, limits) = (self.store(), self.limits);
        let admit = &|_: &str, _: &str| Ok(());
        let asked = Checkout { http: self, store: &store, source: &source, found: &found, admit, limits };
        let digest = checkout(&asked)?;
        Ok((found, digest))
    }

    /// Fetches into a directory.
    pub(super) fn fetch(&self, text: &str) -> (GitFound, PathBuf) {
        let (found, digest) = self.try_fetch(text).unwrap();
        let into = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let blob = self.store().blob(&digest).unwrap();
        let mut archive = tar::Archive::new(blob);
        archive.set_preserve_permissions(true);
        archive.unpack(&into).unwrap();
        (found, into)
    }

    /// What git itself makes of it.
    fn clone(&self, name: &str, args: &[&str]) -> PathBuf {
        let into = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let from = format!("file://{}", self.path(&format!("srv/{name}.git")).display());
        let mut all = vec!["clone", "-q", "--recurse-submodules"];
        all.extend(args);
        self.git(".", &[all.as_slice(), &[&from, into.to_str().unwrap()]].concat());
        into
    }

    fn requests(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

/// Every file beneath a directory with its mode and content; git's own files left out.
fn tree(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == ".git" {
                continue;
            }
            let metadata = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            let content = if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_dir() {
                left.push(path);
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            // The umask of the tests is none of the checkout's.
            let mode = metadata.permissions().mode() & 0o170_111;
            found.insert(name, (mode, content));
        }
    }
    found
}

const FILES: &[(&str, &str)] = &[("README", "one\n"), ("dir/deep/file", "two\n"), ("dir/empty", "")];

#[test]
fn a_checkout_is_what_git_makes_of_it_by_either_protocol() {
    for version in [Version::Zero, Version::Two] {
        let bench = Bench::new(version);
        bench.repository("x", FILES);
        let repository = bench.path("srv/x.git");
        std::os::unix::fs::symlink("dir//deep/../deep/", repository.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/".repeat(60), repository.join("long")).unwrap();
        std::fs::write(repository.join("run.sh"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(repository.join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
        let long = format!("{}/{}", "n".repeat(120), "ü".repeat(100));
        // A file that goes through many versions is stored as deltas.
        let text: String = (0..2000).map(|i| format!("line {i}\n")).collect();
        bench.commit("x", &[(&long, "long"), ("versions", &text)]);
        let commit =
            bench.commit("x", &[("versions", &text.replace("line 7\n", "seven\n")), ("copy", &text)]);
        bench.git("srv/x.git", &["repack", "-qadf"]);
        let (found, made) = bench.fetch("x.git");
        assert_eq!(
            (found.commit.as_str(), found.reference.as_deref()),
            (commit.as_str(), Some("refs/heads/main"))
        );
        let expected = tree(&bench.clone("x", &[]));
        assert!(expected.len() > 8, "{expected:?}");
        assert_eq!(tree(&made), expected);
        let mtime = std::fs::metadata(made.join("README")).unwrap().modified().unwrap();
        let seconds = mtime.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds, 1_700_000_000, "the commit's time");
    }
}

#[test]
fn references_are_found_as_buildkit_finds_them() {
    for version in [Version::Zero, Version::Two] {
        let bench = Bench::new(version);
        bench.repository("x", FILES);
        let git = |args: &[&str]| bench.git("srv/x.git", args);
        let first = git(&["rev-parse", "HEAD"]);
        git(&["tag", "light"]);
        git(&["tag", "-am", "m", "v1"]);
        git(&["tag", "-am", "m", "nested", "v1"]);
        git(&["update-ref", "refs/pull/7/head", &first]);
        let second = bench.commit("x", &[("README", "second\n")]);
        git(&["branch", "both", &first]);
        git(&["tag", "both"]);
        git(&["branch", "release/1.2"]);
        let third = bench.commit("x", &[("README", "third\n")]);
        let tag = git(&["rev-parse", "v1"]);
        for (reference, commit, full) in [
            ("#light", &first, Some("refs/tags/light")),
            ("#v1", &first, Some("refs/tags/v1")),
            ("#nested", &first, Some("refs/tags/nested")),
            ("?tag=v1", &first, Some("refs/tags/v1")),
            ("#refs/tags/v1", &first, Some("refs/tags/v1")),
            ("#tags/v1", &first, Some("refs/tags/v1")),
            ("#pull/7/head", &first, Some("refs/pull/7/head")),
            ("#both", &first, Some("refs/heads/both")),
            ("?tag=both", &second, Some("refs/tags/both")),
            ("#release/1.2", &second, Some("refs/heads/release/1.2")),
            ("#main", &third, Some("refs/heads/main")),
            ("", &third, Some("refs/heads/main")),
        ] {
            let (found, made) = bench.fetch(&format!("x.git{reference}"));
            assert_eq!((&found.commit, found.reference.as_deref()), (commit, full), "{reference}");
            let text = std::fs::read_to_string(made.join("README")).unwrap();
            assert_eq!(text, git(&["show", &format!("{commit}:README")]) + "\n", "{reference}");
        }
        // By id: of a branch's newest commit, shortened, of an older one, of a tag.
        for id in [third.clone(), third[..8].to_owned(), first.clone(), tag] {
            let (_, made) = bench.fetch(&format!("x.git#{id}"));
            let text = std::fs::read_to_string(made.join("README")).unwrap();
            assert_eq!(text, git(&["show", &format!("{id}^{{commit}}:README")]) + "\n", "{id}");
        }
        let missing = bench.try_fetch("x.git#nowhere").unwrap_err();
        assert!(missing.to_string().contains("has no branch or tag \"nowhere\""), "{missing}");
        let missing = bench.try_fetch(&format!("x.git#{}", "ab".repeat(20))).unwrap_err();
        assert_eq!(missing.class(), ErrorClass::Missing, "{missing}");
    }
}

#[test]
fn only_one_commit_is_fetched_and_none_that_is_there() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    let big: String = (0..200_000).map(|i| format!("{}\n", i * 7919 % 104_729)).collect();
    bench.commit("x", &[("big", &big)]);
    let id = bench.commit("x", &[("big", "small now")]);
    let bench = Bench { limits: Limits { pack: 20_000, ..Limits::default() }, ..bench };
    bench.fetch(&format!("x.git#{id}"));
    assert!(bench.requests() > 0, "the first time a server is asked");
    bench.fetch(&format!("x.git#{id}"));
    assert_eq!(bench.requests(), 0, "a commit that is there needs no server");
    bench.fetch(&format!("x.git#{id}:dir"));
    assert!(bench.requests() > 0, "another part of it does");
    let older = bench.git("srv/x.git", &["rev-parse", "HEAD^"]);
    let much = bench.try_fetch(&format!("x.git#{older}")).unwrap_err();
    assert!(matches!(much, GitError::Limit { what: "a pack's bytes", .. }), "{much}");
}

#[test]
fn a_checksum_is_compared_with_commit_and_tag() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    bench.git("srv/x.git", &["tag", "-am", "m", "v1"]);
    let (commit, tag) =
        (bench.git("srv/x.git", &["rev-parse", "v1^{}"]), bench.git("srv/x.git", &["rev-parse", "v1"]));
    for right in [&commit, &tag, &commit[..7].to_owned(), &commit.to_uppercase()] {
        bench.try_fetch(&format!("x.git?tag=v1&checksum={right}")).expect(right);
    }
    let wrong = format!("{}0", &commit[..6]).replace(&commit[..7], "0000000");
    let refused = bench.try_fetch(&format!("x.git?tag=v1&checksum={wrong}")).unwrap_err();
    assert!(matches!(&refused, GitError::Checksum { found, .. } if *found == commit), "{refused}");
    // What a reference is now does not matter where the commit decides.
    let next = bench.commit("x", &[("README", "moved")]);
    assert_ne!(next, commit);
    let (found, made) = bench.fetch(&format!("x.git?fetch-by-commit&commit={commit}#main"));
    assert_eq!(found.reference.as_deref(), Some("refs/heads/main"));
    assert_eq!(std::fs::read_to_string(made.join("README")).unwrap(), "one\n");
}

#[test]
fn a_directory_is_taken_and_links_to_one_are_not() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    std::os::unix::fs::symlink("dir", bench.path("srv/x.git/link")).unwrap();
    bench.commit("x", &[]);
    let (_, made) = bench.fetch("x.git#main:dir");
    assert_eq!(tree(&made).into_keys().collect::<Vec<_>>(), ["deep", "deep/file", "empty"]);
    for subdir in ["link", "README", "nowhere", "dir/empty"] {
        let refused = bench.try_fetch(&format!("x.git#main:{subdir}")).unwrap_err();
        assert!(matches!(refused, GitError::Subdir { .. }), "{subdir}: {refused}");
    }
}

fn with_submodules(bench: &Bench) {
    bench.repository("leaf", &[("leaf.txt", "leaf")]);
    bench.repository("lib", &[("lib.txt", "lib")]);
    let url = |name: &str| format!("file://{}", bench.path(&format!("srv/{name}.git")).display());
    bench.git("srv/lib.git", &["submodule", "add", "-q", &url("leaf"), "inner/leaf"]);
    bench.git("srv/lib.git", &["config", "-f", ".gitmodules", "submodule.inner/leaf.url", "../leaf.git"]);
    bench.commit("lib", &[]);
    bench.repository("x", FILES);
    bench.git("srv/x.git", &["submodule", "add", "-q", &url("lib"), "third party/lib"]);
    bench.git("srv/x.git", &["config", "-f", ".gitmodules", "submodule.third party/lib.url", "../lib.git"]);
    bench.commit("x", &[]);
    // Newer than what the submodule is at.
    bench.commit("leaf", &[("leaf.txt", "newer")]);
}

#[test]
fn submodules_are_fetched_at_their_commits() {
    for version in [Version::Zero, Version::Two] {
        let bench = Bench::new(version);
        with_submodules(&bench);
        let (_, made) = bench.fetch("x.git");
        let files = tree(&made);
        assert_eq!(files["third party/lib/inner/leaf/leaf.txt"].1, b"leaf");
        assert_eq!(files, tree(&bench.clone("x", &[])));
        let (_, without) = bench.fetch("x.git?submodules=false");
        assert!(std::fs::read_dir(without.join("third party/lib")).unwrap().next().is_none());
        let (_, part) = bench.fetch("x.git#main:third%20party/lib/inner");
        assert_eq!(tree(&part).into_keys().collect::<Vec<_>>(), ["leaf", "leaf/leaf.txt"]);
    }
}

#[test]
fn a_submodule_needs_permission_and_a_url_that_can_be_reached() {
    let bench = Bench::new(Version::Two);
    with_submodules(&bench);
    let source = GitSource::parse("http://127.0.0.1/x.git").unwrap().unwrap();
    let found = find(&bench, &source, &bench.limits).unwrap();
    let (store, limits) = (bench.store(), bench.limits);
    let admit =
        &|url: &str, _: &str| if url.ends_with("/leaf.git") { Err(format!("not {url}")) } else { Ok(()) };
    let asked = Checkout { http: &bench, store: &store, source: &source, found: &found, admit, limits };
    let denied = checkout(&asked).unwrap_err();
    assert!(denied.to_string().contains("not http://127.0.0.1/leaf.git"), "{denied}");
    for (url, why) in [
        ("git@example.org:a/b.git", "does not speak ssh"),
        ("ssh://example.org/b.git", "does not speak ssh"),
        ("git://example.org/b.git", "git:// says neither"),
        ("http://example.org/b.git", "only on loopback"),
        ("file:///srv/b.git", "is of no known kind"),
        ("/srv/b.git", "is of no known kind"),
        ("../../../x.git", "leads out of the server"),
    ] {
        bench.git("srv/x.git", &["config", "-f", ".gitmodules", "submodule.third party/lib.url", url]);
        bench.commit("x", &[]);
        let refused = bench.try_fetch("x.git").unwrap_err();
        assert!(refused.to_string().contains(why), "{url}: {refused}");
        bench.try_fetch("x.git?submodules=0").unwrap();
    }
    bench.git("srv/x.git", &["rm", "-q", "--cached", ".gitmodules"]);
    std::fs::remove_file(bench.path("srv/x.git/.gitmodules")).unwrap();
    bench.commit("x", &[]);
    let refused = bench.try_fetch("x.git").unwrap_err();
    assert!(refused.to_string().contains("no url of it stands in .gitmodules"), "{refused}");
}

#[test]
fn a_kept_git_directory_is_one_that_git_takes_and_the_same_each_time() {
    for (reference, described) in [("", None), ("#v1", Some("v1")), ("#{id}", None)] {
        let bench = Bench::new(Version::Two);
        bench.repository("x", FILES);
        std::fs::write(bench.path("srv/x.git/run"), "x").unwrap();
        std::fs::set_permissions(bench.path("srv/x.git/run"), PermissionsExt::from_mode(0o755)).unwrap();
        let id = bench.commit("x", &[]);
        bench.git("srv/x.git", &["tag", "-am", "m", "v1"]);
        let query = format!("x.git?keep-git-dir=1{}", reference.replace("{id}", &id));
        let (found, made) = bench.fetch(&query);
        let made_name = made.file_name().unwrap().to_str().unwrap();
        let git = |args: &[&str]| bench.git(made_name, args);
        assert_eq!(git(&["rev-parse", "HEAD"]), id);
        assert_eq!(git(&["status", "--porcelain"]), "", "nothing is changed");
        git(&["fsck", "--full", "--strict"]);
        assert_eq!(git(&["log", "--format=%H"]), id, "one commit");
        assert_eq!(git(&["remote", "get-url", "origin"]), "http://127.0.0.1/x.git");
        if let Some(tag) = described {
            assert_eq!(git(&["describe"]), tag);
        } else if let Some(reference) = &found.reference {
            assert_eq!(git(&["rev-parse", reference]), id);
        }
        // Another store, and a server that packs in another way.
        let (_, digest) = bench.try_fetch(&query).unwrap();
        bench.git("srv/x.git", &["gc", "-q", "--aggressive"]);
        std::fs::remove_dir_all(bench.path("store")).unwrap();
        std::fs::create_dir(bench.path("store")).unwrap();
        assert_eq!(bench.try_fetch(&query).unwrap().1, digest, "{reference}");
    }
}

#[test]
fn repositories_with_longer_ids_work_too() {
    let bench = Bench::new(Version::Two);
    std::fs::create_dir(bench.path("srv/x.git")).unwrap();
    bench.git("srv/x.git", &["init", "-q", "--object-format=sha256"]);
    let id = bench.commit("x", FILES);
    assert_eq!(id.len(), 64);
    let (found, made) = bench.fetch("x.git?keep-git-dir=1");
    assert_eq!(found.commit, id);
    assert_eq!(bench.git(made.file_name().unwrap().to_str().unwrap(), &["status", "--porcelain"]), "");
}

#[test]
fn an_empty_repository_and_what_is_no_repository_are_told() {
    for version in [Version::Zero, Version::Two] {
        let bench = Bench::new(version);
        std::fs::create_dir(bench.path("srv/x.git")).unwrap();
        bench.git("srv/x.git", &["init", "-q"]);
        let empty = bench.try_fetch("x.git").unwrap_err();
        assert!(empty.to_string().contains("no default branch with a commit"), "{empty}");
        let missing = bench.try_fetch("nowhere.git").unwrap_err();
        assert_eq!(missing.class(), ErrorClass::Missing, "{missing}");
    }
}
