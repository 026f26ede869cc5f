//! How read sets are written down, how small they are, and which runs are kept.

use wbuild_layer::RootPath;
use wbuild_monitor::{Facts, NetworkUse, Observation, Seen, SeenAttributes, SeenTimes, State};
use wbuild_oci::Digest;

use super::record::{self, Candidate, document, parse};
use super::set::ReadSet;
use crate::cache::Record;

fn file(path: &str, content: &str) -> Observation {
    let seen = Seen {
        kind: 0o100_000,
        link: None,
        attributes: Some(SeenAttributes { mode: 0o644, uid: 0, gid: 0, device: (0, 0), xattrs: None }),
        times: Some(SeenTimes { modified: (1_700_000_000, 0), size: (content.len() as u64, 1) }),
        content: Some(Digest::of(content.as_bytes())),
        names: None,
    };
    let facts = Facts::STAT.and(Facts::CONTENT);
    Observation { path: RootPath::new(path).unwrap(), facts, state: State::There(Box::new(seen)) }
}

fn candidate(key: &str, created: i64, set: ReadSet) -> Candidate {
    let (made, network) = (crate::cache::Made::default(), NetworkUse::None);
    let record = Record::new("RUN x", created, std::time::Duration::ZERO, &made, network);
    Candidate::new(Digest::of(key.as_bytes()), "root".to_owned(), NetworkUse::None, &record, set)
}

#[test]
fn thirty_thousand_files_stay_under_a_mebibyte() {
    let paths: Vec<Observation> = (0..30_000)
        .map(|n| {
            file(&format!("app/node_modules/package-{}/lib/file-{n}.js", n / 12), &format!("content {n}"))
        })
        .collect();
    let set = ReadSet::new(&paths);
    assert_eq!(set.len(), 30_000);
    let document = document(vec![candidate("k", 1, set.clone())]);
    assert!(document.len() < 1 << 20, "{} bytes", document.len());
    assert_eq!(parse(&document)[0].set, set);
}

#[test]
fn a_directory_stands_for_exactly_what_was_in_it() {
    let set = ReadSet::new(&[file("d/a", "1"), file("d/b", "2"), file("e", "3")]);
    assert_eq!(set.dirs.len(), 2);
    let states = |of: &[Observation]| of.iter().map(|one| one.state.clone()).collect::<Vec<_>>();
    let dir = &set.dirs[1];
    assert!(dir.matches(&states(&[file("d/a", "1"), file("d/b", "2")])));
    assert!(!dir.matches(&states(&[file("d/a", "1"), file("d/b", "3")])));
    assert!(!dir.matches(&states(&[file("d/a", "1")])));
    assert!(!dir.matches(&[State::Absent, file("d/b", "2").state]));
    let other = ReadSet::new(&[file("f/a", "1"), file("f/b", "2")]);
    assert!(!other.dirs[0].matches(&states(&[file("f/a", "2"), file("f/b", "1")])));
    assert_eq!(dir.path_of(&dir.entries[1]).unwrap(), RootPath::new("d/b").unwrap());
}

#[test]
fn the_newest_runs_are_kept_and_each_once() {
    let all = (0..20).map(|n| candidate(&format!("{}", n % 15), n, ReadSet::default())).collect();
    let kept = parse(&document(all));
    let created: Vec<i64> = kept.iter().map(|one| one.record().unwrap().created).collect();
    assert_eq!(created, [19, 18, 17, 16, 15, 14, 13, 12]);
}

#[test]
fn what_cannot_be_read_is_no_candidate() {
    let whole = document(vec![candidate("k", 1, ReadSet::new(&[file("a", "1")]))]);
    assert_eq!(parse(&whole).len(), 1);
    for at in 0..whole.len() {
        assert!(parse(&whole[..at]).is_empty(), "cut at {at}");
    }
    assert!(parse(b"").is_empty());
}

#[test]
fn a_run_is_added_to_those_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let room = cap_std::fs::Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap();
    let store = wbuild_store::Store::open(&room).unwrap();
    let weak = Digest::of(b"weak");
    for (key, created) in [("one", 1), ("two", 2), ("one", 3)] {
        record::add(&store, &weak, candidate(key, created, ReadSet::default())).unwrap();
    }
    let known = record::read(&store, &weak).unwrap();
    let created: Vec<i64> = known.iter().map(|one| one.record().unwrap().created).collect();
    assert_eq!(created, [3, 2]);
}
