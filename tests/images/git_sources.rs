//! Git repositories as build contexts and as sources of ADD, against `git http-backend` on loopback: from the restricted pod and outside of it.
//! wbuild's image has no git in it.

use std::path::{Path, PathBuf};

use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::git::{GitServer, TOKEN, git};
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

fn project(dockerfile: &str) -> Project {
    Project::new(&base::busybox().unwrap(), dockerfile).unwrap()
}

/// A server with a library that is a submodule of the repository `app`.
fn server() -> GitServer {
    let server = GitServer::start(None).unwrap();
    server.commit("lib", &[("lib.txt", "lib\n")]).unwrap();
    let app = server.repository("app").unwrap();
    let lib = format!("file://{}", server.repository("lib").unwrap().display());
    git(&app, &["submodule", "add", "-q", &lib, "lib"]).unwrap();
    git(&app, &["config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git"]).unwrap();
    std::os::unix::fs::symlink("f", app.join("dir-link")).unwrap();
    let dockerfile = "FROM scratch\nCOPY . /x/\n";
    server
        .commit(
            "app",
            &[("Dockerfile", dockerfile), ("dir/f", "one\n"), ("dir/g.md", "g"), (".dockerignore", "dir\n")],
        )
        .unwrap();
    server
}

/// Builds a git URL as the context.
fn build(session: &Session, name: &str, more: &[&str], context: &str) -> wbuild_tests::command::Outcome {
    let (_, out) = session.out(name).unwrap();
    let output = format!("type=oci,tar=false,dest={out}");
    session.run(&[&["build", "--output", &output], more, &[context]].concat()).unwrap()
}

fn image(session: &Session, name: &str) -> Image {
    Image::verify(&session.out(name).unwrap().0).unwrap()
}

