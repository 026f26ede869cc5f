//! Debian's docker-registry on a free loopback port, and skopeo beside it. A missing tool fails the test.

use cap_std::{ambient_authority, fs::Dir};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The user and password of [`Access::Password`].
pub(crate) const USER: &str = "builder";
pub(crate) const PASSWORD: &str = "s3cret:pass";
// bcrypt of PASSWORD.
const HTPASSWD: &str = "builder:$2b$05$abcdefghijklmnopqrstuuKqhJSfTIYV1SkiVqP0GjQATd/vnrS1a\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Open,
    Password,
    /// HTTPS for `registry.test`, with a certificate by [`DockerRegistry::authority`].
    Encrypted,
}

pub(crate) struct DockerRegistry {
    process: Child,
    pub(crate) port: u16,
    files: tempfile::TempDir,
}

impl DockerRegistry {
    pub(crate) fn start(access: Access) -> Self {
        let files = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(files.path(), ambient_authority()).unwrap();
        let root = files.path().display();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        );
        if access == Access::Password {
            dir.write("htpasswd", HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n");
        }
        if access == Access::Encrypted {
            make_certificates(&root.to_string());
            config = config.replace(
                &format!("'127.0.0.1:{port}'"),
                &format!("'127.0.0.1:{port}', tls: {{certificate: {root}/cert.pem, key: {root}/key.pem}}"),
            );
        }
        dir.write("config.yml", config).unwrap();
        let mut process = Command::new("docker-registry")
            .args(["serve", &format!("{root}/config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed for this test (Debian: apt install docker-registry)");
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { process, port, files };
            }
            if let Some(status) = process.try_wait().unwrap() {
                panic!("docker-registry ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("docker-registry does not listen on port {port}");
    }

    /// The certificate of the authority, in PEM.
    pub(crate) fn authority(&self) -> Vec<u8> {
        let dir = Dir::open_ambient_dir(self.files.path(), ambient_authority()).unwrap();
        dir.read("ca.pem").unwrap()
    }

    /// `127.0.0.1:PORT/<rest>`.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn make_certificates(root: &str) {
    let authority = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ];
    let server = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=registry.test",
        "-addext",
        "subjectAltName=DNS:registry.test",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    for arguments in [&authority[..], &server[..]] {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(root)
            .output()
            .expect("openssl is needed for this test (Debian: apt install openssl)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Runs skopeo without TLS and with any policy; gives its output.
pub(crate) fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .output()
        .expect("skopeo is needed for this test (Debian: apt install skopeo)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {said}");
    output.stdout
}
