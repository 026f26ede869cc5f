//! Random steps over random trees with random changes: with the cache or without it, the image is the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Journal, Project};
use wbuild_tests::session::{Caller, Session};

use super::{Went, went};

/// Names that everything uses, so that things meet.
const PATHS: [&str; 10] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "g", "g/a", "l"];
const CONTENTS: [&str; 4] = ["one\n", "two\n", "three\n", ""];
const TARGETS: [&str; 6] = ["a", "d", "d/a", "../b", "/src/g", "nowhere"];
/// How often each project is changed.
const CHANGES: usize = 4;

/// xorshift64: the same rounds everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn path(&mut self) -> &'static str {
        self.of(&PATHS)
    }
}

fn command(chance: &mut Chance) -> String {
    let (one, two) = (chance.path(), chance.path());
    let content = chance.of(&["x", "y"]);
    match chance.below(24) {
        0 | 1 => format!("cat {one} >> /out"),
        2 => format!("cp {one} {two}"),
        3 => format!("cp -r {one} {two}.copy"),
        4 => format!("mv {one} {two}"),
        5 => format!("rm -rf {one}"),
        6 => format!("rm {one}"),
        7 => format!("ls {one} >> /out"),
        8 => format!("mkdir -p {one}/new"),
        9 => format!("chmod 7{}{} {one}", chance.below(8), chance.below(8)),
        10 => format!("ln -s {one} {two}"),
        11 => format!("ln {one} {two}"),
        12 => format!("test -e {one} && echo there >> /out"),
        13 => format!("test -x {one} && echo executable >> /out"),
        14 => format!("echo {content} >> {one}"),
        15 => format!("echo {content} > {one}"),
        16 => format!("touch {one}"),
        17 => format!("readlink {one} >> /out"),
        18 => format!("sed -i s/o/{content}/ {one}"),
        19 => format!("find {one} | sort >> /out"),
        20 => format!("stat -c %F:%a {one} >> /out"),
        21 => format!("rmdir {one}"),
        22 => format!("cd {one} && cat a ../a >> /out; cd /src"),
        _ => format!("echo {one}/* >> /out"),
    }
}

fn dockerfile(chance: &mut Chance) -> String {
    let mut text = "FROM base\nCOPY . /src\nWORKDIR /src\n".to_owned();
    for _ in 0..=chance.below(3) {
        let user = chance.of(&["0", "0", "0", "5"]);
        let commands: Vec<String> = (0..=chance.below(4)).map(|_| command(chance)).collect();
        text.push_str(&format!("USER {user}\nRUN {{ {}; true; }} 2> /dev/null\n", commands.join("; ")));
    }
    text
}

/// Puts something at a path, whatever stands there; what cannot be done is left.
fn put(dir: &Path, chance: &mut Chance) {
    let path = dir.join(chance.path());
    let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
    let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    let parent = path.parent().unwrap();
    let done = match chance.below(8) {
        0 => gone,
        1 => symlink(chance.of(&TARGETS), &path),
        2 => fs::create_dir_all(&path),
        _ => {
            fs::create_dir_all(parent).and_then(|()| fs::write(&path, chance.of(&CONTENTS))).and_then(|()| {
                fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode(chance.of(&[0o644, 0o644, 0o755, 0o600])),
                )
            })
        }
    };
    // A file in the way of a directory, or the other way round: then this change is none.
    drop(done);
}

/// How often steps were found by what they read.
fn round(seed: u64, session: &mut Session) -> usize {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let text = dockerfile(&mut chance);
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap().journal(Journal::Trusted);
    project.file(".dockerignore", "Dockerfile\n.dockerignore\n").unwrap();
    for _ in 0..12 {
        put(project.path(), &mut chance);
    }
    let mut found = 0;
    for change in 0..CHANGES {
        let build = |session: &mut Session, more: &[&str]| {
            let arguments = [&["--progress=plain"], more].concat();
            let (layout, outcome) = project.build_in(session, &arguments).unwrap();
            let outcome = outcome.success().unwrap();
            (Image::verify(&layout).unwrap().digest, outcome)
        };
        let (cached, outcome) = build(session, &[]);
        let (truth, _) = build(session, &["--no-cache"]);
        assert_eq!(cached, truth, "seed {seed}, change {change}\n{text}\n{}", outcome.text());
        found += usize::from(went(&outcome) == Went::CachedByReads);
        for _ in 0..=chance.below(2) {
            put(project.path(), &mut chance);
        }
    }
    found
}

#[test]
fn random_steps_give_what_they_give_without_the_cache() {
    let soak = std::env::var("WBUILD_TEST_SCALE").as_deref() == Ok("soak");
    let rounds: u64 = if soak { 2_000 } else { 10 };
    let mut session = Session::new(Caller::Root).unwrap();
    let found: usize = (1..=rounds).map(|seed| round(seed, &mut session)).sum();
    assert!(found > 0, "no step was found by what it read: this test tests nothing");
}
