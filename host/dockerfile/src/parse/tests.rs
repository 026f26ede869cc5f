//! The parser: snapshots of what is read and of what is refused, and that no text makes it panic.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::instruction::{Command, CopyOperand, Healthcheck, Kind, RunCommand};
use crate::span::Span;

// `3:5-3:9`
fn at(span: Span) -> String {
    format!("{}:{}-{}:{}", span.start.line, span.start.column, span.end.line, span.end.column)
}

// One line for each instruction: its span, keyword and what was read, words with their spans.
fn show(text: &str) -> String {
    let file = match parse(text.as_bytes()) {
        Ok(file) => file,
        Err(e) => {
            let place = e.span().map(at).unwrap_or_default();
            return format!("{place} {e} ({})", e.hint().unwrap_or_default());
        }
    };
    let mut out = String::new();
    for global in &file.globals {
        _ = writeln!(out, "{} {}", at(global.span), kind(&global.kind));
    }
    for stage in &file.stages {
        let from = &stage.from;
        _ = write!(out, "{} FROM {:?}@{}", at(stage.span), from.base.text, at(from.base.span));
        if let Some(name) = &from.name {
            _ = write!(out, " AS {}@{}", name.text, at(name.span));
        }
        if let Some(platform) = &from.platform {
            _ = write!(out, " on {}@{}", platform.text, at(platform.span));
        }
        out.push('\n');
        for instruction in &stage.instructions {
            _ = writeln!(out, "{} {}", at(instruction.span), kind(&instruction.kind));
        }
    }
    out.trim_end().to_owned()
}

