//! Bearer tokens: asked for with the right scope and credentials, kept, renewed, and sent nowhere else.

use crate::hostile::{Answer, Hostile, Request, ok, status};
use crate::images::{TestStore, client, client_knowing, noise, reference, whole};
use std::sync::atomic::{AtomicUsize, Ordering};
use wbuild_oci::{Descriptor, media};
use wbuild_store::{ErrorClass, Remote, Silent};

/// A registry and its token server in one: `token` answers requests for tokens, the rest needs the bearer `good-N` with N
/// not below `from`.
fn guarded(
    token: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    valid: impl Fn(&str) -> bool + Send + Sync + 'static,
    content: Vec<u8>,
) -> Hostile {
    Hostile::start(move |_, request| {
        if request.target.starts_with("/token") {
            return token(request);
        }
        let bearer = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        if bearer.is_some_and(&valid) {
            return match request.method.as_str() {
                "GET" => ok(content.clone()),
                "HEAD" => status(404),
                "POST" => status(202).with("Location", "/upload/1"),
                _ => status(201),
            };
        }
        let host = request.header("host").unwrap();
        status(401).with(
            "WWW-Authenticate",
            format!("Basic realm=\"b\", Bearer realm=\"http://{host}/token\",service=\"the service\",scope=\"ignored\""),
        )
    })
}

