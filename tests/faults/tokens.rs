//! A registry with HTTPS and bearer tokens that end early, behind a network that fails: pushes and pulls get over all of it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::proxy::{Fault, Proxy, random};
use wbuild_tests::registry::{PASSWORD, Registry, USER};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::tls::Authority;
use wbuild_tests::tokens::{Manner, TokenServer};
use wbuild_tests::workspace::Scratch;

#[test]
fn tokens_that_end_and_a_network_that_fails_stop_no_push_and_no_pull() {
    let base = base::busybox().unwrap();
    let source = format!("oci-layout://{}:{}", base.layout.display(), base.tag);
    let authority = Authority::new().unwrap();
    // The first request fails, and the first token ends while the registry is busy; the server said that it holds for an hour.
    let manners = |number| match number {
        0 => Manner::Status(503),
        1 => Manner::Token(5),
        _ => Manner::Token(60),
    };
    let tokens = TokenServer::start(&authority, Box::new(manners)).unwrap();
    let registry = Registry::start_with_tokens(&authority, &tokens).unwrap();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    println!("seed {seed}");
    // With the failed token and the busy registry one fewer than a client tries in a row.
    let (mut chance, mut was_busy) = (random(seed, 2), false);
    let faults = move |method: &str, target: &str| {
        if method == "PUT" && !was_busy {
            was_busy = true;
            return Some(Fault::Busy(6));
        }
        chance(method, target)
    };
    let proxy = Proxy::start_secured(&registry.address(), &authority, Box::new(faults)).unwrap();
    let secrets = Scratch::new("secrets").unwrap();
    let auth = secrets.path().join("auth.json");
    let entry = format!(
        "{{\"auths\":{{\"{}\":{{\"username\":\"{USER}\",\"password\":\"{PASSWORD}\"}}}}}}",
        proxy.address()
    );
    fs::write(&auth, entry).unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("SSL_CERT_FILE", authority.certificate().to_str().unwrap());
    session.env("REGISTRY_AUTH_FILE", auth.to_str().unwrap());
    let name = proxy.reference("team/app:1");
    session
        .succeed(&["push", "-q", &source, &name])
        .unwrap_or_else(|e| panic!("{:?}: {e:#}", proxy.faults()));
    assert!(
        tokens.asked().len() >= 3 && tokens.asked().iter().all(|asked| asked.known),
        "{:?}",
        tokens.asked()
    );
    let (host, out) = session.out("image").unwrap();
    let output = format!("type=oci,tar=false,dest={out}");
    let from = ["pull", "-q", "-o", &output, &name];
    session.succeed(&from).unwrap_or_else(|e| panic!("{:?}: {e:#}", proxy.faults()));
    assert_eq!(Image::verify(&host).unwrap().digest, Image::verify(&base.layout).unwrap().digest);
    // Without the password the token server says no, and nothing is told but that.
    let mut stranger = Session::new(Caller::Root).unwrap();
    stranger.env("SSL_CERT_FILE", authority.certificate().to_str().unwrap());
    stranger.run(&["pull", "-q", &name]).unwrap().code(6).unwrap();
}
