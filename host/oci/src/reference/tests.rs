//! Tests of references.

use super::*;
use proptest::prelude::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn texts_are_normalised_as_docker_does() {
    for (text, full, familiar) in [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("reg.example/app", "reg.example/app:latest", "reg.example/app:latest"),
        ("REG/app", "REG/app:latest", "REG/app:latest"),
        ("[::1]:5000/app:t", "[::1]:5000/app:t", "[::1]:5000/app:t"),
        ("a__b/c.d-e--f_g:T_1.x-y", "docker.io/a__b/c.d-e--f_g:T_1.x-y", "a__b/c.d-e--f_g:T_1.x-y"),
        ("app:5000", "docker.io/library/app:5000", "app:5000"),
    ] {
        let reference = parse(text);
        assert_eq!(
            (reference.to_string().as_str(), reference.familiar().as_str()),
            (full, familiar),
            "{text}"
        );
        assert_eq!(parse(full), reference);
        assert_eq!(parse(familiar), reference);
    }
}

#[test]
fn a_digest_binds_and_needs_no_tag() {
    let bare = parse(&format!("debian@{DIGEST}"));
    assert_eq!((bare.tag(), bare.identifier().as_str()), (None, DIGEST));
    assert_eq!(bare.to_string(), format!("docker.io/library/debian@{DIGEST}"));
    let both = parse(&format!("localhost:1/debian:12@{DIGEST}"));
    assert_eq!((both.tag(), both.identifier().as_str()), (Some("12"), DIGEST));
    assert_eq!(parse("localhost:1/debian:12").with_digest(DIGEST.parse().unwrap()), both);
    assert_eq!(both.name(), "localhost:1/debian");
    assert_eq!(parse("debian").host(), "registry-1.docker.io");
    assert_eq!(both.host(), "localhost:1");
}

#[test]
fn what_docker_refuses_is_refused() {
    let long = format!("reg.example/{}", "a".repeat(256));
    for text in [
        "",
        ":",
        ":tag",
        "/app",
        "app/",
        "a//b",
        "app:",
        "app:-t",
        "app:.t",
        "app@",
        "app:t:u",
        "-app",
        "app-",
        "a..b",
        "a___b",
        "a._b",
        "ap p",
        "äpp",
        "-reg.example/app",
        "reg.example-/app",
        "reg..example/app",
        "reg.example:/app:t:u",
        "reg.example:port/app",
        "reg.example:99999/app",
        "[::1/app",
        "[::1]x/app",
        "[]/app",
        "http://reg/app",
        "app@sha256:0",
        "../app",
        "reg.example/../app",
        "app?x=y",
        "app#x",
        "app%2f",
        &format!("app:{}", "t".repeat(129)),
        &format!("app@{DIGEST}@{DIGEST}"),
        &format!("app@sha512:{}", "a".repeat(128)),
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
    assert!(matches!("App".parse::<Reference>(), Err(ReferenceError::Uppercase(_))));
    assert!(matches!("reg.example/aPp".parse::<Reference>(), Err(ReferenceError::Uppercase(_))));
    assert!(matches!(long.parse::<Reference>(), Err(ReferenceError::TooLong(_))));
    assert!(matches!(DIGEST["sha256:".len()..].parse::<Reference>(), Err(ReferenceError::Identifier(_))));
}

proptest! {
    #[test]
    fn any_text_is_a_reference_that_comes_through_or_an_error(text in "[a-zA-Z0-9:/.@_\\[\\]-]{0,60}|\\PC{0,30}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&parse(&reference.to_string()), &reference);
            prop_assert_eq!(&parse(&reference.familiar()), &reference);
            prop_assert!(!reference.repository().split('/').any(|part| part == ".." || part.is_empty()));
        }
    }

    #[test]
    fn agrees_with_oci_spec(
        host in "(([a-z0-9]{1,8}\\.[a-z]{2,4}|localhost)(:[0-9]{1,4})?/)?",
        path in "[a-z0-9]{1,6}([_-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}(([._]|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,2}",
        tag in "(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,10})?",
    ) {
        let text = format!("{host}{path}{tag}");
        let oracle: oci_spec::distribution::Reference = text.parse().unwrap();
        let reference = parse(&text);
        prop_assert_eq!(reference.registry(), oracle.registry());
        prop_assert_eq!(reference.repository(), oracle.repository());
        prop_assert_eq!(reference.tag(), oracle.tag());
    }
}

#[test]
fn a_short_name_that_would_be_another_image_stays_whole() {
    for text in ["docker.io/libr.io/x/y", "docker.io/localhost/x", "docker.io/library/a/b"] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text}");
    }
    assert_eq!("docker.io/library/debian:12".parse::<Reference>().unwrap().familiar(), "debian:12");
}
