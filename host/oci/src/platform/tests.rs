//! Tests of platforms.

use super::*;

fn parse(text: &str) -> Platform {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn names_are_normalised() {
    for (text, normal) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.20348.1006)/amd64", "windows(10.0.20348.1006)/amd64"),
        ("windows(10.0+win32k)/x86_64", "windows(10.0+win32k)/amd64"),
        ("amd64", "linux/amd64"),
        ("riscv64", "linux/riscv64"),
    ] {
        assert_eq!(parse(text).to_string(), normal, "{text}");
        assert_eq!(parse(normal).to_string(), normal);
    }
    assert_eq!(parse("linux"), Platform::host());
}

#[test]
fn malformed_ones_are_refused() {
    for text in [
        "windows(10/amd64",
        "windows(1 0)/amd64",
        "windows(1+)/amd64",
        "",
        "/",
        "linux/",
        "/amd64",
        "linux//v7",
        "a/b/c/d",
        "linux/amd 64",
        "linux/ämd64",
    ] {
        assert_eq!(text.parse::<Platform>(), Err(PlatformError(text.to_owned())));
    }
}

#[test]
fn what_runs_where_is_ranked_as_containerd_does() {
    fn order<'a>(wanted: &str, offered: &[&'a str]) -> Vec<&'a str> {
        let wanted = parse(wanted);
        let mut runs: Vec<_> =
            offered.iter().filter_map(|text| Some((wanted.rank(&parse(text))?, *text))).collect();
        runs.sort();
        runs.into_iter().map(|(_, text)| text).collect()
    }
    let all = [
        "linux/arm/v5",
        "linux/arm/v7",
        "linux/arm64",
        "linux/386",
        "linux/amd64",
        "linux/amd64/v2",
        "linux/amd64/v4",
    ];
    assert_eq!(order("linux/amd64", &all), ["linux/amd64", "linux/386"]);
    assert_eq!(order("linux/amd64/v3", &all), ["linux/amd64/v2", "linux/amd64", "linux/386"]);
    assert_eq!(order("linux/arm64", &all), ["linux/arm64", "linux/arm/v7", "linux/arm/v5"]);
    assert_eq!(order("linux/arm/v6", &all), ["linux/arm/v5"]);
    assert_eq!(order("linux/arm/v7", &all), ["linux/arm/v7", "linux/arm/v5"]);
    assert_eq!(order("linux/386", &all), ["linux/386"]);
    assert_eq!(order("windows/amd64", &all), Vec::<&str>::new());
    assert_eq!(order("linux/s390x", &["linux/s390x", "linux/ppc64le"]), ["linux/s390x"]);
}

#[test]
fn what_is_offered_need_not_be_normal() {
    let offered =
        Platform { os: "linux".to_owned(), architecture: "x86_64".to_owned(), ..Platform::default() };
    assert_eq!(parse("linux/amd64").rank(&offered), Some(0));
}

#[test]
fn a_windows_version_chooses_up_to_the_build_number() {
    let suits = |wanted, offered| parse(wanted).rank(&parse(offered)).is_some();
    assert!(suits("windows/amd64", "windows(10.0.20348.1006)/amd64"));
    assert!(suits("windows(10.0.20348.1006)/amd64", "windows(10.0.20348.2)/amd64"));
    assert!(!suits("windows(10.0.20348.1006)/amd64", "windows(10.0.17763.1)/amd64"));
}
