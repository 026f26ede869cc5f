//! One request: authorisation, redirects, and what the answer means.
//!
//! An `Authorization` header goes to the registry itself and to no other origin: it is added for each hop anew. Redirects
//! are followed for reading only and never from HTTPS to HTTP. Bodies of errors are read up to a bound.

use crate::auth::{Doorkeeper, Scope};
use crate::challenge;
use crate::endpoint::Repository;
use crate::error::RegistryError;
use crate::retry::retry_after;
use crate::settings::{Certificates, Patience, Proxies, Roots, Settings};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, NoProxy, Proxy, Request, Response, StatusCode, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

const REDIRECT_LIMIT: usize = 5;
/// How often one request may be challenged: without a token, and once more where the token ended, for whoever asked for it, before this request came.
const CHALLENGE_LIMIT: usize = 2;

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) scope: &'a Scope,
    /// In the user's terms, for messages: `manifest 12 of library/debian`.
    pub(crate) what: &'a str,
    pub(crate) stall: Duration,
}

impl Ask<'_> {
    pub(crate) fn protocol(&self, why: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.repository.registry.clone(),
            what: self.what.to_owned(),
            why,
        }
    }

    pub(crate) fn transport(&self, source: reqwest::Error) -> RegistryError {
        let source = Box::new(source.without_url());
        RegistryError::Transport {
            registry: self.repository.registry.clone(),
            what: self.what.to_owned(),
            source,
        }
    }

    pub(crate) fn stalled(&self, silence: Duration) -> RegistryError {
        RegistryError::Stalled {
            registry: self.repository.registry.clone(),
            what: self.what.to_owned(),
            seconds: silence.as_secs(),
        }
    }
}

