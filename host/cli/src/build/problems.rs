//! A build's error as the user reads it: where in the Dockerfile, why, what to do, and the exit code.

use std::error::Error as _;

use wbuild_build::{BuildError, Disk, Errno, FilesError, Ignored, MaterialiseError, ReadError, TreeError};
use wbuild_dockerfile::{DockerfileError, Span};
use wbuild_monitor::EngineError;
use wbuild_store::{ErrorClass, RemoteError};

use super::inputs::Source;
use crate::exit::Exit;
use crate::failure::{Excerpt, Failure, Place};

/// What the user reads of `error`.
pub(crate) fn failure(error: &BuildError, source: &Source) -> Failure {
    let at = |span: &Span| place(source, *span);
    match error {
        BuildError::Dockerfile(wrong) => dockerfile(wrong, source),
        BuildError::Step { span, tail, disk, .. } => {
            let mut failure = Failure::new(Exit::Step, error.to_string()).at(at(span));
            if !tail.is_empty() {
                let heading = "the last lines it printed".to_owned();
                failure.excerpt = Some(Excerpt { heading, lines: tail.clone() });
            }
            if *disk == Disk::Full { failure.disk_is_full() } else { failure }
        }
        BuildError::Engine { span, source: engine, .. } => {
            let exit = match &**engine {
                EngineError::Host { .. } => Exit::Host,
                EngineError::Start { .. } | EngineError::Mount { .. } => Exit::Step,
                EngineError::Limit { .. } => Exit::Limit,
                EngineError::Cancelled => Exit::Interrupted,
                EngineError::Broken { .. } => Exit::Internal,
            };
            let mut failure = Failure::new(exit, error.to_string()).at(at(span));
            match &**engine {
                // The step's name is in the message already.
                EngineError::Broken { detail, .. } => failure.causes.push(detail.clone()),
                _ => failure = failure.because(error.source()),
            }
            if exit == Exit::Host {
                failure.hint("`wbuild doctor` shows what this host offers")
            } else {
                failure
            }
        }
        BuildError::Mount { span, hint, .. } => {
            let failure = Failure::new(Exit::Step, error.to_string()).at(at(span));
            match hint {
                Some(hint) => failure.hint(hint.clone()),
                None => failure,
            }
        }
        BuildError::Lifetime { span, .. } => Failure::new(Exit::Dockerfile, error.to_string())
            .at(at(span))
            .hint("the comment above it gives a number and a unit: 90s, 30m, 12h, 7d, 2w"),
        BuildError::CacheDiffers { span, .. } => Failure::new(Exit::Step, error.to_string())
            .at(at(span))
            .hint("it depends on the clock, on chance or on the network, which no builder sees; if it does not, please report this. What was known of its reads is forgotten"),
        BuildError::SecretFound { span, .. } => Failure::new(Exit::Step, error.to_string())
            .at(at(span))
            .hint("no layer was made; a secret can be read from its mount, but not written to the image"),
        BuildError::Files { span, source: files, .. } => {
            let failure = Failure::new(Exit::Step, error.to_string()).because(error.source()).at(at(span));
            files_hint(failure, files)
        }
        BuildError::Pull { span, source: remote, .. } => {
            let failure = Failure::new(class(remote), error.to_string()).because(error.source()).at(at(span));
            remote_hint(failure, remote)
        }
        BuildError::Download { span, source: remote, .. } => {
            let failure = Failure::new(class(remote), error.to_string()).because(error.source()).at(at(span));
            match remote.class() {
                // No login is sent with an ADD.
                ErrorClass::Missing | ErrorClass::Refused => failure.hint(
                    "check the URL; ADD sends no credentials: what needs them is fetched in a RUN with --mount=type=secret",
                ),
                _ => remote_hint(failure, remote),
            }
        }
        BuildError::Git { span, source: remote, .. } => {
            let failure = Failure::new(class(remote), error.to_string()).because(error.source()).at(at(span));
            match remote.class() {
                ErrorClass::Missing | ErrorClass::Refused => failure.hint(
                    "check the URL and the ref; a private repository takes --secret id=GIT_AUTH_TOKEN, a registry's login is not used",
                ),
                _ => remote_hint(failure, remote),
            }
        }
        BuildError::Cache { source: remote, .. } => {
            let failure = Failure::new(class(remote), error.to_string()).because(error.source());
            remote_hint(failure, remote)
        }
        BuildError::Push { source: remote } => {
            let failure = Failure::new(class(remote), error.to_string()).because(error.source());
            remote_hint(failure, remote)
        }
        BuildError::Reference { span, .. } => Failure::new(Exit::Dockerfile, error.to_string()).at(at(span)),
        BuildError::Platform { span, .. } => Failure::new(Exit::Host, error.to_string())
            .at(at(span))
            .hint("build on a machine of that platform; stages without RUN can be built for any"),
        BuildError::Layout { .. } => Failure::from_error(Exit::Usage, error),
        BuildError::Export { .. }
        | BuildError::Rootfs { .. }
        | BuildError::Host { .. }
        | BuildError::Store(_) => host(error),
        BuildError::Tree { source: tree, .. } => Failure::from_error(tree_exit(tree), error),
        BuildError::Unplanned { .. } => Failure::from_error(Exit::Internal, error),
        BuildError::Denied { lines } => super::denials::denied_lines(lines, source),
        BuildError::StepDenied { span, denials, tail, .. } => {
            super::denials::step(Failure::new(Exit::Policy, error.to_string()).at(at(span)), denials, tail)
        }
        BuildError::PolicyLimit { span, reached, rule, denials, tail, .. } => {
            let failure = Failure::new(Exit::Limit, error.to_string()).at(at(span));
            super::denials::limit(failure, *reached, rule.as_deref(), denials, tail)
        }
        BuildError::Cancelled => Failure::new(Exit::Interrupted, "interrupted"),
    }
}

