//! What a step learns, and that what it does itself is no part of it.

use rustix::fs::{OFlags, RenameFlags};
use wbuild_layer::{Digest, RootPath};

use super::{User, World, guest, root_user};
use crate::{AccessAs, At, Base, Facts, Monitor, Observations, OpenRequest, Policy, Seen, State, Taint};

#[expect(clippy::disallowed_methods, reason = "the tree of before the step, made from outside")]
fn world() -> World {
    let world = World::with(Policy::default(), |root| {
        let fs = root.path().join("fs");
        for dir in ["d", "d/sub", "e"] {
            std::fs::create_dir(fs.join(dir)).unwrap();
        }
        for (file, content) in [("a", "A"), ("b", "B"), ("d/x", "X"), ("d/sub/y", "Y"), ("two", "2")] {
            std::fs::write(fs.join(file), content).unwrap();
        }
        std::fs::hard_link(fs.join("two"), fs.join("other")).unwrap();
        for (link, text) in
            [("to-a", "a"), ("to-d", "d"), ("to-to-a", "/to-a"), ("d/up", "../b"), ("nowhere", "n")]
        {
            std::os::unix::fs::symlink(text, fs.join(link)).unwrap();
        }
    });
    let World { monitor, path, dir } = world;
    World { monitor: monitor.with_observations(), path, dir }
}

/// What a step learnt that did this as root.
fn learnt(act: impl FnOnce(&User<'_>)) -> Observations {
    let world = world();
    let credentials = root_user();
    act(&world.as_user(&credentials));
    world.monitor.observations().unwrap()
}

fn state<'a>(all: &'a Observations, path: &str) -> Option<&'a State> {
    let path = RootPath::new(path).unwrap();
    all.paths.iter().find(|seen| seen.path == path).map(|seen| &seen.state)
}

fn facts(all: &Observations, path: &str) -> Facts {
    let path = RootPath::new(path).unwrap();
    all.paths.iter().find(|seen| seen.path == path).map_or(Facts::NONE, |seen| seen.facts)
}

fn seen<'a>(all: &'a Observations, path: &str) -> &'a Seen {
    match state(all, path) {
        Some(State::There(seen)) => seen,
        other => panic!("{path}: {other:?}"),
    }
}

fn open(user: &User<'_>, path: &str, flags: OFlags) {
    let request = OpenRequest { flags, mode: 0o644, resolve: rustix::fs::ResolveFlags::empty() };
    // What it answers is not what these tests are about.
    let _opened = user.at(path, |monitor, subject, at| monitor.open(subject, at, &request));
}

fn read(user: &User<'_>, path: &str) {
    open(user, path, OFlags::RDONLY);
}

fn write(user: &User<'_>, path: &str) {
    open(user, path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC);
}

fn remove(user: &User<'_>, path: &str) {
    super::done(user.at(path, Monitor::unlink)).unwrap();
}

fn rename(user: &User<'_>, from: &str, to: &str) {
    let to = guest(to);
    super::done(user.at(from, |monitor, subject, at| {
        monitor.rename(subject, at, At { base: Base::Cwd, path: &to }, RenameFlags::empty())
    }))
    .unwrap();
}

#[test]
fn reading_asking_and_missing_are_learnt() {
    let all = learnt(|user| {
        read(user, "/a");
        read(user, "/none/at/all");
        read(user, "d");
        user.on("/b", |monitor, subject, target| monitor.stat(subject, target)).unwrap();
        user.on("/e", |monitor, subject, target| monitor.access(subject, target, 0, AccessAs::Real)).unwrap();
    });
    assert_eq!(facts(&all, "a"), Facts::STAT.and(Facts::CONTENT));
    assert_eq!(seen(&all, "a").content, None, "read from the tree afterwards");
    assert_eq!(state(&all, "none/at/all"), Some(&State::Absent));
    assert_eq!(facts(&all, "d"), Facts::STAT.and(Facts::NAMES));
    assert!(seen(&all, "d").names.is_some());
    assert_eq!(facts(&all, "b"), Facts::STAT);
    assert_eq!(facts(&all, "e"), Facts::ATTRIBUTES);
    assert_eq!(state(&all, "d/x"), None);
    assert_eq!(all.taints, []);
}

#[test]
fn what_cannot_be_made_without_its_directory_depends_on_that() {
    let all = learnt(|user| {
        // touch asks first: then the name is known to be missing, and the directory is not.
        let _missing = user.on("/none/new", |monitor, subject, target| monitor.stat(subject, target));
        write(user, "/none/new");
        let _missing = user.at("/gone/new", Monitor::unlink);
        write(user, "/e/none/at/all");
    });
    for absent in ["none", "none/new", "gone", "e/none"] {
        assert_eq!(state(&all, absent), Some(&State::Absent), "{absent}");
    }
    let read_only = learnt(|user| read(user, "/none/new"));
    assert_eq!(state(&read_only, "none"), None, "a directory that appears without the name is nothing new");
}

#[test]
fn every_link_on_the_way_is_learnt() {
    let all = learnt(|user| {
        read(user, "/to-to-a");
        read(user, "/to-d/up");
        read(user, "/nowhere");
        read(user, "/to-d/../a");
    });
    for (link, text) in
        [("to-to-a", "/to-a"), ("to-a", "a"), ("to-d", "d"), ("d/up", "../b"), ("nowhere", "n")]
    {
        assert_eq!(seen(&all, link).link.as_deref(), Some(text.as_bytes()), "{link}");
    }
    assert!(facts(&all, "b").has(Facts::CONTENT));
    assert_eq!(state(&all, "n"), Some(&State::Absent));
}

