//! A fleet: builders with empty stores of their own and one registry, at the same time.

use std::thread;
use std::time::Duration;

use wbuild_tests::registry::Registry;

use super::exchange::{fresh, project, ran};

const BUILDERS: usize = 8;

/// All builders at once; each one's image and how many RUN steps it ran.
fn fleet(text: impl Fn(usize) -> String + Sync, arguments: &[&str]) -> Vec<(String, usize)> {
    thread::scope(|scope| {
        let builder = |number: usize| {
            let text = &text;
            scope.spawn(move || {
                let (digest, outcome) = fresh(&project(&text(number)), arguments);
                (digest, ran(&outcome))
            })
        };
        let all: Vec<_> = (0..BUILDERS).map(builder).collect();
        all.into_iter().map(|builder| builder.join().unwrap()).collect()
    })
}

const COMMON: &str =
    "FROM base\nRUN echo common > /common\nRUN for i in $(seq 1 200); do echo $i > /tmp/$i; done\n";

fn same(_: usize) -> String {
    format!("{COMMON}COPY . /src\nRUN cat /src/main.c > /out\n")
}

fn own(number: usize) -> String {
    format!("{COMMON}RUN echo {number} > /own\nCOPY . /src\nRUN cat /src/main.c /own > /out\n")
}

#[test]
fn a_fleet_builds_each_layer_once_where_it_can() {
    let registry = Registry::start().unwrap();
    let place = format!("type=registry,ref={}", registry.reference("fleet:cache"));
    let arguments = ["--cache-from", &place, "--cache-to", &place];
    // Nobody can know of the others: all may run everything, and all make the same.
    let (truth, _) = fresh(&project(&same(0)), &[]);
    for (digest, _) in fleet(same, &arguments) {
        assert_eq!(digest, truth);
    }
    for (digest, ran) in fleet(same, &arguments) {
        assert_eq!((digest.as_str(), ran), (truth.as_str(), 0), "it was built before");
    }
    // What they have in common is there, what each has alone is built.
    let truths: Vec<String> = (0..BUILDERS).map(|number| fresh(&project(&own(number)), &[]).0).collect();
    for (number, (digest, ran)) in fleet(own, &arguments).into_iter().enumerate() {
        assert_eq!((&digest, ran), (&truths[number], 2), "builder {number}");
    }
    // A registry writes on no condition: what one writes may be lost to another that writes at the same moment, and is then built once more.
    let mut rounds = Vec::new();
    while rounds.last() != Some(&0) {
        assert!(rounds.len() < 5, "the cache never comes to hold it all: {rounds:?} steps ran");
        let built = fleet(own, &arguments);
        assert!(built.iter().map(|(digest, _)| digest).eq(&truths));
        rounds.push(built.iter().map(|(_, ran)| ran).sum::<usize>());
    }
    assert!(
        rounds[0] <= BUILDERS,
        "most of what was written at the same moment was lost: {rounds:?} steps ran"
    );
}

#[test]
fn a_registry_that_dies_midway_costs_the_cache_and_not_the_builds() {
    let registry = Registry::start().unwrap();
    let place = format!("type=registry,ref={}", registry.reference("fleet:cache"));
    let to = format!("{place},ignore-error=true");
    let text = |number: usize| format!("{}RUN sleep 2\nRUN echo end > /end\n", own(number));
    let truths: Vec<String> = (0..BUILDERS).map(|number| fresh(&project(&text(number)), &[]).0).collect();
    let built: Vec<_> = thread::scope(|scope| {
        let builder = |number: usize| {
            let (place, to) = (&place, &to);
            scope.spawn(move || fresh(&project(&text(number)), &["--cache-from", place, "--cache-to", to]))
        };
        let all: Vec<_> = (0..BUILDERS).map(builder).collect();
        thread::sleep(Duration::from_secs(1));
        drop(registry);
        all.into_iter().map(|builder| builder.join().unwrap()).collect()
    });
    for (number, (digest, outcome)) in built.into_iter().enumerate() {
        assert_eq!(digest, truths[number]);
        assert!(outcome.text().contains("the cache was not exported to"), "{}", outcome.text());
    }
}
