//! Registries with HTTPS and passwords, on every way to their certificates and credentials.

use std::os::unix::fs::PermissionsExt;

use wbuild_tests::base;
use wbuild_tests::registry::{PASSWORD, Registry, USER};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

/// A session that knows neither certificate nor password, and the directory that it may be given.
fn session() -> (Session, Scratch) {
    (Session::new(Caller::Root).unwrap(), Scratch::new("secrets").unwrap())
}

#[test]
fn certificates_and_credentials_come_from_where_users_have_them() {
    let registry = Registry::start_secured().unwrap();
    let base = base::busybox().unwrap();
    let source = format!("oci-layout://{}:{}", base.layout.display(), base.tag);
    let name = registry.reference("team/app:1");
    let push = |session: &Session, more: &[&str]| {
        session.run(&[&["push", "-q"], more, &[&source, &name]].concat()).unwrap()
    };

    // Nothing is known: the certificate is not trusted, and that is no matter of trying again.
    let (stranger, _) = session();
    let text = push(&stranger, &[]).code(6).unwrap().text();
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");

    // SSL_CERT_FILE makes it trusted; there is no password yet.
    let (mut trusting, secrets) = session();
    trusting.env("SSL_CERT_FILE", registry.authority().to_str().unwrap());
    let text = push(&trusting, &[]).code(6).unwrap().text();
    assert!(text.contains("no credentials are configured"), "{text}");

    // A helper has the password; it sees nothing of wbuild's environment but what it needs.
    let helper = secrets.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\ntest \"$1\" = get && test \"$(cat)\" = {} && test -z \"$WBUILD_ROOT\" || exit 1\n\
         echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.address()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("{{\"credHelpers\":{{\"{}\":\"test\"}}}}", registry.address());
    std::fs::write(secrets.path().join("config.json"), config).unwrap();
    let dir = secrets.path().to_str().unwrap();
    trusting.env("DOCKER_CONFIG", dir).env("PATH", &format!("{dir}:/usr/bin:/bin"));
    push(&trusting, &[]).success().unwrap();

    // certs.d and an entry for this path only, in another file.
    let (mut other, secrets) = session();
    let certs = secrets.path().join("certs.d").join(registry.address());
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::copy(registry.authority(), certs.join("ca.crt")).unwrap();
    let entry = format!(
        "{{\"auths\":{{\"{0}\":{{\"username\":\"x\",\"password\":\"wrong\"}},\"{0}/team\":{{\"username\":\"{USER}\",\"password\":\"{PASSWORD}\"}}}}}}",
        registry.address()
    );
    let auth = secrets.path().join("auth.json");
    std::fs::write(&auth, entry).unwrap();
    other.env("REGISTRY_AUTH_FILE", auth.to_str().unwrap());
    let certs = secrets.path().join("certs.d");
    other.succeed(&["pull", "-q", "--cert-dir", certs.to_str().unwrap(), &name]).unwrap();
    let elsewhere = registry.reference("other:1");
    let text = other
        .run(&["pull", "-q", "--cert-dir", certs.to_str().unwrap(), &elsewhere])
        .unwrap()
        .code(6)
        .unwrap()
        .text();
    assert!(text.contains("were not accepted") && !text.contains("wrong"), "{text}");

    // Without looking at the certificate, and as the mirror of another registry.
    let (mut mirrored, _) = session();
    mirrored.env("REGISTRY_AUTH_FILE", auth.to_str().unwrap());
    let address = registry.address();
    let mirror = format!("reg.invalid=https://{address}");
    let flags = [
        "pull",
        "-q",
        "--insecure-registry",
        &address,
        "--registry-mirror",
        &mirror,
        "reg.invalid/team/app:1",
    ];
    mirrored.succeed(&flags).unwrap();
}