#[test]
fn what_the_step_makes_is_not_learnt() {
    let all = learnt(|user| {
        write(user, "/new");
        read(user, "/new");
        super::done(user.at("/made", |m, s, at| m.make_dir(s, at, 0o755))).unwrap();
        write(user, "/made/in");
        read(user, "/made/in");
        read(user, "/made/not");
        read(user, "/made");
        user.on("/", |monitor, subject, target| monitor.stat(subject, target)).unwrap();
    });
    assert_eq!(state(&all, "new"), Some(&State::Absent), "nothing was there");
    assert_eq!(state(&all, "made"), Some(&State::Absent));
    for own in ["made/in", "made/not"] {
        assert_eq!(state(&all, own), None, "{own}");
    }
    assert!(!facts(&all, "").has(Facts::TIMES), "its time is the step's own");
    assert!(facts(&all, "").has(Facts::ATTRIBUTES));
}

#[test]
fn links_of_the_step_lead_to_what_it_learns() {
    let all = learnt(|user| {
        super::done(user.at("/mine", |m, s, at| m.symlink(s, b"/d", at))).unwrap();
        read(user, "/mine/up");
        read(user, "/mine/none");
        remove(user, "/mine");
        super::done(user.at("/mine", |m, s, at| m.symlink(s, b"/e", at))).unwrap();
        read(user, "/mine/none");
    });
    assert_eq!(seen(&all, "d/up").link.as_deref(), Some(b"../b".as_slice()));
    assert!(facts(&all, "b").has(Facts::CONTENT));
    assert_eq!(state(&all, "d/none"), Some(&State::Absent));
    assert_eq!(state(&all, "e/none"), Some(&State::Absent), "the same question has another answer");
}

#[test]
fn what_is_changed_after_it_was_read_is_learnt_as_it_was() {
    let content = |text: &str| Some(Digest::of(text.as_bytes()));
    let all = learnt(|user| {
        for path in ["/a", "/b", "/d/x"] {
            read(user, path);
        }
        write(user, "/a");
        remove(user, "/b");
        rename(user, "/d/x", "/d/z");
    });
    assert_eq!(seen(&all, "a").content, content("A"));
    assert_eq!(seen(&all, "b").content, content("B"));
    assert_eq!(seen(&all, "d/x").content, content("X"));
    assert_eq!(state(&all, "d/z"), Some(&State::Absent));
}

#[test]
fn what_a_change_keeps_is_learnt_and_what_it_replaces_is_not() {
    let all = learnt(|user| {
        open(user, "/a", OFlags::WRONLY | OFlags::APPEND);
        read(user, "/a");
        write(user, "/b");
        read(user, "/b");
        user.on("/d/x", |monitor, subject, target| monitor.chmod(subject, target, 0o600)).unwrap();
    });
    assert_eq!(seen(&all, "a").content, Some(Digest::of(b"A")));
    assert!(!facts(&all, "b").has(Facts::CONTENT), "it was overwritten unread");
    assert_eq!(facts(&all, "b"), Facts::ATTRIBUTES);
    assert_eq!(facts(&all, "d/x"), Facts::STAT.and(Facts::CONTENT), "all of it is in the layer");
    assert_eq!(seen(&all, "d/x").attributes.unwrap().mode, 0o666, "before the step");
}

#[test]
fn a_directory_that_moves_is_learnt_whole() {
    let all = learnt(|user| {
        rename(user, "/d", "/moved");
        read(user, "/moved/sub/y");
        read(user, "/d");
    });
    assert_eq!(seen(&all, "d/sub/y").content, Some(Digest::of(b"Y")));
    assert_eq!(seen(&all, "d/up").link.as_deref(), Some(b"../b".as_slice()));
    assert!(seen(&all, "d/sub").names.is_some());
    assert_eq!(state(&all, "moved/sub/y"), None);
}

#[test]
fn a_listing_is_that_of_before_the_step() {
    let plain = learnt(|user| read(user, "/d"));
    let changed = learnt(|user| {
        write(user, "/d/new");
        remove(user, "/d/x");
        read(user, "/d");
    });
    assert_eq!(seen(&plain, "d").names, seen(&changed, "d").names);
    let gone = learnt(|user| {
        read(user, "/e");
        super::done(user.at("/e", Monitor::remove_dir)).unwrap();
        write(user, "/e");
    });
    assert_eq!(seen(&gone, "e").names, Some(Digest::of(b"")), "it was empty");
}

#[test]
fn files_with_several_names_are_not_followed() {
    let all = learnt(|user| write(user, "/two"));
    assert_eq!(all.taints, [Taint::Shared(RootPath::new("two").unwrap())]);
    assert_eq!(learnt(|user| read(user, "/two")).taints, []);
    assert_eq!(learnt(|user| remove(user, "/two")).taints, []);
}

#[test]
fn who_may_not_search_everything_learns_the_way() {
    let world = world();
    let credentials = super::user(7);
    read(&world.as_user(&credentials), "/d/sub/y");
    let all = world.monitor.observations().unwrap();
    for dir in ["", "d", "d/sub"] {
        assert!(facts(&all, dir).has(Facts::ATTRIBUTES), "{dir:?}");
    }
}
