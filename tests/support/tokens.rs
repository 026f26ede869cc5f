//! A token server (distribution "Token Authentication"): it lets in who has the password or the identity token, and signs what
//! docker-registry believes.
//!
//! The registry allows clocks to differ by a minute, so a token that is to end now says that it ended a minute ago. What the server
//! tells the client of a token's life is no part of the token: it may be a lie.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::registry::{PASSWORD, USER};
use crate::tls::{self, Authority, Wire};

/// What the server is called, and what it serves.
pub const NAME: &str = "test";
/// An identity token that is worth the password.
pub const IDENTITY: &str = "an-identity-token";
/// How long a registry goes on believing a token that has ended, in seconds.
const LEEWAY: i64 = 60;

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The scopes, as they were asked for.
    pub scopes: Vec<String>,
    /// Whether a right password or identity token came with it.
    pub known: bool,
}

/// How it answers the request of this number, from 0.
pub type Manners = Box<dyn Fn(usize) -> Manner + Send + Sync>;

/// One way to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With a token that holds for so many seconds, and the claim that it holds for an hour.
    Token(i64),
    /// With this status and nothing else.
    Status(u16),
}

/// A running server; it ends with the test's process.
#[derive(Debug)]
pub struct TokenServer {
    port: u16,
    certificate: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl TokenServer {
    /// Starts one over HTTPS.
    pub fn start(authority: &Authority, manners: Manners) -> Result<Self> {
        let pair = authority.issue("tokens")?;
        let signer = Arc::new(Signer::new(&pair.certificate, &pair.key)?);
        let tls = authority.server("token-server")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let port = listener.local_addr()?.port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, manners) = (Arc::clone(&asked), Arc::new(manners));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (signer, seen, manners) = (Arc::clone(&signer), Arc::clone(&seen), Arc::clone(&manners));
                let tls = Arc::clone(&tls);
                std::thread::spawn(move || {
                    // A client that goes away has its reasons.
                    let _ = Wire::accept(stream, Some(&tls))
                        .and_then(|wire| serve(wire, &signer, &seen, &manners));
                });
            }
        });
        Ok(Self { port, certificate: pair.certificate, asked })
    }

    /// The `auth` of a registry's configuration that believes it.
    pub fn configuration(&self) -> String {
        let (port, bundle) = (self.port, self.certificate.display());
        format!(
            "auth: {{token: {{realm: 'https://127.0.0.1:{port}/token', service: {NAME}, issuer: {NAME}, rootcertbundle: {bundle}}}}}\n"
        )
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Signer {
    fn new(certificate: &Path, key: &Path) -> Result<Self> {
        let certificate = tls::certificates(certificate)?.remove(0);
        let key = PrivateKeyDer::from_pem_file(key).context("the key of the token server")?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), &random)
            .map_err(|error| anyhow::anyhow!("the key of the token server: {error}"))?;
        Ok(Self { key, certificate: STANDARD.encode(&certificate) })
    }

    /// A token for what `scopes` ask for; who is unknown may only read what is public.
    fn token(&self, scopes: &[String], known: bool, life: i64) -> io::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
        let now = i64::try_from(now).map_err(io::Error::other)?;
        let access: Vec<_> = scopes
            .iter()
            .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
            .filter(|(name, actions)| known || (name.starts_with("public/") && *actions == "pull"))
            .map(|(name, actions)| {
                json!({ "type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>() })
            })
            .collect();
        let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": NAME, "aud": NAME, "sub": if known { USER } else { "" }, "jti": "1",
            "iat": now - 600, "nbf": now - 600, "exp": now + life - LEEWAY, "access": access,
        });
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(head), encode(claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), text.as_bytes())
            .map_err(|_| io::Error::other("no signature"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn serve(mut wire: Wire, signer: &Signer, seen: &Mutex<Vec<Asked>>, manners: &Manners) -> io::Result<()> {
    let request = crate::proxy::head(&mut wire)?;
    let mut form = vec![0; request.length()];
    wire.read_exact(&mut form)?;
    let form = String::from_utf8_lossy(&form).into_owned();
    let target = request.line.split(' ').nth(1).unwrap_or_default();
    let query = target.split_once('?').map_or(form.as_str(), |(_, query)| query);
    let pairs: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect();
    let values =
        |name: &'static str| pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.clone());
    let scopes: Vec<String> =
        values("scope").flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let given = request.get("authorization").map(str::to_owned);
    let known = given.as_deref() == Some(&basic)
        || (values("grant_type").eq(["refresh_token"]) && values("refresh_token").eq([IDENTITY]));
    let number = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Asked { scopes: scopes.clone(), known });
        seen.len() - 1
    };
    let wrong = !known && (given.is_some() || !form.is_empty());
    let (status, body) = match manners(number) {
        Manner::Status(status) => (status, String::new()),
        Manner::Token(_) if wrong || !values("service").eq([NAME]) => (401, String::new()),
        Manner::Token(life) => {
            let token = signer.token(&scopes, known, life)?;
            (200, json!({ "token": token, "access_token": token, "expires_in": 3600 }).to_string())
        }
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} Answer\r\nRetry-After: 0\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    wire.write_all(text.as_bytes())?;
    wire.finish()
}

/// A part of a form or query without its percent signs.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