#[test]
fn a_git_context_is_built_in_the_pod_and_outside_to_the_same_image() {
    let server = server();
    let commit = git(&server.repository("app").unwrap(), &["rev-parse", "HEAD"]).unwrap();
    let mut digests = Vec::new();
    for caller in [pod().unwrap(), Caller::Root] {
        let session = Session::new(caller).unwrap();
        let outcome = build(&session, "a", &[], &server.url("app")).success().unwrap();
        assert!(outcome.text().contains(&format!("is commit {commit}")), "{}", outcome.text());
        let made = image(&session, "a");
        assert_eq!(made.text("x/lib/lib.txt").unwrap(), "lib\n", "the submodule");
        assert_eq!(made.text("x/dir/f").unwrap(), "one\n", "as in BuildKit, .dockerignore hides nothing");
        assert!(made.entry("x/.git").unwrap().is_none());
        digests.push(made.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn add_takes_a_commit_of_a_repository_with_its_flags() {
    let server = server();
    let app = server.repository("app").unwrap();
    git(&app, &["tag", "-am", "m", "v1"]).unwrap();
    let commit = git(&app, &["rev-parse", "HEAD"]).unwrap();
    server.commit("app", &[("dir/f", "newer\n")]).unwrap();
    let url = server.url("app");
    let text = format!(
        "FROM base\nADD --checksum={commit} --chown=3:4 --exclude=*.md {url}#v1:dir /sub/\n\
         ADD {url}?ref=v1&submodules=0 /all\nADD {url}#main /main/\nRUN test ! -e /main/.git && cat /main/lib/lib.txt\n"
    );
    for caller in [pod().unwrap(), Caller::Root] {
        let attempt = project(&text).try_build(caller, &["--timestamp", "1700000000"]).unwrap();
        attempt.outcome.success().unwrap();
        let made = Image::verify(&attempt.layout).unwrap();
        let found = made.entry("sub/f").unwrap().unwrap();
        assert_eq!((found.mode, found.uid, found.mtime), (0o644, 3, 1_600_000_000), "the commit's time");
        assert_eq!(found.content, b"one\n");
        assert!(made.entry("sub/g.md").unwrap().is_none());
        assert_eq!(made.text("all/dir/f").unwrap(), "one\n");
        assert!(made.entry("all/lib/lib.txt").unwrap().is_none());
        assert_eq!(made.text("main/dir/f").unwrap(), "newer\n");
        let history = made.config["history"].to_string();
        assert!(history.contains(&format!("ADD --chown=3:4 {url}#v1:dir /sub/ # buildkit")), "{history}");
    }
}

/// Unpacks the last layer.
fn unpacked(image: &Image) -> (Scratch, PathBuf) {
    let dir = Scratch::new("unpacked").unwrap();
    let layers = image.layers().unwrap();
    tar::Archive::new(image.archive(layers.last().unwrap()).unwrap()).unpack(dir.path()).unwrap();
    let path = dir.path().to_path_buf();
    (dir, path)
}

#[test]
fn a_kept_git_directory_is_one_that_git_takes() {
    let server = server();
    let commit = git(&server.repository("app").unwrap(), &["rev-parse", "HEAD"]).unwrap();
    let url = server.url("app");
    let status = |dir: &Path| {
        assert_eq!(git(dir, &["rev-parse", "HEAD"]).unwrap(), commit);
        git(dir, &["fsck", "--strict"]).unwrap();
        assert_eq!(git(dir, &["remote", "get-url", "origin"]).unwrap(), url);
        git(dir, &["status", "--porcelain"]).unwrap()
    };
    let attempt = project(&format!("FROM scratch\nADD --keep-git-dir=true {url} /x\n"));
    let built = attempt.build(Caller::Root).unwrap();
    let (_dir, path) = unpacked(&built.image);
    assert_eq!(status(&path.join("x")), "");
    let session = Session::new(Caller::Root).unwrap();
    build(&session, "a", &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"], &url).success().unwrap();
    let (_dir, path) = unpacked(&image(&session, "a"));
    assert_eq!(status(&path.join("x")), "");
}

#[test]
fn a_step_is_cached_by_its_commit() {
    let server = server();
    let url = server.url("app");
    let project = project(&format!("FROM base\nADD {url}#main /x\nRUN cat /x/dir/f\n"));
    let mut session = Session::new(Caller::Root).unwrap();
    let cached = |session: &mut Session| {
        let (_, outcome) = project.build_in(session, &[]).unwrap();
        let text = outcome.success().unwrap().text();
        // Beside the steps, a base that an earlier build unpacked is taken as it lies there.
        let cached = |part: &&str| part.contains("CACHED") && !part.contains("unpack the base");
        (text.split("\n\n").filter(cached).count(), text)
    };
    assert_eq!(cached(&mut session).0, 0);
    server.asked();
    let (count, text) = cached(&mut session);
    assert_eq!(count, 2, "{text}");
    let asked = server.asked();
    assert!(asked.len() <= 2, "only the reference is looked up: {asked:?}");
    server.commit("app", &[("dir/f", "moved\n")]).unwrap();
    let (count, text) = cached(&mut session);
    assert!(count == 0 && text.contains("moved"), "{text}");
}

#[test]
fn a_private_repository_wants_a_secret_that_is_shown_nowhere() {
    let server = GitServer::start(None).unwrap();
    server
        .commit("private/app", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "secret code\n")])
        .unwrap();
    let url = server.url("private/app");
    let session = Session::new(Caller::Root).unwrap();
    let text = build(&session, "none", &[], &url).code(6).unwrap().text();
    assert!(text.contains("it wants credentials") && text.contains("GIT_AUTH_TOKEN"), "{text}");
    let file = |content: &str| {
        let file = session.store().join(format!("token-{content}"));
        std::fs::write(&file, content).unwrap();
        file
    };
    let secret = |id: &str, content: &str| format!("--secret=id={id},src={}", file(content).display());
    let text =
        build(&session, "wrong", &[&secret("GIT_AUTH_TOKEN", "wrongwrong")], &url).code(6).unwrap().text();
    assert!(text.contains("does not take the credentials") && !text.contains("wrongwrong="), "{text}");
    let host = format!("GIT_AUTH_TOKEN.{}", server.address());
    for (name, id) in [("a", "GIT_AUTH_TOKEN"), ("b", host.as_str())] {
        let outcome = build(&session, name, &[&secret(id, TOKEN)], &url).success().unwrap();
        assert!(!outcome.text().replace(&format!("token-{TOKEN}"), "").contains(TOKEN), "{}", outcome.text());
        assert_eq!(image(&session, name).text("f").unwrap(), "secret code\n");
    }
    // In the URL, too, where only the command line may have it.
    let with = url.replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    let fresh = Session::new(Caller::Root).unwrap();
    let text = build(&fresh, "c", &[], &with).success().unwrap().text();
    assert!(!text.contains(TOKEN), "{text}");
    let dockerfile = format!("FROM base\nADD {with} /x\n");
    let text = project(&dockerfile).try_build(Caller::Root, &[]).unwrap().outcome.code(3).unwrap().text();
    assert!(text.contains("user or password"), "{text}");
    // Nothing of it lies in the store.
    let mut grep = command("grep", ["-rl", TOKEN]);
    grep.arg(fresh.store()).current_dir("/");
    assert_eq!(run(grep).unwrap().stdout, "");
}

#[test]
fn a_redirect_takes_no_login_along() {
    let there = GitServer::start(None).unwrap();
    there.commit("app", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "f")]).unwrap();
    let here = GitServer::start(Some(there.address())).unwrap();
    let session = Session::new(Caller::Root).unwrap();
    let file = session.store().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let secret = format!("--secret=id=GIT_AUTH_TOKEN,src={}", file.display());
    build(&session, "a", &[&secret], &here.url("moved/app")).success().unwrap();
    let (first, second) = (here.asked(), there.asked());
    assert!(first.iter().all(|asked| asked.login) && !first.is_empty(), "{first:?}");
    assert!(second.iter().all(|asked| !asked.login) && second.len() > 1, "{second:?}");
}

