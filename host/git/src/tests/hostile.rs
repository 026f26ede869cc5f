//! Repositories and servers that mean harm: nothing of theirs gets out of its place, and nothing runs away with memory or time.

use std::io::Cursor;
use std::sync::Mutex;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{Bench, FILES, Version};
use crate::measure::{Wrong, measure};
use crate::{Answer, GitError, Http, HttpFailure, Limits, find};
use std::io::Write;

/// A commit with a tree of these entries (`MODE NAME`), whatever git thinks of them.
fn commit_of(bench: &Bench, entries: &[(&str, &[u8])]) {
    let blob = bench.git_with("srv/x.git", &["hash-object", "-w", "--stdin"], b"../../evil");
    let empty = bench.git_with("srv/x.git", &["hash-object", "-w", "-t", "tree", "--stdin"], b"");
    let mut tree = Vec::new();
    for (mode, name) in entries {
        let id = if *mode == "40000" { &empty } else { &blob };
        tree.extend_from_slice(mode.as_bytes());
        tree.push(b' ');
        tree.extend_from_slice(name);
        tree.push(0);
        tree.extend((0..40).step_by(2).map(|i| u8::from_str_radix(&id[i..i + 2], 16).unwrap()));
    }
    let args = ["hash-object", "-w", "-t", "tree", "--literally", "--stdin"];
    let tree = bench.git_with("srv/x.git", &args, &tree);
    let commit = bench.git("srv/x.git", &["commit-tree", "-m", "m", &tree]);
    bench.git("srv/x.git", &["update-ref", "refs/heads/main", &commit]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    let evil: &[&[(&str, &[u8])]] = &[
        &[("100644", b"..")],
        &[("40000", b"..")],
        &[("100644", b".")],
        &[("100644", b"../evil")],
        &[("100644", b"/etc/evil")],
        &[("100644", b"a/b")],
        &[("40000", b".git")],
        &[("40000", b".GIT")],
        &[("40000", b".Git")],
        &[("40000", b"git~1")],
        &[("40000", b".git ")],
        &[("40000", b".git.")],
        &[("40000", b".git::$INDEX_ALLOCATION")],
        &[("40000", b".g\xe2\x80\x8cit")],
        &[("120000", b".gitmodules")],
        &[("120000", b"a"), ("40000", b"a")],
        &[("100644", b"a"), ("100755", b"a")],
        &[("100644", &[b'n'; 300])],
    ];
    for entries in evil {
        commit_of(&bench, entries);
        let refused = bench.try_fetch("x.git").unwrap_err();
        let shown = String::from_utf8_lossy(entries[0].1);
        assert!(matches!(refused, GitError::Name { .. }), "{shown}: {refused}");
    }
    // Odd, but no more than that.
    commit_of(&bench, &[("100644", b"a\\b"), ("100644", b"con"), ("100664", b"gitignore"), ("120000", b"l")]);
    let (_, made) = bench.fetch("x.git");
    assert_eq!(super::tree(&made).len(), 4);
}

#[test]
fn trees_of_the_same_tree_are_counted() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    let mut id = bench.git_with("srv/x.git", &["hash-object", "-w", "--stdin"], b"x");
    let mut line = format!("100644 blob {id}\tf\n");
    // 10^12 files.
    for _ in 0..12 {
        let listed: String = (0..10).map(|i| line.replace('\t', &format!("\t{i}"))).collect();
        id = bench.git_with("srv/x.git", &["mktree"], listed.as_bytes());
        line = format!("040000 tree {id}\td\n");
    }
    let commit = bench.git("srv/x.git", &["commit-tree", "-m", "m", &id]);
    bench.git("srv/x.git", &["update-ref", "refs/heads/main", &commit]);
    let bench = Bench { limits: Limits { entries: 5000, ..Limits::default() }, ..bench };
    let much = bench.try_fetch("x.git").unwrap_err();
    assert!(matches!(much, GitError::Limit { what: "files", .. }), "{much}");
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// An entry of a pack: its kind, the size it says, what stands before its content.
fn entry(kind: u8, size: usize, before: &[u8], content: &[u8]) -> Vec<u8> {
    let (mut left, mut head) = (size >> 4, vec![(kind << 4) | u8::try_from(size & 15).unwrap()]);
    while left > 0 {
        *head.last_mut().unwrap() |= 0x80;
        head.push(u8::try_from(left & 0x7f).unwrap());
        left >>= 7;
    }
    [&head, before, &deflated(content)].concat()
}

fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
    pack.extend(entries.concat());
    pack
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// A delta on what begins `distance` bytes before; the distance is short.
fn delta(distance: usize, base: u64, result: u64) -> Vec<u8> {
    let content = [varint(base), varint(result), vec![0x90, 1]].concat();
    assert!(distance < 128);
    entry(6, content.len(), &[u8::try_from(distance).unwrap()], &content)
}

fn measured(pack: &[u8], limits: &Limits) -> Result<(), Wrong> {
    measure(&mut Cursor::new(pack), gix_hash::Kind::Sha1, limits)
}

#[test]
fn packs_that_stand_for_too_much_are_refused_before_they_are_decoded() {
    let limits =
        Limits { object: 1000, chain: 2500, expanded: 10_000, depth: 3, objects: 50, ..Limits::default() };
    let much = |what| {
        Err(Wrong::TooMuch {
            what,
            limit: match what {
                "a pack's objects" => 50,
                "an object's bytes" => 1000,
                "what a pack stands for" => 10_000,
                "what an object is made from" => 2500,
                _ => 3,
            },
        })
    };
    let small = entry(3, 10, &[], &[7; 10]);
    assert_eq!(measured(&pack(&[small.clone(), small.clone()]), &limits), Ok(()));
    // A header that promises objects that do not come.
    let mut empty = pack(&[]);
    empty[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(measured(&empty, &limits), much("a pack's objects"));
    assert_eq!(measured(&pack(&[entry(3, 1001, &[], &[0; 1001])]), &limits), much("an object's bytes"));
    // Sizes that are lies, either way.
    for said in [9, 11] {
        let lie = measured(&pack(&[entry(3, said, &[], &[7; 10])]), &limits);
        assert!(matches!(lie, Err(Wrong::Broken(_))), "{lie:?}");
    }
    // A few bytes that say they become a lot.
    let bomb = delta(small.len(), 10, u64::MAX >> 8);
    assert_eq!(measured(&pack(&[small.clone(), bomb]), &limits), much("an object's bytes"));
    let again: Vec<Vec<u8>> = (0..20).map(|_| entry(3, 900, &[], &[0; 900])).collect();
    assert_eq!(measured(&pack(&again), &limits), much("what a pack stands for"));
    // Each on the one before.
    let mut chain = vec![small.clone(), delta(small.len(), 10, 990)];
    for _ in 0..2 {
        chain.push(delta(chain.last().unwrap().len(), 990, 990));
    }
    assert_eq!(measured(&pack(&chain), &limits), much("what an object is made from"));
    let mut chain = vec![small.clone(), delta(small.len(), 10, 10)];
    for _ in 0..3 {
        chain.push(delta(chain.last().unwrap().len(), 10, 10));
    }
    assert_eq!(measured(&pack(&chain), &limits), much("deltas on one another"));
    // By id, which may be any other.
    let content = [varint(10), varint(900), vec![0x90, 1]].concat();
    let named: Vec<Vec<u8>> = (0..3).map(|i| entry(7, content.len(), &[i; 20], &content)).collect();
    assert_eq!(measured(&pack(&named), &limits), much("what an object is made from"));
    // A base that is none, and one before the pack.
    for distance in [1, 127] {
        let lost = measured(&pack(&[small.clone(), delta(distance, 10, 10)]), &limits);
        assert!(matches!(lost, Err(Wrong::Broken(_))), "{lost:?}");
    }
}

/// Answers what it was told to, one after another.
struct Script(Mutex<Vec<Vec<u8>>>);

impl Script {
    fn answer(&self, url: &str, kind: &str) -> Result<Answer, HttpFailure> {
        let body = Cursor::new(self.0.lock().unwrap().remove(0));
        Ok(Answer { url: url.to_owned(), content_type: kind.to_owned(), body: Box::new(body) })
    }
}

impl Http for Script {
    fn get(&self, url: &str) -> Result<Answer, HttpFailure> {
        self.answer(url, "application/x-git-upload-pack-advertisement")
    }

    fn post(&self, url: &str, _: Vec<u8>) -> Result<Answer, HttpFailure> {
        self.answer(url, "application/x-git-upload-pack-result")
    }
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let source = wbuild_oci::GitSource::parse("https://h/x.git").unwrap().unwrap();
    let id = "0123456789012345678901234567890123456789";
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    for answer in [
        String::new(),
        "zzzz".to_owned(),
        "0003".to_owned(),
        "fff1".to_owned(),
        "001".to_owned(),
        line("<html>"),
        format!("{}0000", line("no-id refs/heads/main\0x\n")),
        format!("{}0000", line(&format!("{id} refs/tags/v^{{}}\0x\n"))),
        format!("{}0000", line("version 2\n") + &line("object-format=md5\n")),
        line("ERR no \u{1b}[31mway\n"),
        line(&format!("{id} HEAD\0x\n")),
    ] {
        let script = Script(Mutex::new(vec![answer.clone().into_bytes()]));
        let error = find(&script, &source, &Limits::default()).map(|found| found.commit);
        // The last has no end: what came is what there is.
        if answer.contains(" HEAD") {
            assert_eq!(error.as_deref().ok(), Some(id));
            continue;
        }
        let text = error.expect_err(&answer).to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    // References without end.
    let endless = line(&format!("{id} refs/heads/{}\0x\n", "n".repeat(900))).repeat(80_000);
    let script = Script(Mutex::new(vec![endless.into_bytes()]));
    let error = find(&script, &source, &Limits::default()).unwrap_err();
    assert!(matches!(error, GitError::Limit { .. }), "{error}");
}

/// A server of one repository that answers with the objects of another, or with packs that are broken.
struct Other<'b> {
    bench: &'b Bench,
    spoil: fn(&mut Vec<u8>),
}

impl Http for Other<'_> {
    fn get(&self, url: &str) -> Result<Answer, HttpFailure> {
        self.bench.get(url)
    }

    fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, HttpFailure> {
        let mut answer = self.bench.post(url, body)?;
        let mut content = Vec::new();
        std::io::copy(&mut answer.body, &mut content).unwrap();
        (self.spoil)(&mut content);
        Ok(Answer { body: Box::new(Cursor::new(content)), ..answer })
    }
}

#[test]
fn a_pack_that_is_cut_or_changed_is_never_a_checkout() {
    let bench = Bench::new(Version::Two);
    bench.repository("x", FILES);
    let id = bench.git("srv/x.git", &["rev-parse", "HEAD"]);
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 4] = [
        ("cut", |body| body.truncate(body.len() / 2)),
        ("cut at its end", |body| body.truncate(body.len() - 30)),
        ("a bit", |body| {
            let at = body.windows(4).position(|four| four == b"PACK").unwrap() + 20;
            body[at] ^= 4;
        }),
        ("its sum", |body| {
            let at = body.len() - 8;
            body[at] ^= 1;
        }),
    ];
    for (what, spoil) in spoils {
        let http = Other { bench: &bench, spoil };
        let source = wbuild_oci::GitSource::parse(&format!("http://127.0.0.1/x.git#{id}")).unwrap().unwrap();
        let (store, limits) = (bench.store(), bench.limits);
        let found = find(&http, &source, &limits).unwrap();
        let admit = &|_: &str, _: &str| Ok(());
        let asked =
            crate::Checkout { http: &http, store: &store, source: &source, found: &found, admit, limits };
        let error = crate::checkout(&asked).expect_err(what);
        assert!(matches!(error, GitError::Pack { .. } | GitError::Cut { .. }), "{what}: {error:?}");
        assert!(store.records("git").unwrap().is_empty(), "{what}: nothing is remembered");
    }
}
