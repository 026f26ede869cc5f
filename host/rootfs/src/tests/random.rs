//! The journal against brute force: random operations, and what an unpacker would make of the changes.

use std::collections::BTreeSet;

use rustix::fs::{OFlags, RenameFlags};
use wbuild_layer::{Change, Device, RootPath};

use super::model::{apply, look, normalised};
use super::{PLACES, Tree, at, lines, path};
use crate::{JournalCheck, MtimeRule, Special};

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// A path of one to three components over four names: collisions are what is wanted.
    fn path(&mut self) -> String {
        let depth = 1 + self.roll(3);
        (0..depth)
            .map(|_| ["a", "b", "c", "d"][usize::try_from(self.roll(4)).unwrap()])
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// One random operation; most fail, as the paths are mostly wrong. Answers the paths it was about.
fn operate(tree: &Tree, dice: &mut Dice) -> (String, Vec<String>) {
    let (one, two) = (dice.path(), dice.path());
    let content = vec![b'x'; usize::try_from(dice.roll(4)).unwrap()];
    let roll = dice.roll(105);
    let null = Special::Char(Device { major: 1, minor: 3 });
    let (name, result) = match roll {
        0..14 => ("mkdir", tree.make_dir(&one)),
        14..28 => ("create", tree.create(&one, &content)),
        28..34 => ("write", tree.write(&one, &content)),
        34..37 => ("open", tree.open(&one, OFlags::RDWR | OFlags::NONBLOCK).map(drop)),
        37..46 => ("unlink", tree.unlink(&one)),
        46..52 => ("rmdir", tree.remove_dir(&one)),
        52..64 => ("rename", tree.rename(&one, &two, RenameFlags::empty())),
        64..67 => ("exchange", tree.rename(&one, &two, RenameFlags::EXCHANGE)),
        67..76 => ("link", tree.link(&one, &two)),
        76..79 => ("symlink", tree.symlink(&two, &one)),
        79..81 => ("fifo", tree.make_fifo(&one)),
        81..83 => ("node", tree.make_node(&one, null)),
        83..87 => ("chmod", tree.chmod(&one, [0o644, 0o600, 0o4755][usize::try_from(dice.roll(3)).unwrap()])),
        87..90 => ("chown", tree.chown(&one, u32::try_from(dice.roll(2)).unwrap(), 0)),
        90..93 => ("utimens", tree.set_mtime(&one, at(1000 + i64::try_from(dice.roll(2)).unwrap()))),
        93..95 => ("setxattr", tree.set_xattr(&one, "user.x", &content)),
        95..96 => ("removexattr", tree.remove_xattr(&one, "user.x")),
        96..98 => ("truncate", tree.truncate(&one, dice.roll(4))),
        98 => ("tmpfile", tree.link_nameless(&one, &content)),
        99..104 => {
            // Away, something inside it, and back: the path looks as if nothing had happened to it.
            let inside = |name: &str| format!("{two}/{name}");
            let away = tree.rename(&one, &two, RenameFlags::NOREPLACE);
            let _ = tree.write(&inside("a"), b"longer than all");
            let _ = tree.create(&inside("b"), &content);
            let _ = tree.unlink(&inside("c"));
            ("bounce", away.and_then(|()| tree.rename(&two, &one, RenameFlags::NOREPLACE)))
        }
        _ => {
            // What tar and cp -p do: write, then put the old time back.
            let time = tree.found(&one).map(|found| crate::journal::mtime(&found.stat));
            (
                "restore",
                time.and_then(|time| tree.write(&one, b"yz").and_then(|()| tree.set_mtime(&one, time))),
            )
        }
    };
    (format!("{name} {one} {two}: {result:?}"), vec![one, two])
}

/// One tree through several steps; each step's changes must make the picture before it into the picture after it.
/// After a step the tree may be opened anew, or be linked to a new one, and then never changes again.
fn live(place: &str, seed: u64, steps: u64, operations: u64) {
    let mut dice = Dice(seed);
    let mut tree = Tree::new(place);
    let mut frozen = Vec::new();
    for step in 0..steps {
        let before = look(&tree);
        let rule = match dice.roll(3) {
            0 => MtimeRule::Keep,
            1 => MtimeRule::NoLaterThan(at(2000 + i64::try_from(step).unwrap())),
            _ => MtimeRule::SetTo(at(3000 + i64::try_from(step).unwrap())),
        };
        tree.root.begin(JournalCheck::FullWalk).unwrap();
        let mut log = Vec::new();
        let mut concerned: BTreeSet<RootPath> = BTreeSet::new();
        for _ in 0..dice.roll(operations) {
            let (line, paths) = operate(&tree, &mut dice);
            log.push(line);
            concerned.extend(paths.iter().map(|p| path(p)));
        }
        let context =
            |what: &str| format!("{what}: seed {seed} step {step} {place} {rule:?}\n{}", log.join("\n"));
        let changes = match tree.root.finish(rule) {
            Ok(finished) => finished.changes,
            Err(error) => panic!("{}", context(&error.to_string())),
        };
        let after = look(&tree);
        let made = apply(&before, &changes, &after);
        if normalised(&made) != normalised(&after) {
            for (p, standing) in &normalised(&after) {
                if normalised(&made).get(p) != Some(standing) {
                    eprintln!("{p}: is {standing:?}\n   unpacked {:?}", normalised(&made).get(p));
                }
            }
            for p in made.keys().filter(|p| !after.contains_key(*p)) {
                eprintln!("{p}: unpacked, but gone");
            }
            panic!("{}\nchanges {:#?}", context("unpacking the changes gives another tree"), lines(&changes));
        }
        for (p, change) in changes.iter() {
            let touched = concerned.iter().any(|c| p.starts_with(c));
            let grouped =
                after.get(p).is_some_and(|s| after.values().filter(|o| o.group == s.group).count() > 1);
            assert!(touched || grouped, "{}", context(&format!("{p} was not touched")));
            if matches!(change, Change::Remove) {
                assert!(before.contains_key(p), "{}", context(&format!("{p} was never there")));
            }
        }
        for (old, picture) in &frozen {
            assert_eq!(&look(old), picture, "{}", context("a tree that this one was linked from"));
        }
        match dice.roll(4) {
            0 => {}
            1 => {
                tree = tree.reopened();
                assert_eq!(look(&tree), after, "{}", context("the tree after it was persisted"));
            }
            again => {
                let mut new = tree.linked(place);
                if again == 3 {
                    new = new.reopened();
                }
                assert_eq!(
                    normalised(&look(&new)),
                    normalised(&after),
                    "{}",
                    context("a tree linked from it")
                );
                frozen.push((std::mem::replace(&mut tree, new), after));
            }
        }
    }
}

#[test]
fn changes_unpack_to_the_tree_that_was_left() {
    for seed in 0..150 * super::rounds() {
        live(PLACES[usize::try_from(seed % 2).unwrap()], seed, 5, 40);
    }
}

#[test]
fn changes_of_long_steps_unpack_to_the_tree_that_was_left() {
    for seed in 100_000..100_000 + 10 * super::rounds() {
        live("/dev/shm", seed, 3, 1500);
    }
}