fn config(server: &Hostile, entry: &str) -> String {
    format!(r#"{{"auths":{{"127.0.0.1:{}":{entry}}}}}"#, server.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_and_anonymously_without_credentials() {
    let content = noise(100, 1);
    let server = guarded(|_| ok(r#"{"token":"good"}"#), |token| token == "good", content.clone());
    let (store, client) = (TestStore::new(), client());
    let second = noise(100, 2);
    let name = reference(&server.name("team/app"));
    client.fetch(&store.store, &name, &[Descriptor::of(media::LAYER_TAR, &content)], &Silent).await.unwrap();
    // The content is wrong, the token is not: no second one is asked for.
    let wrong =
        client.fetch(&store.store, &name, &[Descriptor::of(media::LAYER_TAR, &second)], &Silent).await;
    assert_eq!(wrong.unwrap_err().class(), ErrorClass::Content);
    let asked = server.asked("GET", "/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "/token?service=the+service&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_to_the_token_server_only() {
    let content = noise(100, 3);
    let server = guarded(
        |request| match request.header("authorization") {
            Some("Basic dXNlcjpwYXNz") => ok(r#"{"access_token":"good"}"#),
            _ => status(401),
        },
        |token| token == "good",
        content.clone(),
    );
    let blobs = [Descriptor::of(media::LAYER_TAR, &content)];
    let name = reference(&server.name("app"));
    let store = TestStore::new();
    let known = client_knowing(&config(&server, r#"{"auth":"dXNlcjpwYXNz"}"#));
    known.fetch(&store.store, &name, &blobs, &Silent).await.unwrap();
    for request in server.requests().iter().filter(|request| !request.target.starts_with("/token")) {
        assert!(request.header("authorization").is_none_or(|header| header == "Bearer good"), "{request:?}");
    }
    let store = TestStore::new();
    let unknown = client_knowing(&config(&server, r#"{"username":"user","password":"not-it"}"#));
    let error = unknown.fetch(&store.store, &name, &blobs, &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    let text = format!("{} {error:?} {unknown:?}", whole(&error));
    assert!(text.contains("not accepted") && !text.contains("not-it"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_is_renewed_also_in_an_upload() {
    let store = TestStore::new();
    let (manifest, _) = store.image(&[b"layer"]);
    let given = AtomicUsize::new(0);
    // The first token ends with the first upload that uses it.
    let ended = std::sync::Arc::new(AtomicUsize::new(0));
    let ends = std::sync::Arc::clone(&ended);
    let server = Hostile::start(move |_, request| {
        if request.target.starts_with("/token") {
            return ok(format!(r#"{{"token":"good-{}"}}"#, given.fetch_add(1, Ordering::SeqCst)));
        }
        if request.method == "PUT" && request.header("authorization") == Some("Bearer good-0") {
            ends.store(1, Ordering::SeqCst);
        }
        let last = if ends.load(Ordering::SeqCst) == 1 { "Bearer good-1" } else { "Bearer good-0" };
        let host = request.header("host").unwrap();
        match (request.header("authorization") == Some(last), request.method.as_str()) {
            (false, _) => {
                status(401).with("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\""))
            }
            (_, "HEAD") => status(404),
            (_, "POST") => status(202).with("Location", "/upload/1"),
            _ => status(201),
        }
    });
    client().push(&store.store, &manifest, &[reference(&server.name("app"))], &Silent).await.unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert_eq!(server.asked("GET", "/token").len(), 2);
    assert!(server.asked("GET", "/token")[0].target.contains("repository%3Aapp%3Apull%2Cpush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_exchanged_and_a_registry_token_is_sent() {
    let content = noise(100, 4);
    let blobs = [Descriptor::of(media::LAYER_TAR, &content)];
    let server = guarded(
        |request| {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let right = request.method == "POST"
                && ["grant_type=refresh_token", "refresh_token=refresh-me", "scope=repository%3Aapp%3Apull"]
                    .iter()
                    .all(|part| form.contains(part));
            if right { ok(r#"{"access_token":"good","expires_in":300}"#) } else { status(400) }
        },
        |token| token == "good" || token == "registry-token",
        content.clone(),
    );
    let name = reference(&server.name("app"));
    let store = TestStore::new();
    let identity =
        client_knowing(&config(&server, r#"{"auth":"PHRva2VuPjo=","identitytoken":"refresh-me"}"#));
    identity.fetch(&store.store, &name, &blobs, &Silent).await.unwrap();
    let before = server.requests().len();
    let store = TestStore::new();
    let direct = client_knowing(&config(&server, r#"{"registrytoken":"registry-token"}"#));
    direct.fetch(&store.store, &name, &blobs, &Silent).await.unwrap();
    assert_eq!(server.requests().len(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_from_a_token_server_is_an_error_without_its_text() {
    for answer in ["{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":5,"x":"super-secret"}"#]
    {
        let server = guarded(move |_| ok(answer), |_| false, Vec::new());
        let store = TestStore::new();
        let blobs = [Descriptor::of(media::LAYER_TAR, b"x")];
        let error =
            client().fetch(&store.store, &reference(&server.name("app")), &blobs, &Silent).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Content, "{answer}");
        assert!(!whole(&error).contains("super-secret"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_cannot_be_asked_is_named() {
    let server = guarded(|_| ok(r#"{"token":"good"}"#), |token| token == "good", Vec::new());
    let port = server.port;
    let store = TestStore::new();
    let blobs = [Descriptor::of(media::LAYER_TAR, b"x")];
    for json in [
        format!(r#"{{"credHelpers":{{"127.0.0.1:{port}":"vault"}}}}"#),
        format!(r#"{{"auths":{{"127.0.0.1:{port}":{{}}}},"credsStore":"vault"}}"#),
    ] {
        let error = client_knowing(&json)
            .fetch(&store.store, &reference(&server.name("app")), &blobs, &Silent)
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused);
        assert!(whole(&error).contains("docker-credential-vault"), "{}", whole(&error));
    }
    assert!(server.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[derive(Debug, Default)]
struct Vault(std::sync::Mutex<Vec<String>>);

impl wbuild_registry::Helpers for Vault {
    fn get(
        &self,
        helper: &str,
        server: &str,
    ) -> Result<Option<wbuild_registry::HelperLogin>, wbuild_registry::HelperError> {
        self.0.lock().unwrap().push(format!("{helper} {server}"));
        Ok(Some(wbuild_registry::HelperLogin::new("user".into(), "pass".into())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_is_asked_once_before_anything_is_sent() {
    let server = Hostile::start(|_, request| match request.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => ok(b"x"),
        _ => crate::hostile::status(401).with("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let json = format!(r#"{{"credHelpers":{{"127.0.0.1:{}":"vault"}}}}"#, server.port);
    let vault = std::sync::Arc::new(Vault::default());
    let settings = wbuild_registry::Settings {
        credentials: wbuild_registry::Credentials::parse(json.as_bytes()).unwrap(),
        helpers: Some(vault.clone()),
        ..wbuild_registry::Settings::default()
    };
    let client = crate::images::client_with(settings);
    let name = reference(&server.name("app"));
    client.log_in(std::slice::from_ref(&name)).await.unwrap();
    assert_eq!(*vault.0.lock().unwrap(), [format!("vault 127.0.0.1:{}", server.port)]);
    assert_eq!(server.requests().len(), 0);
    let store = TestStore::new();
    client.fetch(&store.store, &name, &[Descriptor::of(media::LAYER_TAR, b"x")], &Silent).await.unwrap();
    assert_eq!(vault.0.lock().unwrap().len(), 1);
}
