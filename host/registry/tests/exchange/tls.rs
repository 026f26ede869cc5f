//! HTTPS with roots of one's own, by way of a proxy: the only way a test reaches a name that is not on loopback.

use crate::docker_registry::{Access, DockerRegistry};
use crate::images::{TestStore, amd64, client_with, noise, patience, pull, reference, whole};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use wbuild_registry::{Client, Proxies, RegistryError, Roots, Settings};
use wbuild_store::{ErrorClass, Remote, Silent};

/// A proxy that connects to one port of this machine, whatever it is asked for, and remembers that.
struct Tunnel {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || drop(tunnel(stream, target, &seen)));
            }
        });
        Self { port, asked }
    }
}

fn tunnel(mut near: TcpStream, target: u16, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    seen.lock().unwrap().push(first.trim().to_owned());
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let far = TcpStream::connect(("127.0.0.1", target))?;
    near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut to, mut from) = (far.try_clone()?, far);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut reader, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    std::io::copy(&mut from, &mut near)?;
    near.shutdown(Shutdown::Both)
}

fn client(tunnel: &Tunnel, roots: Roots) -> Client {
    let https = Some(format!("http://user:proxy-secret@127.0.0.1:{}", tunnel.port));
    let proxies = Proxies { https, ..Proxies::default() };
    client_with(Settings { proxies, roots, patience: patience(), ..Settings::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_a_certificate_by_a_root_that_was_given() {
    let registry = DockerRegistry::start(Access::Encrypted);
    let tunnel = Tunnel::to(registry.port);
    let store = TestStore::new();
    let (manifest, _) = store.image(&[&noise(2 << 20, 1), b"second"]);
    let name = "registry.test/team/app:1";
    for roots in [Roots::Only(vec![registry.authority()]), Roots::Also(vec![registry.authority()])] {
        let client = client(&tunnel, roots);
        client.push(&store.store, &manifest, &[reference(name)], &Silent).await.unwrap();
        let other = TestStore::new();
        pull(&client, &other.store, name).await.unwrap();
        assert_eq!(other.blobs(), store.blobs());
    }
    assert!(tunnel.asked.lock().unwrap().iter().all(|line| line == "CONNECT registry.test:443 HTTP/1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_certificates_are_refused_and_not_tried_again() {
    let registry = DockerRegistry::start(Access::Encrypted);
    let tunnel = Tunnel::to(registry.port);
    let store = TestStore::new();
    // A root that did not sign it, and a name it is not for.
    for (roots, name) in
        [(Roots::Bundled, "registry.test/app"), (Roots::Only(vec![registry.authority()]), "other.test/app")]
    {
        tunnel.asked.lock().unwrap().clear();
        let error =
            client(&tunnel, roots).resolve(&store.store, &reference(name), &amd64()).await.unwrap_err();
        let text = format!("{} {error:?}", whole(&error));
        assert_eq!(error.class(), ErrorClass::Refused, "{text}");
        assert!(text.contains("certificate") && !text.contains("proxy-secret"), "{text}");
        assert_eq!(tunnel.asked.lock().unwrap().len(), 1);
    }
}

/// Without a proxy the certificate's failure lies deeper in the error: it was taken for one of the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_refused_on_the_direct_way_too() {
    let registry = DockerRegistry::start(Access::Encrypted);
    let address = ([127, 0, 0, 1], registry.port).into();
    let direct = reqwest::Client::builder().resolve("registry.test", address).no_proxy().build().unwrap();
    let url = format!("https://registry.test:{}/v2/", registry.port);
    let source = Box::new(direct.get(url).send().await.unwrap_err());
    let error = RegistryError::Transport { registry: "r".to_owned(), what: "w".to_owned(), source };
    assert_eq!(error.class(), ErrorClass::Refused, "{}", whole(&error));
    let nobody = Box::new(direct.get("http://127.0.0.1:1/v2/").send().await.unwrap_err());
    let error = RegistryError::Transport { registry: "r".to_owned(), what: "w".to_owned(), source: nobody };
    assert_eq!(error.class(), ErrorClass::Network, "{}", whole(&error));
}

#[test]
fn settings_that_cannot_be_used_are_named_without_their_secrets() {
    let roots = Settings {
        roots: Roots::Only(vec![b"-----BEGIN CERTIFICATE-----\n!".to_vec()]),
        ..Settings::default()
    };
    let none = Settings { roots: Roots::Also(vec![b"no certificate".to_vec()]), ..Settings::default() };
    let https = Some("http://user:proxy-secret@[broken".to_owned());
    let proxies = Settings { proxies: Proxies { https, ..Proxies::default() }, ..Settings::default() };
    for (settings, expected) in [(roots, "PEM"), (none, "none"), (proxies, "proxy")] {
        let shown = format!("{settings:?}");
        let error = Client::new(settings).unwrap_err();
        let text = format!("{} {error:?}", whole(&error));
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("proxy-secret") && !shown.contains("proxy-secret"), "{text} {shown}");
    }
}
