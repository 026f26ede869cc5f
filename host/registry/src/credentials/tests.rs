//! Tests of credentials files.

use super::*;
use proptest::prelude::*;

fn password(user: &str, password: &str) -> Login {
    Login::Password { user: user.to_owned(), password: password.to_owned().into() }
}

fn found(json: &str, registry: &str, repository: &str) -> Option<Login> {
    match Credentials::parse(json.as_bytes()).unwrap().find(registry, repository) {
        Found::Login(login) => Some(login.clone()),
        Found::Helper(_) | Found::Nothing => None,
    }
}

#[test]
fn the_longest_path_wins() {
    let json = r#"{"auths":{
        "reg.example":{"username":"host","password":"1"},
        "reg.example/team":{"username":"team","password":"2"},
        "https://reg.example/team/app/":{"username":"app","password":"3"}}}"#;
    assert_eq!(found(json, "reg.example", "other/app"), Some(password("host", "1")));
    assert_eq!(found(json, "reg.example", "team/other"), Some(password("team", "2")));
    assert_eq!(found(json, "reg.example", "team/app"), Some(password("app", "3")));
    assert_eq!(found(json, "reg.example", "teamwork"), Some(password("host", "1")));
    assert_eq!(found(json, "reg.example:5000", "team/app"), None);
}

#[test]
fn docker_hub_has_many_names() {
    for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io/v2/"] {
        let json = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnE="}}}}}}"#);
        assert_eq!(found(&json, "docker.io", "library/debian"), Some(password("u", "p:q")), "{key}");
    }
}

#[test]
fn encodings_in_use_are_read() {
    // Padded, unpadded, and with the NUL that old dockers leave.
    for auth in ["dTpwMQ==", "dTpwMQ", "dTpwMQA="] {
        let json = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        assert_eq!(found(&json, "r.example", "a"), Some(password("u", "p1")), "{auth}");
    }
    for json in
        ["{}", r#"{"auths":null}"#, r#"{"auths":{"r.example":null}}"#, r#"{"auths":{"r.example":{}}}"#]
    {
        assert_eq!(found(json, "r.example", "a"), None, "{json}");
    }
}

#[test]
fn errors_show_where_and_not_what() {
    for json in [r#"{"auths":{"r":{"auth":12345678}}}"#, r#"{"auths":"hunter2"}"#, "hunter2"] {
        let error = Credentials::parse(json.as_bytes()).unwrap_err();
        assert!(matches!(error, CredentialsError::Malformed { line: 1, .. }));
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("12345678"), "{text}");
    }
    let error = Credentials::parse(br#"{"auths":{"r":{"auth":"hunter2hunter2"}}}"#).unwrap_err();
    assert_eq!(error, CredentialsError::Auth { registry: "r".to_owned() });
    let whole = Credentials::parse(br#"{"auths":{"r":{"username":"u","password":"hunter2"}}}"#).unwrap();
    assert!(!format!("{whole:?}").contains("hunter2"));
}

#[test]
fn the_first_file_wins_for_what_it_names() {
    let first = Credentials::parse(br#"{"auths":{"a":{"username":"1","password":"x"}}}"#).unwrap();
    let second = r#"{"auths":{"a":{"username":"2","password":"x"},"b":{"username":"2","password":"x"}}}"#;
    let both = first.or(Credentials::parse(second.as_bytes()).unwrap());
    assert_eq!(both.find("a", "r"), Found::Login(&password("1", "x")));
    assert_eq!(both.find("b", "r"), Found::Login(&password("2", "x")));
}

#[test]
fn helpers_have_what_no_entry_says() {
    let json = r#"{"auths":{"a":{"auth":"dTpw"},"e":{},"f/team":{"auth":"dTpw"}},"credHelpers":{"b":"x"},"credsStore":"y"}"#;
    let credentials = Credentials::parse(json.as_bytes()).unwrap();
    assert_eq!(found(json, "a", "r"), Some(password("u", "p")));
    assert_eq!(credentials.find("b", "r"), Found::Helper("x"));
    assert_eq!(credentials.find("c", "r"), Found::Helper("y"));
    assert_eq!(credentials.find("e", "r"), Found::Helper("y"));
    assert_eq!(found(json, "f", "team/app"), Some(password("u", "p")));
    assert_eq!(credentials.find("f", "other"), Found::Helper("y"));
    assert_eq!(Credentials::default().find("a", "r"), Found::Nothing);
}

proptest! {
    #[test]
    fn no_file_makes_it_panic_or_talk(json in r#"[{}\[\]":,a-z0-9 ]{0,80}"#, secret in "[A-Z]{12,20}") {
        let text = format!(r#"{{"auths":{{"r.example":{{"auth":{json}"{secret}"}}}}}}"#);
        if let Err(error) = Credentials::parse(text.as_bytes()) {
            let said = format!("{error} {error:?}");
            prop_assert!(!said.contains(secret.as_str()));
        }
    }

    #[test]
    fn any_password_comes_through(user in "[^:\u{0}]{1,20}", secret in "[^\u{0}]{0,40}") {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        let json = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        prop_assert_eq!(found(&json, "r.example", "a"), Some(password(&user, &secret)));
    }
}
