//! What is not built yet is refused with its line; nothing is accepted and ignored.

use wbuild_tests::base;
use wbuild_tests::project::Project;
use wbuild_tests::session::Caller;

#[test]
fn instructions_that_are_not_built_yet_are_refused_with_their_line() {
    for line in [
        "RUN --mount=type=cache,target=/x,sharing=mine true",
        "RUN --mount=type=secret true",
        "RUN --network=host true",
        "RUN --security=insecure true",
        "ADD http://host.invalid/file /x",
        "ADD git@host.invalid:repository.git /x",
        "ADD --checksum=sha256:00 Dockerfile /x",
        "COPY --link --chown=root Dockerfile /x",
        "COPY --nonsense Dockerfile /x",
        "NONSENSE x",
    ] {
        let project = Project::new(&base::busybox().unwrap(), &format!("FROM base\n{line}\n")).unwrap();
        let attempt = project.try_build(Caller::Root, &[]).unwrap();
        let text = attempt.outcome.code(3).unwrap_or_else(|error| panic!("{line}: {error:#}")).text();
        assert!(text.contains("Dockerfile:2:") && text.contains(line), "{line}: {text}");
        assert!(!attempt.layout.join("index.json").exists(), "{line}");
    }
}

#[test]
fn flags_that_are_not_built_yet_are_refused() {
    let project = Project::new(&base::busybox().unwrap(), "FROM base\n").unwrap();
    for flag in ["--provenance=v0.2", "--sbom=true", "--sign-key=k", "--nonsense"] {
        let attempt = project.try_build(Caller::Root, &[flag]).unwrap();
        let text = attempt.outcome.code(2).unwrap_or_else(|error| panic!("{flag}: {error:#}")).text();
        assert!(text.contains(flag.split('=').next().unwrap()), "{flag}: {text}");
    }
}