/// The way to registries.
pub(crate) struct Transport {
    /// For every host that is not in `special`.
    usual: reqwest::Client,
    /// By `host[:port]` as URLs have it: those with certificates of their own, or whose certificate does not matter.
    special: HashMap<String, reqwest::Client>,
    pub(crate) doorkeeper: Doorkeeper,
    pub(crate) patience: Patience,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        let usual = client(settings, &Certificates::default(), Verification::Full)?;
        let mut special = HashMap::new();
        let unverified = settings.unverified.iter();
        for registry in settings.certificates.keys().chain(unverified) {
            let certificates = settings.certificates.get(registry).cloned().unwrap_or_default();
            let verification = match settings.unverified.contains(registry) {
                true => Verification::None,
                false => Verification::Full,
            };
            special.insert(authority(registry), client(settings, &certificates, verification)?);
        }
        let doorkeeper = Doorkeeper::new(settings.credentials.clone(), settings.helpers.clone());
        Ok(Self { usual, special, doorkeeper, patience: settings.patience.clone() })
    }

    /// The client for a URL: a registry's own certificates go to no other host.
    pub(crate) fn client(&self, url: &Url) -> &reqwest::Client {
        let host = url.host_str().unwrap_or_default();
        let key = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        self.special.get(&key).unwrap_or(&self.usual)
    }

    /// Sends the request that `build` makes for a URL, answers challenges, follows redirects of GET and HEAD, and returns
    /// the first answer that is neither.
    pub(crate) async fn send(
        &self,
        ask: &Ask<'_>,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        self.send_body(ask, method, url, headers, Bytes::new()).await
    }

    /// As [`Transport::send`], with a small body.
    pub(crate) async fn send_body(
        &self,
        ask: &Ask<'_>,
        method: &Method,
        mut url: Url,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, RegistryError> {
        let mut challenged = 0;
        let mut redirects = 0;
        let mut authorization = self.doorkeeper.current(ask).await?;
        loop {
            let mut request = Request::new(method.clone(), url.clone());
            *request.headers_mut() = headers.clone();
            if *method != Method::GET && *method != Method::HEAD {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                *request.body_mut() = Some(body.clone().into());
            }
            let home = ask.repository.is_home_of(&url);
            if let Some(value) = authorization.as_ref().filter(|_| home) {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            tracing::debug!(%method, host = url.host_str(), path = url.path(), "request");
            let response = within(ask, self.client(&url).execute(request)).await?;
            let response = self.in_its_language(ask, &url, response).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && home && challenged < CHALLENGE_LIMIT {
                challenged += 1;
                let challenges = challenges(response.headers());
                let answer = self.doorkeeper.answer(self, ask, &challenges, authorization.as_ref()).await?;
                authorization = Some(answer);
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && home {
                self.doorkeeper.forget(ask, authorization.as_ref()).await;
            }
            let reading = *method == Method::GET || *method == Method::HEAD;
            if reading && status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                redirects += 1;
                if redirects > REDIRECT_LIMIT {
                    return Err(ask.protocol("it redirects too often".to_owned()));
                }
                url = self.location(ask, &url, response.headers())?;
                continue;
            }
            return Ok(response);
        }
    }

    /// As [`Transport::send`], and an answer that is no success is an error.
    pub(crate) async fn request(
        &self,
        ask: &Ask<'_>,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        let response = self.send(ask, method, url, headers).await?;
        self.successful(ask, response).await
    }

    /// The answer, if it is a success; else what it says.
    pub(crate) async fn successful(
        &self,
        ask: &Ask<'_>,
        response: Response,
    ) -> Result<Response, RegistryError> {
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let said = said(response).await;
            return Err(self.doorkeeper.unauthorized(ask, &said).await);
        }
        successful(ask, response).await
    }

    /// The answer, unless it says that the registry speaks HTTPS and was spoken to over HTTP: Go's servers and nginx answer so.
    async fn in_its_language(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        response: Response,
    ) -> Result<Response, RegistryError> {
        // Others may have learnt it since this request went out: its own scheme counts.
        let in_doubt = ask.repository.is_guessed() && url.scheme() == "http";
        if response.status() != StatusCode::BAD_REQUEST || !in_doubt {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = bounded_body(ask, response, 1 << 20).await?;
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if text.is_empty() {
            // An answer to HEAD says nothing: the same question again, so that it does.
            let mut root = url.clone();
            root.set_path("/v2/");
            root.set_query(None);
            let asked = within(ask, self.client(&root).get(root).send()).await?;
            text = String::from_utf8_lossy(&bounded_body(ask, asked, 1 << 20).await?).into_owned();
        }
        let mistaken = text.contains("HTTP request to an HTTPS server")
            || text.contains("HTTP request was sent to HTTPS");
        if mistaken {
            ask.repository.speaks_https();
            let (registry, what) = (ask.repository.registry.clone(), ask.what.to_owned());
            return Err(RegistryError::Expired { registry, what, why: "it speaks HTTPS" });
        }
        let mut parts = http::Response::new(body);
        *parts.status_mut() = status;
        *parts.headers_mut() = headers;
        Ok(parts.into())
    }

    /// Where an answer to a request at `url` points.
    pub(crate) fn location(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Url, RegistryError> {
        let location = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| url.join(text).ok())
            .ok_or_else(|| ask.protocol("it points to no usable location".to_owned()))?;
        let downgrade = url.scheme() == "https" && location.scheme() != "https";
        if downgrade || !matches!(location.scheme(), "http" | "https") {
            return Err(ask.protocol(format!("it leads from HTTPS to {}", location.scheme())));
        }
        Ok(location)
    }
}

/// Whether a certificate is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verification {
    Full,
    None,
}

fn client(
    settings: &Settings,
    own: &Certificates,
    verification: Verification,
) -> Result<reqwest::Client, RegistryError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("wbuild/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.patience.connect)
        .tcp_keepalive(Duration::from_secs(30))
        .http2_adaptive_window(true)
        .danger_accept_invalid_certs(verification == Verification::None)
        .no_proxy();
    for proxy in proxies(&settings.proxies)? {
        builder = builder.proxy(proxy);
    }
    let (documents, bundled) = match &settings.roots {
        Roots::Bundled => (&[][..], true),
        Roots::Only(documents) => (documents.as_slice(), false),
        Roots::Also(documents) => (documents.as_slice(), true),
    };
    builder = builder.tls_built_in_root_certs(bundled);
    for document in documents.iter().chain(&own.roots) {
        let certificates = reqwest::Certificate::from_pem_bundle(document)
            .map_err(|source| setup("a document of certificates is not PEM", source))?;
        if certificates.is_empty() {
            return Err(RegistryError::Setup { what: "a document of certificates has none", source: None });
        }
        builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    if let Some(identity) = &own.identity {
        let identity = reqwest::Identity::from_pem(identity)
            .map_err(|source| setup("a client certificate and its key cannot be used", source))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|source| setup("its certificates cannot be used", source))
}

/// A registry as URLs name it: Docker Hub is elsewhere than its name says, and a default port goes.
fn authority(registry: &str) -> String {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase()
}

fn challenges(headers: &HeaderMap) -> Vec<challenge::Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(challenge::parse).collect()
}