fn kind(kind: &Kind) -> String {
    let word = |w: &crate::Word| format!("{:?}@{}", w.text, at(w.span));
    let words = |list: &[crate::Word]| list.iter().map(word).collect::<Vec<_>>().join(" ");
    let command = |c: &Command| match c {
        Command::Exec(list) => format!("{list:?}"),
        Command::Shell(line) => format!("shell {line:?}"),
    };
    let heredoc = |h: &crate::Heredoc| {
        format!("<<{} fd {} {:?} {:?} {:?}@{}", h.name, h.fd, h.expansion, h.tabs, h.content, at(h.span))
    };
    match kind {
        Kind::Arg(list) => {
            let one = |d: &crate::Declaration| format!("{}={:?}@{}", d.name, d.value, at(d.span));
            format!("ARG {}", list.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Kind::Env(list) | Kind::Label(list) => {
            let one = |p: &crate::Pair| format!("{:?}={:?}@{} {:?}", p.name, p.value, at(p.span), p.form);
            format!("PAIRS {}", list.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Kind::Run(run) => {
            let what = match &run.command {
                RunCommand::Exec(list) => format!("{list:?}"),
                RunCommand::Shell(line) => format!("shell {line:?}"),
                RunCommand::Script(h) => format!("script {}", heredoc(h)),
                RunCommand::Heredocs { line, heredocs } => {
                    format!("shell {line:?} {}", heredocs.iter().map(heredoc).collect::<Vec<_>>().join(" "))
                }
            };
            let flags = run.flags.iter().map(|f| format!(" --{}={:?}@{}", f.name, f.value, at(f.span)));
            format!("RUN {what}{}", flags.collect::<String>())
        }
        Kind::Copy(copy) => {
            let operand = |o: &CopyOperand| match o {
                CopyOperand::Path(w) => word(w),
                CopyOperand::Heredoc(h) => heredoc(h),
            };
            let sources = copy.sources.iter().map(operand).collect::<Vec<_>>().join(" ");
            let mut out = format!("{:?} {sources} -> {}", copy.verb, word(&copy.dest));
            for (name, flag) in [("from", &copy.from), ("chown", &copy.chown), ("chmod", &copy.chmod)] {
                if let Some(flag) = flag {
                    _ = write!(out, " {name} {}", word(flag));
                }
            }
            for flag in &copy.flags {
                _ = write!(out, " --{}={:?}@{}", flag.name, flag.value, at(flag.span));
            }
            out
        }
        Kind::Workdir(w) => format!("WORKDIR {}", word(w)),
        Kind::User(w) => format!("USER {}", word(w)),
        Kind::StopSignal(w) => format!("STOPSIGNAL {}", word(w)),
        Kind::Shell(list) => format!("SHELL {list:?}"),
        Kind::Cmd(c) => format!("CMD {}", command(c)),
        Kind::Entrypoint(c) => format!("ENTRYPOINT {}", command(c)),
        Kind::Expose(list) => format!("EXPOSE {}", words(list)),
        Kind::Volume(list) => format!("VOLUME {}", words(list)),
        Kind::Healthcheck(Healthcheck::None) => "HEALTHCHECK NONE".to_owned(),
        Kind::Healthcheck(Healthcheck::Command { command: c, timing }) => {
            format!("HEALTHCHECK {} {timing:?}", command(c))
        }
        Kind::OnBuild(o) => format!("ONBUILD {:?}", o.expression),
        Kind::Maintainer(text) => format!("MAINTAINER {text:?}"),
    }
}

#[test]
fn every_instruction() {
    insta::assert_snapshot!(show(include_str!("tests/every.Dockerfile")));
}

#[test]
fn heredocs() {
    insta::assert_snapshot!(show(include_str!("tests/heredocs.Dockerfile")));
}

#[test]
fn continuations_comments_and_line_ends() {
    insta::assert_snapshot!(
        show("\u{feff}# syntax=docker/dockerfile:1\r\n  from a \\\r\n# comment\r\n\r\n  as \\  \r\n  b\r\n\tRuN x \\\n\n y\\\\\nUSER u"),
        @r#"
    2:3-6:4 FROM "a"@2:8-2:9 AS b@6:3-6:4
    7:2-9:5 RUN shell "x  y\\\\"
    10:1-10:7 USER "u"@10:6-10:7
    "#
    );
}

#[test]
fn the_escape_directive_changes_continuations() {
    let file = parse(b"# escape=`\n# check=skip=A, B;error=false\nFROM a\nRUN dir c:\\ `\n  d\n").unwrap();
    assert_eq!(file.directives.escape, '`');
    let check = file.directives.check.unwrap();
    assert_eq!(check.skip, crate::Skip::Rules(vec!["A".into(), "B".into()]));
    assert_eq!(kind(&file.stages[0].instructions[0].kind), r#"RUN shell "dir c:\\   d""#);
    // After a comment or a blank line there are no directives.
    for text in ["# c\n# escape=`\nFROM a", "\n# escape=`\nFROM a", "# foo=bar\n# escape=`\nFROM a"] {
        assert_eq!(parse(text.as_bytes()).unwrap().directives.escape, '\\', "{text:?}");
    }
}

#[test]
fn blank_lines_in_continuations_are_remembered() {
    let file = parse(b"FROM a\nRUN a \\\n\n  \\\n b\n").unwrap();
    let lines: Vec<u32> = file.empty_continuations.iter().map(|s| s.start.line).collect();
    assert_eq!(lines, [5], "where the instruction ends");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let texts = [
        "",
        "# only a comment\n",
        "ARG a",
        "RUN a\nFROM b",
        "FROM a\n\\\n",
        "FROM a\nCPOY a b",
        "FROM a\n  FRM b",
        "FROM a b",
        "FROM a AS 1b",
        "FROM --plaform=x a",
        "FROM a\nCOPY a",
        "FROM a\nCOPY --form=x a b",
        "FROM a\nCOPY --from a b",
        "FROM a\nCOPY --link=maybe a b",
        "FROM a\nCOPY --chown=a \\\n --chown=b c d",
        "FROM a\nCOPY <<EOF /b\nx\n",
        "FROM a\nCOPY a <<EOF\nEOF\n",
        "FROM a\nENV",
        "FROM a\nENV a",
        "FROM a\nENV a=b c",
        "FROM a\nENV =b",
        "FROM a\nARG =b",
        "FROM a\nRUN []",
        "FROM a\nRUN [\"a\", 1]",
        "FROM a\nSHELL sh -c",
        "FROM a\nSHELL []",
        "FROM a\nHEALTHCHECK",
        "FROM a\nHEALTHCHECK NONE x",
        "FROM a\nHEALTHCHECK --interval=5s NONE",
        "FROM a\nHEALTHCHECK --interval=5 CMD x",
        "FROM a\nHEALTHCHECK --interval=1us CMD x",
        "FROM a\nHEALTHCHECK --retries=-1 CMD x",
        "FROM a\nHEALTHCHECK CMD",
        "FROM a\nONBUILD",
        "FROM a\nONBUILD FROM b",
        "FROM a\nONBUILD ONBUILD RUN b",
        "FROM a\nONBUILD RNU b",
        "FROM a\nVOLUME [\"\"]",
        "FROM a\nSTOPSIGNAL --x 9",
        "FROM a\nWORKDIR",
        "# escape=x\nFROM a",
        "# escape=`\n# escape=`\nFROM a",
        "# check=skipp=x\nFROM a",
        "FROM a\nRUN caf\u{e9} \0",
    ];
    let shown: Vec<String> = texts.iter().map(|t| format!("{t:?}\n    {}", show(t))).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_line() {
    let error = parse(b"FROM a\nRUN \xc3\xa9\xff\n").unwrap_err();
    assert_eq!(
        (error.span().map(at), error.to_string()),
        (Some("2:6-2:7".into()), "the line is not UTF-8".into())
    );
}

#[test]
fn a_line_or_a_file_too_long_is_refused() {
    let long = format!("FROM a\nRUN {}\n", "x".repeat(70_000));
    assert_eq!(show(&long), "2:1-2:2 a line of 70005 bytes is too long (expected at most 65535 bytes)");
    // Without a single line end.
    let error = parse(&vec![b'x'; 5 << 20]).unwrap_err();
    assert_eq!(error.to_string(), "the Dockerfile has 5242880 bytes");
}

#[test]
fn triggers_stand_where_they_fire() {
    let place = Span::on_line(7, 1, 9);
    let trigger = parse_trigger("COPY <<E /x\na\nE", place).unwrap();
    assert_eq!(kind(&trigger.kind), r#"Copy <<E fd 0 Expand Keep "a\n"@7:1-7:9 -> "/x"@7:1-7:9"#);
    for wrong in ["", "RUN a\nRUN b", "FROM x", "FOO", "COPY a"] {
        assert_eq!(parse_trigger(wrong, place).unwrap_err().span(), Some(place), "{wrong:?}");
    }
}

#[test]
fn many_words_in_one_instruction_are_read_in_reasonable_time() {
    let text = format!("FROM a\nARG {}\n", "a \\\n".repeat(100_000));
    let file = parse(text.as_bytes()).unwrap();
    let Kind::Arg(list) = &file.stages[0].instructions[0].kind else { panic!("not an ARG") };
    assert_eq!(list.len(), 100_000);
    assert_eq!(list[99_999].span.start.line, 100_001);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_pieces_of_the_language_make_it_panic(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "FROM ", "a", " AS ", "b", "\n", "\r\n", "RUN ", "COPY ", "ADD ", "<<", "<<-", "EOF", "\nEOF\n", "--from=",
                "--", "=", "\"", "'", "\\", "\\\n", "`", "$", "${", "}", ":", "#", "# escape=`\n", "[", "]", "\"x\"", ",",
                "ENV ", "ARG ", "LABEL ", "ONBUILD ", "HEALTHCHECK ", "CMD ", "NONE", " ", "\t", "\u{e9}", "\u{a0}", "3", "/",
            ]),
            0..40,
        )
    ) {
        let text = pieces.concat();
        if let Ok(file) = parse(text.as_bytes()) {
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            for stage in &file.stages {
                for instruction in &stage.instructions {
                    let Span { start, end } = instruction.span;
                    prop_assert!(start.line >= 1 && start <= end && end.line <= lines, "{:?}", instruction.span);
                }
            }
        }
    }
}
