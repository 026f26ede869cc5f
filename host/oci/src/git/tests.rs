//! The spellings of git repositories, each against what BuildKit makes of it.

use super::*;

fn parsed(text: &str) -> GitSource {
    GitSource::parse(text).expect(text).expect(text)
}

fn refused(text: &str) -> String {
    GitSource::parse(text).expect(text).expect_err(text).to_string()
}

#[test]
fn what_is_no_git_repository_is_left_to_others() {
    for text in [
        "https://example.com/",
        "https://example.com/foo",
        "https://example.com/foo.git/",
        "https://example.com/foo.git.bar",
        "http://example.com/foo.git:#branch",
        "./.git",
        "../x.git",
        ".git",
        "github.com/user/repo",
        "ftp://example.com/a.git",
        "a@b",
        "c:/x",
    ] {
        assert_eq!(GitSource::parse(text), None, "{text}");
    }
}

#[test]
fn fragments_name_a_ref_and_a_directory() {
    for (text, reference, subdir) in [
        ("https://example.com/foo.git", "", ""),
        ("https://example.com/foo.git#deadbeef", "deadbeef", ""),
        ("https://example.com/foo.git#release/1.2", "release/1.2", ""),
        ("https://example.com/foo.git#baz/qux:quux/quuz", "baz/qux", "quux/quuz"),
        ("https://example.com/foo.git#:my%20folder/", "", "my folder"),
        ("https://example.com/foo.git#a:/x/../../y/./z", "a", "y/z"),
        ("https://example.com/foo.git?ref=v1.0.0&subdir=/subdir", "v1.0.0", "subdir"),
        ("https://example.com/foo.git?subdir=/subdir#v1.0.0", "v1.0.0", "subdir"),
        ("https://example.com/foo.git?tag=v1.0.0", "refs/tags/v1.0.0", ""),
        ("https://example.com/foo.git?branch=v1.0", "refs/heads/v1.0", ""),
        ("https://example.com/foo.git?branch=refs/heads/v1.0", "refs/heads/v1.0", ""),
    ] {
        let source = parsed(text);
        assert_eq!((source.reference.as_str(), source.subdir.as_str()), (reference, subdir), "{text}");
        assert_eq!(source.remote, "https://example.com/foo.git", "{text}");
    }
}

#[test]
fn queries_say_the_rest() {
    let source = parsed(
        "https://h/x.git?keep-git-dir&submodules=0&mtime=checkout&checksum=DEADbeef&fetch-by-commit=false",
    );
    assert_eq!(source.git_dir, Some(GitDir::Kept));
    assert_eq!(source.submodules, Submodules::Empty);
    assert_eq!(source.times, GitTimes::Checkout);
    assert_eq!(source.checksum, "deadbeef");
    assert_eq!(source.pinning, Pinning::ByReference);
    let plain = parsed("https://h/x.git");
    assert_eq!((plain.git_dir, plain.submodules), (None, Submodules::Fetched));
    let id = "a".repeat(40);
    let pinned = parsed(&format!("https://h/x.git?fetch-by-commit&commit={id}#refs/heads/b"));
    assert_eq!((pinned.pinning, pinned.checksum), (Pinning::ByCommit, id));
}

#[test]
fn what_a_query_cannot_say_is_refused() {
    for (query, why) in [
        ("ref=v1.0.0#v1.2.3", "ref conflicts"),
        ("ref=v1.0.0&tag=v1.2.3", "ref conflicts"),
        ("tag=v1.0.0&branch=v1.0", "ref conflicts"),
        ("checksum=aa&commit=bb", "checksum conflicts"),
        ("mtime=never", "neither commit nor checkout"),
        ("submodules=maybe", "neither true nor false"),
        ("subdir=", "has no value"),
        ("ref=a&ref=a", "multiple values"),
        ("checksum=xyz", "no commit id"),
        ("invalid=123", "unexpected query \"invalid\""),
        ("fetch-by-commit&checksum=deadbeef", "whole commit id"),
        ("ref=-upload-pack", "ref that cannot be one"),
        ("ref=a%0Ab", "ref that cannot be one"),
        ("subdir=a%00b", "directory that cannot be one"),
    ] {
        let said = refused(&format!("https://h/x.git?{query}"));
        assert!(said.contains(why), "{query}: {said}");
    }
    assert!(refused("https:///x.git").contains("no host"));
}

#[test]
fn a_login_is_taken_out_of_the_url_and_never_shown() {
    let source = parsed("https://user:hunter%322@example.com:8443/a/b.git#main");
    assert_eq!(source.remote, "https://example.com:8443/a/b.git");
    assert_eq!(source.host(), "example.com:8443");
    let login = source.login.clone().expect("a login");
    assert_eq!((login.user.as_str(), login.password.as_str()), ("user", "hunter22"));
    assert!(!format!("{source:?} {source}").contains("hunter"), "{source:?}");
}

#[test]
fn ssh_and_git_are_told_apart() {
    assert_eq!(parsed("git@github.com:moby/buildkit.git#v1:x").transport, GitTransport::Ssh);
    assert_eq!(parsed("git@github.com:moby/buildkit").host(), "github.com");
    assert_eq!(parsed("ssh://git@h:22/x").transport, GitTransport::Ssh);
    assert_eq!(parsed("git://h/x").transport, GitTransport::Git);
}

#[test]
fn a_context_may_be_short() {
    let short = GitSource::parse_context("github.com/moby/buildkit?tag=v1#:sub").expect("git").expect("good");
    assert_eq!(short.remote, "https://github.com/moby/buildkit");
    assert_eq!(short.to_string(), "https://github.com/moby/buildkit#refs/tags/v1:sub");
    assert_eq!(GitSource::parse_context("custom.xyz/moby/buildkit.git"), None);
}

#[test]
fn a_submodule_may_end_in_anything() {
    assert_eq!(GitSource::parse_remote("https://u@h/x").expect("good").remote, "https://h/x");
    assert!(GitSource::parse_remote("/srv/git/x").is_err());
    assert!(GitSource::parse_remote("file:///srv/x.git").is_err());
    assert!(GitSource::parse_remote("ext::sh -c x").is_err());
}

#[test]
fn loopback_is_told_by_the_address_alone() {
    for (host, is) in [
        ("localhost:80", true),
        ("127.1.2.3", true),
        ("[::1]:8", true),
        ("127.0.0.1.example.com", false),
        ("example.com", false),
    ] {
        assert_eq!(parsed(&format!("http://{host}/x.git")).is_loopback(), is, "{host}");
    }
}
