//! What becomes of each stage of examples/untrusted under each policy, as examples/untrusted/transcript.txt has it.
//! `WBUILD_BLESS=1` writes the file anew.

use wbuild_tests::base;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace;

const STAGES: &[&str] =
    &["theft", "exfiltration", "persistence", "smuggling", "burner", "bomb", "disk", "flood", "trap"];
/// What never ends by itself is not tried without a limit.
const ENDLESS: &[&str] = &["burner", "bomb", "flood"];

#[test]
fn the_transcript_is_what_happens() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = Project::example(&base::busybox().unwrap(), "untrusted").unwrap();
    let tight = project.path().join("tight.toml").display().to_string();
    // Denied as it is read, with everything else in its file: so it has its own.
    let trap = project.path().join("Dockerfile.trap").display().to_string();
    let mut transcript = String::from("What becomes of each stage; written by the tests.\n");
    for (shown, policy) in
        [("no policy", None), ("untrusted", Some("untrusted")), ("tight.toml", Some(tight.as_str()))]
    {
        transcript.push_str(&format!("\n==== {shown}\n"));
        for stage in STAGES {
            let limited = shown == "tight.toml";
            if !limited && ENDLESS.contains(stage) {
                transcript.push_str(&format!("{stage:<13} (not tried: nothing here would end it soon)\n"));
                continue;
            }
            let mut more = vec!["--target", stage, "--no-cache"];
            if *stage == "trap" {
                more.extend(["--file", trap.as_str()]);
            }
            if let Some(policy) = policy {
                more.extend(["--policy", policy]);
            }
            let (_, outcome) = project.build_in(&mut session, &more).unwrap();
            let text = outcome.text();
            let codes: Vec<String> = codes(&text);
            let ended = if outcome.status.success() {
                "built".to_owned()
            } else {
                format!("exit {}", outcome.status.code().unwrap())
            };
            transcript.push_str(format!("{stage:<13} {ended:<8} {}", codes.join(", ")).trim_end());
            transcript.push('\n');
        }
    }
    let path = workspace::root().join("examples/untrusted/transcript.txt");
    if std::env::var_os("WBUILD_BLESS").is_some() {
        std::fs::write(&path, &transcript).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), transcript);
}

/// Each code with what was tried or measured, once; numbers of a measurement differ from run to run.
fn codes(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((_, note)) = line.split_once(" policy: ") {
            found.extend(note.split_once(" by ").map(|(what, _)| what.to_owned()));
            continue;
        }
        let Some(code) =
            line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code)
        else {
            continue;
        };
        if !(code.len() == 5 && code.starts_with('P') && code[1..].bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        let detail =
            lines.clone().take(4).find_map(|line| line.trim().strip_prefix("tried   ").map(str::to_owned));
        let rule =
            lines.clone().take(4).find_map(|line| line.trim().strip_prefix("rule    ").map(str::to_owned));
        let detail = if code == "P0401" {
            rule.and_then(|rule| rule.split("  ").next().map(str::to_owned))
        } else {
            detail
        };
        let one = format!("{code} {}", detail.unwrap_or_default());
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