#[test]
fn what_cannot_be_fetched_is_told_with_its_line() {
    let server = server();
    let url = server.url("app");
    for (line, code, why) in [
        (format!("ADD {url}#nowhere /x"), 6, "has no branch or tag \"nowhere\""),
        (format!("ADD --checksum={} {url}#main /x", "ab".repeat(20)), 6, "is expected"),
        (format!("ADD {url}#main:nowhere /x"), 6, "is no directory of"),
        (format!("ADD {} /x", server.url("missing")), 6, "has no the git repository"),
        (format!("ADD --checksum=sha256:ab {url} /x"), 3, "is no commit id"),
        (format!("ADD --keep-git-dir {url}?keep-git-dir=0 /x"), 3, "inconsistent keep-git-dir"),
        (format!("ADD {url}?nonsense=1 /x"), 3, "unexpected query"),
        ("ADD --keep-git-dir Dockerfile /x".to_owned(), 3, "requires a Git source"),
        (format!("COPY {url} /x"), 3, "a git repository"),
        ("ADD git@host.invalid:a/b.git /x".to_owned(), 3, "does not speak ssh"),
        ("ADD git://host.invalid/b.git /x".to_owned(), 3, "git:// says neither"),
        ("ADD http://host.invalid/b.git /x".to_owned(), 6, "plain HTTP is used only on loopback"),
    ] {
        let attempt = project(&format!("FROM base\n{line}\n")).try_build(Caller::Root, &[]).unwrap();
        let text = attempt.outcome.code(code).unwrap_or_else(|error| panic!("{line}: {error:#}")).text();
        assert!(text.contains("Dockerfile:2:") && text.contains(why), "{line}: {text}");
        assert!(!attempt.layout.join("index.json").exists(), "{line}");
    }
}

#[test]
fn a_policy_covers_repositories_and_their_submodules() {
    let server = server();
    let url = server.url("app");
    let project = project(&format!("FROM base\nADD {url} /x\n"));
    let policy = |allow: &str| {
        let text = format!("[sources.git]\nallow = [{allow}]\n");
        project.file("policy.toml", &text).unwrap();
        let path = project.path().join("policy.toml").to_str().unwrap().to_owned();
        project.try_build(Caller::Root, &["--policy", &path]).unwrap().outcome
    };
    let text = policy("\"https://git.example/*\"").code(4).unwrap().text();
    assert!(text.contains("P0121") && text.contains(&url), "{text}");
    let text = policy(&format!("\"{url}\"")).code(4).unwrap().text();
    assert!(text.contains("P0121") && text.contains(&server.url("lib")), "the submodule: {text}");
    policy(&format!("\"{url}\", \"{}\"", server.url("lib"))).success().unwrap();
}

#[test]
fn a_named_context_may_be_a_git_repository() {
    let server = server();
    let project = project("FROM base\nCOPY --from=src f /f\n");
    let named = format!("src={}#main:dir", server.url("app"));
    let attempt = project.try_build(Caller::Root, &["--build-context", &named]).unwrap();
    attempt.outcome.success().unwrap();
    assert_eq!(Image::verify(&attempt.layout).unwrap().text("f").unwrap(), "one\n");
}