/// A layer that is not what it should be is the image's fault; a full disk is the host's.
fn tree_exit(error: &TreeError) -> Exit {
    match error {
        TreeError::Unpack(MaterialiseError::Layer { source: ReadError::Limit { .. }, .. }) => Exit::Limit,
        TreeError::Unpack(MaterialiseError::Layer { .. } | MaterialiseError::Refused { .. }) => {
            Exit::Registry
        }
        TreeError::Unpack(MaterialiseError::Entry { source, .. }) if *source == Errno::NOSPC => Exit::Host,
        TreeError::Store(_) | TreeError::Commit(_) => Exit::Host,
        TreeError::Root(_) | TreeError::Unpack(_) => Exit::Internal,
    }
}

/// A reader of `-o dest=-` that went away ends the build quietly; a full disk is the host's.
fn host(error: &BuildError) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = source {
        if at.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
            return Failure::new(Exit::Ok, error.to_string());
        }
        source = at.source();
    }
    Failure::from_error(Exit::Host, error)
}

pub(super) fn dockerfile(error: &DockerfileError, source: &Source) -> Failure {
    let exit = match error {
        DockerfileError::Target { .. } | DockerfileError::Argument { .. } => Exit::Usage,
        _ => Exit::Dockerfile,
    };
    let failure = Failure::new(exit, error.to_string()).at(error.span().and_then(|span| place(source, span)));
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn files_hint(failure: Failure, error: &FilesError) -> Failure {
    match error {
        FilesError::Missing { ignored: Ignored::Yes, .. } => {
            failure.hint("the file is there, but .dockerignore excludes it")
        }
        FilesError::Missing { .. } => {
            failure.hint("paths are relative to the root of where the files are taken from")
        }
        FilesError::NoSuchName { .. } => failure.hint("create it in an earlier step, or give its number"),
        _ => failure,
    }
}

/// What the user reads of a registry's failure that no build had.
pub(crate) fn remote_failure(what: &str, error: &RemoteError) -> Failure {
    let failure = Failure::new(class(error), what).because(Some(error));
    remote_hint(failure, error)
}

fn class(error: &RemoteError) -> Exit {
    match error.class() {
        ErrorClass::Refused | ErrorClass::Missing | ErrorClass::Content => Exit::Registry,
        ErrorClass::Network => Exit::Network,
        ErrorClass::Host => Exit::Host,
    }
}

fn remote_hint(failure: Failure, error: &RemoteError) -> Failure {
    match error.class() {
        ErrorClass::Network => failure.hint("this may pass: try again"),
        ErrorClass::Refused | ErrorClass::Missing => {
            failure.hint("check the name; credentials come from $DOCKER_CONFIG/config.json, ~/.docker/config.json or REGISTRY_AUTH_FILE")
        }
        _ => failure,
    }
}

/// The first line of a span with its text; `None` for a place the text does not have.
pub(crate) fn place(source: &Source, span: Span) -> Option<Place> {
    let text = String::from_utf8_lossy(&source.text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = usize::try_from(span.start.line).ok()?;
    let shown = text.split('\n').nth(line.checked_sub(1)?)?.trim_end_matches('\r');
    let column = usize::try_from(span.start.column).ok()?.max(1);
    let last = if span.end.line == span.start.line {
        usize::try_from(span.end.column).ok()?
    } else {
        shown.chars().count() + 1
    };
    Some(Place {
        file: source.name.clone(),
        line,
        column,
        width: last.saturating_sub(column).max(1),
        text: shown.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use wbuild_dockerfile::Position;

    use super::*;

    fn source() -> Source {
        Source { name: "Dockerfile".to_owned(), text: b"FROM a\r\nRUN x \\\n  y\n".to_vec() }
    }

    fn span(start: (u32, u32), end: (u32, u32)) -> Span {
        let position = |(line, column)| Position { line, column };
        Span { start: position(start), end: position(end) }
    }

    #[test]
    fn a_span_over_lines_shows_the_first() {
        let place = place(&source(), span((2, 1), (3, 4))).unwrap();
        assert_eq!((place.line, place.column, place.width, place.text.as_str()), (2, 1, 7, "RUN x \\"));
    }

    #[test]
    fn a_step_fails_with_its_code_and_last_lines() {
        let error = BuildError::Step {
            name: "[1/2] RUN x".to_owned(),
            span: span((2, 1), (3, 4)),
            exit: wbuild_monitor::Exit::Code(7),
            tail: vec!["boom".to_owned()],
            disk: Disk::HasRoom,
        };
        let failure = failure(&error, &source());
        assert_eq!(failure.exit, Exit::Step);
        assert!(failure.message.contains("exited with code 7"));
        assert_eq!(failure.excerpt.as_ref().unwrap().lines, ["boom"]);
    }

    #[test]
    fn a_host_without_the_mechanism_is_exit_8() {
        let error = BuildError::Engine {
            name: "[1/1] RUN x".to_owned(),
            span: span((1, 1), (1, 7)),
            source: Box::new(EngineError::Host {
                mechanism: "user notification".into(),
                hint: "needs Linux 5.14".into(),
            }),
        };
        let failure = failure(&error, &source());
        assert_eq!(failure.exit, Exit::Host);
        assert!(failure.causes[0].contains("user notification"), "{:?}", failure.causes);
    }

    #[test]
    fn a_place_the_text_does_not_have_is_none() {
        assert!(place(&source(), span((9, 1), (9, 2))).is_none());
    }
}