fn proxies(proxies: &Proxies) -> Result<Vec<Proxy>, RegistryError> {
    // What is on this machine is reached directly, whatever the environment says.
    let except = format!("localhost,127.0.0.0/8,::1,{}", proxies.except.as_deref().unwrap_or_default());
    let http = proxies.http.as_deref().map(Proxy::http);
    let https = proxies.https.as_deref().map(Proxy::https);
    http.into_iter()
        .chain(https)
        .map(|made| match made {
            Ok(proxy) => Ok(proxy.no_proxy(NoProxy::from_string(&except))),
            // The error would show the address, and that may hold a password.
            Err(_) => Err(RegistryError::Setup { what: "a proxy's address is no URL", source: None }),
        })
        .collect()
}

fn setup(what: &'static str, source: reqwest::Error) -> RegistryError {
    RegistryError::Setup { what, source: Some(Box::new(source)) }
}

/// Waits for an answer as long as the registry may be silent.
pub(crate) async fn within(
    ask: &Ask<'_>,
    answer: impl Future<Output = reqwest::Result<Response>>,
) -> Result<Response, RegistryError> {
    match tokio::time::timeout(ask.stall, answer).await {
        Ok(result) => result.map_err(|source| ask.transport(source)),
        Err(_) => Err(ask.stalled(ask.stall)),
    }
}

/// The answer, if it is a success; else what it says.
pub(crate) async fn successful(ask: &Ask<'_>, response: Response) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        // Reading has followed it; an upload goes where its location says and nowhere else.
        return Err(ask.protocol(format!("it answered {} to what it cannot lead elsewhere", status.as_u16())));
    }
    let registry = ask.repository.registry.clone();
    let what = ask.what.to_owned();
    let retry_after = retry_after(response.headers());
    let said = said(response).await;
    Err(match status {
        StatusCode::NOT_FOUND => RegistryError::NotFound { registry, what, said },
        _ => RegistryError::Status { registry, what, status: status.as_u16(), said, retry_after },
    })
}

/// The codes and messages of an error's body (distribution-spec "Error Codes"), as one printable line.
pub(crate) async fn said(response: Response) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: Option<String>,
    }
    const LIMIT: usize = 64 << 10;
    let mut body = Vec::new();
    let mut response = response;
    let patience = Duration::from_secs(5);
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(patience, response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            return String::new();
        }
    }
    let Ok(errors) = serde_json::from_slice::<Errors>(&body) else { return String::new() };
    let one = |error: One| match error.message.filter(|text| !text.is_empty()) {
        Some(message) => format!("{} ({message})", error.code),
        None => error.code,
    };
    let text = errors.errors.into_iter().map(one).collect::<Vec<_>>().join(", ");
    text.chars().filter(|character| !character.is_control()).take(300).collect()
}

/// A whole small body.
pub(crate) async fn bounded_body(
    ask: &Ask<'_>,
    mut response: Response,
    limit: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    loop {
        let chunk = tokio::time::timeout(ask.stall, response.chunk()).await;
        match chunk.map_err(|_| ask.stalled(ask.stall))?.map_err(|source| ask.transport(source))? {
            None => return Ok(body),
            Some(chunk) => body.extend_from_slice(&chunk),
        }
        if body.len() as u64 > limit {
            return Err(ask.protocol(format!("it is larger than {limit} bytes")));
        }
    }
}
