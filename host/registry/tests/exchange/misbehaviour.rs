//! A registry that cuts, lies, stalls and redirects.

use crate::hostile::{Answer, Hostile, Request, ok, status};
use crate::images::{
    Reports, TestStore, amd64, client, client_with, noise, patience, pull, reference, whole,
};
use std::time::Duration;
use wbuild_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media};
use wbuild_registry::{Patience, Settings};
use wbuild_store::{ErrorClass, Progress, Remote, RemoteError, Silent, Store, TransferKind};

fn layer(content: &[u8]) -> Descriptor {
    Descriptor::of(media::LAYER_TAR, content)
}

async fn fetch(
    store: &Store,
    server: &Hostile,
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<(), RemoteError> {
    client().fetch(store, &reference(&server.name("app")), std::slice::from_ref(blob), progress).await
}

/// Serves `content`, from where a range asks.
fn ranged(content: &[u8], request: &Request) -> Answer {
    match request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
    {
        Some(from) => {
            let length = content.len();
            let from: usize = from;
            Answer { status: 206, ..ok(&content[from..]) }
                .with("Content-Range", format!("bytes {from}-{}/{length}", length - 1))
        }
        None => ok(content),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_blob_goes_on_where_it_was_cut() {
    let content = noise(300_000, 1);
    let blob = layer(&content);
    let served = content.clone();
    // Three pieces: more cuts than attempts are allowed without headway.
    let server = Hostile::start(move |_, request| {
        let mut answer = ranged(&served, request);
        let keep = answer.body.len().min(70_000);
        answer.claimed = Some(answer.body.len());
        answer.body.truncate(keep);
        answer
    });
    let (store, reports) = (TestStore::new(), Reports::default());
    fetch(&store.store, &server, &blob, &reports).await.unwrap();
    assert_eq!(store.store.read(&blob.digest, 1 << 20).unwrap(), content);
    let ranges: Vec<_> = server.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 5);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[4].as_deref(), Some("bytes=280000-"));
    assert!(reports.of(&blob.digest).iter().any(|kind| matches!(kind, TransferKind::Retrying { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_knows_no_ranges_sends_the_whole_again() {
    let content = noise(100_000, 2);
    for second in [200, 206, 416] {
        let blob = layer(&content);
        let served = content.clone();
        let server = Hostile::start(move |number, request| match (number, request.header("range")) {
            (0, _) => Answer { claimed: Some(served.len()), ..ok(&served[..40_000]) },
            // The wrong range, or none at all.
            (_, Some(_)) if second == 206 => {
                Answer { status: 206, ..ok(&served[10..]) }.with("Content-Range", "bytes 10-99999/100000")
            }
            (_, Some(_)) if second == 416 => status(416),
            _ => ok(served.clone()),
        });
        let store = TestStore::new();
        fetch(&store.store, &server, &blob, &Silent).await.unwrap();
        assert_eq!(store.store.read(&blob.digest, 1 << 20).unwrap(), content, "{second}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_something_else_never_enters_the_store() {
    let content = noise(50_000, 3);
    let blob = layer(&content);
    let mut flipped = content.clone();
    flipped[49_999] ^= 1;
    let mut longer = content.clone();
    longer.push(0);
    let unsized_answer = |body: &[u8]| {
        let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
        chunked.extend_from_slice(body);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        ok(chunked).with("Transfer-Encoding", "chunked")
    };
    let answers = [
        ok(flipped.clone()),
        ok(longer.clone()),
        ok(&content[..49_999]),
        unsized_answer(&longer),
        unsized_answer(&flipped),
    ];
    for (case, answer) in answers.into_iter().enumerate() {
        let server = Hostile::start(move |_, _| answer.clone());
        let store = TestStore::new();
        let error = fetch(&store.store, &server, &blob, &Silent).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Content, "case {case}: {}", whole(&error));
        assert_eq!(store.blobs(), Vec::<String>::new(), "case {case}");
        assert_eq!(server.requests().len(), 3, "case {case}: it may have been spoiled on its way");
    }
    // Chunked and right is right; chunked and short may have been cut.
    let server = Hostile::start({
        let (whole, short) = (unsized_answer(&content), unsized_answer(&content[..10]));
        move |number, _| if number == 0 { short.clone() } else { whole.clone() }
    });
    let store = TestStore::new();
    fetch(&store.store, &server, &blob, &Silent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_another_is_refused() {
    let source = TestStore::new();
    let (descriptor, manifest) = source.image(&[b"layer"]);
    let other = Manifest::new(manifest.config.clone(), vec![]).to_bytes();
    let served = other.clone();
    let server = Hostile::start(move |_, _| ok(served.clone()).with("Content-Type", media::MANIFEST));
    let store = TestStore::new();
    let pinned = reference(&server.name("app")).with_digest(descriptor.digest);
    let error = client().resolve(&store.store, &pinned, &amd64()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Content);
    let claimed = descriptor.digest.to_string();
    let server = Hostile::start(move |_, _| ok(other.clone()).with("Docker-Content-Digest", claimed.clone()));
    let error = client().resolve(&store.store, &reference(&server.name("app")), &amd64()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Content);
    assert_eq!(store.blobs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_no_images_are_named() {
    let config = ImageConfig::scratch(&amd64()).to_bytes();
    let config_blob = Descriptor::of(media::CONFIG, &config);
    let two_layers = Manifest::new(config_blob.clone(), vec![layer(b"a"), layer(b"b")]).to_bytes();
    let huge = Manifest::new(Descriptor::new(media::CONFIG, config_blob.digest, 1 << 40), vec![]).to_bytes();
    let cases: [(Vec<u8>, &str); 8] = [
        (b"not json".to_vec(), "no JSON document"),
        (br#"{"schemaVersion":1,"name":"a"}"#.to_vec(), "schema 1"),
        (br#"{"schemaVersion":2,"mediaType":"application/vnd.cncf.helm"}"#.to_vec(), "no image"),
        (br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec(), "malformed manifest"),
        (br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(), "malformed index"),
        (two_layers, "lists 0 layers"),
        (huge, "larger than"),
        (vec![b' '; 5 << 20], "larger than"),
    ];
    for (document, expected) in cases {
        let (document, config) = (document.clone(), config.clone());
        let server = Hostile::start(move |_, request| {
            if request.target.contains("/blobs/") { ok(config.clone()) } else { ok(document.clone()) }
        });
        let store = TestStore::new();
        let error =
            client().resolve(&store.store, &reference(&server.name("app")), &amd64()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Content, "{}", whole(&error));
        assert!(whole(&error).contains(expected), "{} lacks {expected:?}", whole(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_followed_only_so_deep() {
    // Each index leads to a next one; only a preimage could make a loop.
    let documents = std::sync::Mutex::new(std::collections::HashMap::<String, Vec<u8>>::new());
    let mut bytes = Index::new(vec![]).to_bytes();
    for _ in 0..8 {
        let mut entry = Descriptor::of(media::INDEX, &bytes);
        entry.platform = Some(amd64());
        documents.lock().unwrap().insert(entry.digest.to_string(), bytes);
        bytes = Index::new(vec![entry]).to_bytes();
    }
    documents.lock().unwrap().insert("latest".to_owned(), bytes);
    let server = Hostile::start(move |_, request| {
        let name = request.target.rsplit('/').next().unwrap();
        ok(documents.lock().unwrap()[name].clone()).with("Content-Type", media::INDEX)
    });
    let store = TestStore::new();
    let error = client().resolve(&store.store, &reference(&server.name("app")), &amd64()).await.unwrap_err();
    assert!(whole(&error).contains("nested too deeply"), "{}", whole(&error));
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let content = noise(1000, 4);
    let served = content.clone();
    let server = Hostile::start(move |number, _| match number {
        0 => status(429).with("Retry-After", "0"),
        1 => status(503).with("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"),
        _ => ok(served.clone()),
    });
    // Without Retry-After the pause would be an hour.
    let slow = Duration::from_secs(3600);
    let settings = Settings {
        patience: Patience { pause: slow, longest_pause: slow, ..patience() },
        ..Settings::default()
    };
    let store = TestStore::new();
    let blobs = [layer(&content)];
    client_with(settings)
        .fetch(&store.store, &reference(&server.name("app")), &blobs, &Silent)
        .await
        .unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stays_down_is_a_network_failure() {
    for code in [429, 500, 502, 503, 504] {
        let server = Hostile::start(move |_, _| status(code));
        let store = TestStore::new();
        let error =
            client().resolve(&store.store, &reference(&server.name("app")), &amd64()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Network, "{code}");
        assert_eq!(server.requests().len(), 3, "{code}");
    }
    // A registry that wants more patience than there is is not asked again.
    let server = Hostile::start(|_, _| status(429).with("Retry-After", "86400"));
    let store = TestStore::new();
    let error = fetch(&store.store, &server, &layer(b"x"), &Silent).await.unwrap_err();
    assert_eq!((error.class(), server.requests().len()), (ErrorClass::Network, 1));
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = reference(&format!("127.0.0.1:{port}/app"));
    let error = client().resolve(&store.store, &nobody, &amd64()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network);
    let (reports, blob) = (Reports::default(), layer(b"x"));
    client().fetch(&store.store, &nobody, std::slice::from_ref(&blob), &reports).await.unwrap_err();
    let reasons = reports.of(&blob.digest).into_iter().filter_map(|kind| match kind {
        TransferKind::Retrying { reason } => Some(reason),
        _ => None,
    });
    let reasons: Vec<_> = reasons.collect();
    assert_eq!(reasons, vec!["Connection refused (os error 111)"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed() {
    let impatient = Patience { stall: Duration::from_millis(200), attempts: 2, ..patience() };
    let settings = Settings { patience: impatient, ..Settings::default() };
    let content = noise(2000, 5);
    let store = TestStore::new();
    // Before the answer, and in the middle of it.
    for sent in [0, 1000] {
        let served = content.clone();
        let server = Hostile::start(move |_, _| {
            if sent == 0 {
                std::thread::sleep(Duration::from_secs(3600));
            }
            Answer { claimed: Some(served.len()), hang: true, ..ok(&served[..sent]) }
        });
        let client = client_with(settings.clone());
        let blobs = [layer(&content)];
        let error =
            client.fetch(&store.store, &reference(&server.name("app")), &blobs, &Silent).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Network);
        assert!(whole(&error).contains("silent"), "{}", whole(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_no_credentials_along() {
    let content = noise(5000, 6);
    let served = content.clone();
    let elsewhere = Hostile::start(move |_, _| ok(served.clone()));
    let target = format!("http://127.0.0.1:{}/bucket?signature=presigned", elsewhere.port);
    let server = Hostile::start(move |_, request| match request.header("authorization") {
        None => status(401).with("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => status(307).with("Location", target.clone()),
    });
    let auth =
        r#"{"auths":{"127.0.0.1:PORT":{"auth":"dXNlcjpwYXNz"}}}"#.replace("PORT", &server.port.to_string());
    let client = crate::images::client_knowing(&auth);
    let store = TestStore::new();
    client.fetch(&store.store, &reference(&server.name("app")), &[layer(&content)], &Silent).await.unwrap();
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(server.requests().last().unwrap().header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_tell_no_secrets() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Hostile::start(move |_, _| {
        status(302).with("Location", format!("http://127.0.0.1:{closed}/b?X-Amz-Signature=presigned-secret"))
    });
    let store = TestStore::new();
    let error = fetch(&store.store, &server, &layer(b"x"), &Silent).await.unwrap_err();
    let text = format!("{} {error:?}", whole(&error));
    assert!(!text.contains("presigned-secret"), "{text}");
    // What a registry says is shown, but cannot move the cursor.
    let body = r#"{"errors":[{"code":"DENIED","message":"no\u001b[2J way"}]}"#;
    let server = Hostile::start(move |_, _| Answer { status: 403, ..ok(body) });
    let error = fetch(&store.store, &server, &layer(b"x"), &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(whole(&error).contains("DENIED (no[2J way)"), "{}", whole(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_end() {
    let server = Hostile::start(|_, request| status(302).with("Location", request.target.clone()));
    let store = TestStore::new();
    let error = fetch(&store.store, &server, &layer(b"x"), &Silent).await.unwrap_err();
    assert!(whole(&error).contains("redirects too often"), "{}", whole(&error));
}

/// A registry that takes everything, apart from what `odd` answers itself.
fn accepting(odd: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Hostile {
    Hostile::start(move |_, request| {
        odd(request).unwrap_or_else(|| match request.method.as_str() {
            "HEAD" => status(404),
            "POST" => status(202).with("Location", "/upload/1?state=x"),
            _ => status(201),
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_where_it_is_told_with_its_digest() {
    let store = TestStore::new();
    let content = noise(700_000, 7);
    let (manifest, document) = store.image(&[&content]);
    let elsewhere = accepting(|_| None);
    let location = format!("http://127.0.0.1:{}/up?state=y", elsewhere.port);
    let server = accepting(move |request| match (request.method.as_str(), request.header("authorization")) {
        (_, None) => Some(status(401).with("WWW-Authenticate", "Basic realm=\"r\"")),
        ("POST", _) => Some(status(202).with("Location", location.clone())),
        _ => None,
    });
    let auth =
        r#"{"auths":{"127.0.0.1:PORT":{"auth":"dXNlcjpwYXNz"}}}"#.replace("PORT", &server.port.to_string());
    let to = [reference(&server.name("app:1"))];
    crate::images::client_knowing(&auth).push(&store.store, &manifest, &to, &Silent).await.unwrap();
    let uploads = elsewhere.asked("PUT", "/up?state=y&digest=sha256");
    assert_eq!(uploads.len(), 2);
    assert!(uploads.iter().all(|upload| upload.header("authorization").is_none()));
    for blob in document.blobs() {
        assert!(uploads.iter().any(|upload| Digest::of(&upload.body) == blob.digest));
    }
    let manifests = server.asked("PUT", "/v2/app/manifests/1");
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].body, document.to_bytes());
    assert_eq!(manifests[0].header("content-type"), Some(media::MANIFEST));
    assert_eq!(server.requests().last().unwrap().target, "/v2/app/manifests/1", "the manifest goes last");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_in_passing_is_made_again() {
    let store = TestStore::new();
    let (manifest, _) = store.image(&[&noise(10_000, 8)]);
    let failures = std::sync::atomic::AtomicUsize::new(0);
    let server = accepting(move |request| {
        let put = request.method == "PUT" && request.target.starts_with("/upload/");
        let fails = put && failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        fails.then(|| status(if request.body.len() > 1000 { 502 } else { 404 }))
    });
    client().push(&store.store, &manifest, &[reference(&server.name("app:1"))], &Silent).await.unwrap();
    assert_eq!(server.asked("PUT", "/upload/").len(), 4);
    assert_eq!(server.asked("PUT", "/manifests/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_manifest_is_pushed_over_a_blob_that_was_refused() {
    let store = TestStore::new();
    let (manifest, _) = store.image(&[b"layer"]);
    let server = accepting(|request| request.target.starts_with("/upload/").then(|| status(400)));
    let to = [reference(&server.name("app:1"))];
    let error = client().push(&store.store, &manifest, &to, &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert_eq!(server.asked("PUT", "/manifests/").len(), 0);
    // Nor one under a name of another digest, or one that arrives as something else.
    let other = [reference(&server.name("app")).with_digest(Digest::of(b"other"))];
    let error = client().push(&store.store, &manifest, &other, &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    let wrong = Digest::of(b"wrong").to_string();
    let server = accepting(move |request| {
        let manifest = request.target.contains("/manifests/");
        manifest.then(|| status(201).with("Docker-Content-Digest", wrong.clone()))
    });
    let error =
        client().push(&store.store, &manifest, &[reference(&server.name("app"))], &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Content);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_wanted_twice_is_fetched_once() {
    let content = noise(200_000, 9);
    let served = content.clone();
    let server = Hostile::start(move |_, _| {
        std::thread::sleep(Duration::from_millis(50));
        ok(served.clone())
    });
    let (store, client) = (TestStore::new(), client());
    let name = reference(&server.name("app"));
    let blobs = [layer(&content), layer(&content)];
    let fetch = || client.fetch(&store.store, &name, &blobs, &Silent);
    let (first, second) = tokio::join!(fetch(), fetch());
    first.unwrap();
    second.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_given_up_leaves_nothing() {
    let content = noise(1000, 10);
    let blob = layer(&content);
    let server =
        Hostile::start(move |_, _| Answer { claimed: Some(1000), hang: true, ..ok(&content[..500]) });
    let store = TestStore::new();
    let given_up =
        tokio::time::timeout(Duration::from_millis(300), fetch(&store.store, &server, &blob, &Silent)).await;
    assert!(given_up.is_err());
    // The writing thread notices on its own.
    for _ in 0..200 {
        let dir = store.files.path().join("ingest");
        if dir.read_dir().unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.blobs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_alone_is_for_what_its_config_says() {
    let source = TestStore::new();
    let (_, manifest) = source.image(&[b"layer"]);
    let config = source.store.read(&manifest.config.digest, 1 << 20).unwrap();
    let document = manifest.to_bytes();
    let server = Hostile::start(move |_, request| {
        if request.target.contains("/blobs/") { ok(config.clone()) } else { ok(document.clone()) }
    });
    let store = TestStore::new();
    let name = reference(&server.name("app"));
    let arm = Platform::new("linux", "arm64");
    assert_eq!(client().resolve(&store.store, &name, &arm).await.unwrap_err().class(), ErrorClass::Refused);
    client().resolve(&store.store, &name, &amd64()).await.unwrap();
    // The layer is served with the config's bytes.
    let error = pull(&client(), &store.store, &server.name("app")).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Content);
}
