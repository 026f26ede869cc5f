//! What holds for every policy: a deny never allows more, order never matters, what extends only narrows.

use proptest::prelude::*;

use crate::{Access, Policy, Ruleset, Source, StepName, Verdict};

const RUN: StepName<'static> = StepName { stage: "s", instruction: "RUN", command: "c" };

fn policy(files: &[Vec<String>]) -> Policy {
    // A chain: each file extends the one before.
    let name = |index: usize| format!("{index}.toml");
    let text = |index: usize| {
        let base = if index == 0 { String::new() } else { format!("extends = [{:?}]\n", name(index - 1)) };
        let steps: Vec<String> = files[index].iter().map(|rules| format!("[[step]]\n{rules}\n")).collect();
        base + &steps.concat()
    };
    let last = files.len() - 1;
    let source = Source { name: name(last), text: text(last) };
    let read = &mut |_: &str, path: &str| {
        let index = path.trim_end_matches(".toml").parse().unwrap();
        Ok(Source { name: path.to_owned(), text: text(index) })
    };
    Ruleset::load(source, read).unwrap().for_step(RUN)
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("*"), Just("**"), Just("a*"), Just("?")];
    prop::collection::vec(part, 1..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn rules() -> impl Strategy<Value = String> {
    let list = |key: &'static str| {
        prop::collection::vec(pattern(), 0..3).prop_map(move |patterns| format!("{key} = {patterns:?}"))
    };
    prop_oneof![
        list("fs.read.deny"),
        list("fs.write.allow"),
        list("fs.write.deny"),
        list("exec.allow"),
        list("exec.deny"),
        Just("exec.native = \"deny\"".to_owned()),
        Just("net.default = \"deny\"".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c")], 0..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn verdicts(policy: &Policy, path: &str) -> Vec<Verdict> {
    let path = path.as_bytes();
    [
        Access::Read(path),
        Access::Write(path),
        Access::Move(path),
        Access::Place(path),
        Access::ExecNative(path),
        Access::ExecModule(path),
        Access::Internet,
    ]
    .map(|access| policy.decide(access).verdict)
    .to_vec()
}

fn narrower(narrow: &Policy, wide: &Policy, path: &str) -> bool {
    let pairs = verdicts(narrow, path).into_iter().zip(verdicts(wide, path));
    pairs.into_iter().all(|(narrow, wide)| narrow == Verdict::Deny || wide == Verdict::Allow)
}

proptest! {
    #[test]
    fn one_more_rule_never_allows_more(old in prop::collection::vec(rules(), 0..4), new in rules(), path in path()) {
        let more = [old.clone(), vec![new]].concat();
        prop_assert!(narrower(&policy(&[more]), &policy(&[old]), &path));
    }

    #[test]
    fn one_more_deny_in_a_list_never_allows_more(
        list in prop::collection::vec(pattern(), 0..4),
        more in pattern(),
        path in path(),
    ) {
        for key in ["fs.read.deny", "fs.write.deny", "exec.deny"] {
            let of = |list: &[String]| policy(&[vec![format!("{key} = {list:?}")]]);
            let longer = [list.clone(), vec![more.clone()]].concat();
            prop_assert!(narrower(&of(&longer), &of(&list), &path));
        }
    }

    #[test]
    fn the_order_never_matters(
        (rules, shuffled) in prop::collection::vec(rules(), 0..6).prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        path in path(),
    ) {
        prop_assert_eq!(verdicts(&policy(&[rules]), &path), verdicts(&policy(&[shuffled]), &path));
    }

    #[test]
    fn narrowing_is_transitive(
        a in prop::collection::vec(rules(), 0..3),
        b in prop::collection::vec(rules(), 0..3),
        c in prop::collection::vec(rules(), 0..3),
        path in path(),
    ) {
        let (first, second, third) = (policy(std::slice::from_ref(&a)), policy(&[a.clone(), b.clone()]), policy(&[a, b, c]));
        prop_assert!(narrower(&second, &first, &path));
        prop_assert!(narrower(&third, &second, &path));
        prop_assert!(narrower(&third, &first, &path));
    }

    #[test]
    fn a_directory_that_may_move_holds_nothing_a_rule_is_about(pattern in pattern(), dir in path(), below in path()) {
        let policy = policy(&[vec![format!("fs.read.deny = [{pattern:?}]")]]);
        let inside = format!("{}{}", dir.trim_end_matches('/'), below);
        // `/**/a` means a wherever it stands, so moving what is above it changes nothing.
        let everywhere = pattern.starts_with("/**/");
        if !everywhere && policy.decide(Access::Move(dir.as_bytes())).verdict == Verdict::Allow {
            prop_assert_eq!(policy.decide(Access::Read(inside.as_bytes())).verdict, Verdict::Allow);
        }
    }
}
