//! A certificate authority of a test, the servers that it vouches for, and connections of either kind as one type.
//!
//! Its names are those of this machine alone; keys last two days and go with the test.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::command::{command, run};
use crate::workspace::Scratch;

/// The first byte of what a TLS client sends.
const HANDSHAKE: u8 = 22;

/// A certificate and its key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, PKCS #8.
    pub key: PathBuf,
}

/// An authority with a directory of its own.
#[derive(Debug)]
pub struct Authority {
    dir: Scratch,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let authority = Self { dir: Scratch::new("authority")? };
        let subject = ["-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE"];
        authority.make("ca", &subject)?;
        Ok(authority)
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for servers on loopback, and for clients.
    pub fn issue(&self, name: &str) -> Result<Pair> {
        let subject = format!("/CN={name}");
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        let leaf = "basicConstraints=critical,CA:FALSE";
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key"];
        self.make(name, &[&["-subj", &subject, "-addext", names, "-addext", leaf], &by[..]].concat())
    }

    /// Makes `NAME.pem` and `NAME.key`.
    fn make(&self, name: &str, more: &[&str]) -> Result<Pair> {
        let key =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let mut openssl = command("openssl", key);
        openssl
            .args(more)
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
            .current_dir(self.dir.path());
        run(openssl)?.success()?;
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        Ok(Pair { certificate: file("pem"), key: file("key") })
    }

    /// What a server with a new certificate by this authority speaks with.
    pub fn server(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let pair = self.issue(name)?;
        let chain = certificates(&pair.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&pair.key).context("the key of a test's server")?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// What a client that trusts this authority alone speaks with.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.certificate())? {
            roots.add(certificate)?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a file in PEM.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).with_context(|| path.display().to_string())?;
    certificates.collect::<Result<_, _>>().with_context(|| path.display().to_string())
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// The server's end.
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// The client's end.
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// The server's end of what a client began.
    pub fn accept(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let mut first = [0];
        if stream.peek(&mut first)? == 1 && first[0] != HANDSHAKE {
            // As Go's servers and nginx answer.
            let text = "Client sent an HTTP request to an HTTPS server.\n";
            let length = text.len();
            write!(&stream, "HTTP/1.0 400 Bad Request\r\nContent-Length: {length}\r\n\r\n{text}")?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self::Server(Box::new(StreamOwned::new(session, stream))))
    }

    /// A connection to an address on loopback.
    pub fn connect(address: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Self::Client(Box::new(StreamOwned::new(session, stream))))
    }

    /// Says that there is no more, as one does who was not cut off.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => return Ok(()),
            Self::Server(stream) => stream.conn.send_close_notify(),
            Self::Client(stream) => stream.conn.send_close_notify(),
        }
        self.flush()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Server(stream) => stream.read(buffer),
            Self::Client(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Server(stream) => stream.write(buffer),
            Self::Client(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
            Self::Client(stream) => stream.flush(),
        }
    }
}
