//! Requests to git servers: with the certificates, proxies and patience of the registries, and BuildKit's secrets as logins.
//!
//! A login goes to the repository it is for. A secret of one host (`GIT_AUTH_TOKEN.HOST`) goes to that host alone; one without a host to the
//! repository that the build names and what is beneath its URL, and for github.com to all of github.com, as BuildKit has it; so a submodule
//! elsewhere gets none. It is added for each hop anew, so a redirect takes none along.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use tokio::runtime::Handle;
use wbuild_git::{Answer, Checkout, GitError, Http, HttpFailure, Limits};
use wbuild_oci::{Digest, GitLogin, GitSource, GitTransport};
use wbuild_store::{Admit, GitFound, RemoteError, Store};

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::{Repository, Scheme};
use crate::error::RegistryError;
use crate::retry::{Attempts, Headway};
use crate::transport::{Ask, Transport, successful, within};

const REDIRECT_LIMIT: usize = 5;
const TOKEN: &str = "GIT_AUTH_TOKEN";
const HEADER: &str = "GIT_AUTH_HEADER";

/// Logins for git servers; prints without them.
#[derive(Clone, Default)]
pub struct GitLogins {
    secrets: BTreeMap<String, Vec<u8>>,
    /// By repository: what stood in its URL.
    urls: BTreeMap<String, GitLogin>,
}

impl std::fmt::Debug for GitLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitLogins").field("secrets", &self.secrets.keys()).finish_non_exhaustive()
    }
}

impl GitLogins {
    /// Whether a secret with this id is a login.
    #[must_use]
    pub fn is_login(id: &str) -> bool {
        id.split('.').next().is_some_and(|name| name == TOKEN || name == HEADER)
    }

    /// Takes those of a build's secrets that are logins: `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, each alone or with `.HOST[:PORT]`.
    pub fn add_secrets<'s>(&mut self, secrets: impl Iterator<Item = (&'s str, &'s [u8])>) {
        let logins = secrets.filter(|(id, _)| Self::is_login(id));
        self.secrets.extend(logins.map(|(id, content)| (id.to_owned(), content.trim_ascii().to_vec())));
    }

    /// Takes the login that stood in the URL of a source.
    pub fn add_url(&mut self, source: &GitSource) {
        if let Some(login) = &source.login {
            self.urls.insert(source.remote.clone(), login.clone());
        }
    }

    /// What goes along with a request to `url` for the sake of the source at `main`.
    fn authorization(&self, main: &str, url: &Url) -> Option<HeaderValue> {
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return None,
        };
        let basic = |user: &[u8], password: &[u8]| {
            format!("Basic {}", STANDARD.encode([user, b":", password].concat())).into_bytes()
        };
        let token = |content: &[u8]| basic(b"x-access-token", content);
        let of_host = |name: &str| self.secrets.get(&format!("{name}.{host}"));
        let of_all = |name: &str| self.secrets.get(name);
        let scope =
            ["https://github.com/", "https://www.github.com/"].into_iter().find(|p| main.starts_with(p));
        let within = match scope {
            Some(scope) => url.as_str().starts_with(scope),
            None => url.as_str().strip_prefix(main).is_some_and(|rest| rest.starts_with('/')),
        };
        let text = of_host(HEADER)
            .cloned()
            .or_else(|| of_host(TOKEN).map(|content| token(content)))
            .or_else(|| of_all(HEADER).filter(|_| within).cloned())
            .or_else(|| of_all(TOKEN).filter(|_| within).map(|content| token(content)))
            .or_else(|| {
                let login = self.urls.get(main).filter(|_| within)?;
                Some(basic(login.user.as_bytes(), login.password.as_bytes()))
            })?;
        let mut value = HeaderValue::from_bytes(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Ends the work of a thread whose answer nobody waits for any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Client {
    pub(crate) async fn find_commit(&self, source: &GitSource) -> Result<GitFound, RemoteError> {
        let wanted = source.clone();
        let find = move |http: &Requests| wbuild_git::find(http, &wanted, &Limits::default());
        self.on_git(source, find).await
    }

    pub(crate) async fn check_out(
        &self,
        store: &Store,
        source: &GitSource,
        found: &GitFound,
        admit: Arc<Admit>,
    ) -> Result<Digest, RemoteError> {
        let (store, wanted, found) = (store.clone(), source.clone(), found.clone());
        let work = move |http: &Requests| {
            let (store, source, found, admit) = (&store, &wanted, &found, &*admit);
            wbuild_git::checkout(&Checkout { http, store, source, found, admit, limits: Limits::default() })
        };
        self.on_git(source, work).await
    }

    /// Does work that asks a git server, in a thread where it may wait. What was cut is begun again.
    async fn on_git<T: Send + 'static>(
        &self,
        source: &GitSource,
        work: impl Fn(&Requests) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let failed = |error: GitError| RemoteError::new(error.class(), &source.remote, error);
        let refused =
            |why: &str| failed(GitError::NotGit { remote: source.remote.clone(), why: why.to_owned() });
        if let Some(why) = source.unreachable() {
            return Err(refused(&format!(": {why}")));
        }
        let plain = source.transport == GitTransport::Http;
        if plain && !source.is_loopback() && !self.settings.plain_http.contains(source.host()) {
            return Err(refused(
                " over HTTPS: plain HTTP is used only on loopback and for --plain-http HOST",
            ));
        }
        let over = Arc::new(AtomicBool::new(false));
        let requests = Requests {
            transport: Arc::clone(&self.transport),
            logins: self.settings.git.clone(),
            main: source.remote.clone(),
            handle: Handle::current(),
            over: Arc::clone(&over),
        };
        let _waiting = Waiting(over);
        let attempts = self.settings.patience.attempts.max(1);
        let pause = self.settings.patience.pause;
        let work = move || {
            let mut attempt = 1;
            loop {
                match work(&requests) {
                    Err(GitError::Cut { .. }) if attempt < attempts && !requests.is_over() => {
                        std::thread::sleep(pause.saturating_mul(1 << attempt.min(5)));
                        attempt += 1;
                    }
                    other => return other,
                }
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(failed),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Makes the requests of one source, from a thread that may wait.
struct Requests {
    transport: Arc<Transport>,
    logins: GitLogins,
    /// The repository that the build names.
    main: String,
    handle: Handle,
    over: Arc<AtomicBool>,
}

impl Requests {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn send(&self, text: &str, body: Option<Vec<u8>>) -> Result<Answer, HttpFailure> {
        let failed = |error: RegistryError| HttpFailure { class: error.class(), source: Box::new(error) };
        let setup = |what, source: Option<Box<dyn std::error::Error + Send + Sync>>| {
            failed(RegistryError::Setup { what, source })
        };
        let url =
            Url::parse(text).map_err(|error| setup("a git URL cannot be read", Some(Box::new(error))))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let scheme = if url.scheme() == "http" { Scheme::Http } else { Scheme::Https };
        let place = Repository::new(&host, &host, String::new(), scheme).map_err(failed)?;
        let what = format!("the git repository at {}", url.path());
        let stall = self.transport.patience.stall;
        let ask = Ask { repository: &place, scope: &Scope::Pull, what: &what, stall };
        let sent = async {
            let mut attempts = Attempts::new(&self.transport.patience);
            loop {
                match self.attempt(&ask, url.clone(), body.as_deref()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => attempts.after(error, Headway::None).await?,
                }
            }
        };
        let (url, response) = self.handle.block_on(sent).map_err(failed)?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = Body {
            response,
            piece: Default::default(),
            handle: self.handle.clone(),
            stall,
            over: Arc::clone(&self.over),
        };
        Ok(Answer { url: url.to_string(), content_type, body: Box::new(body) })
    }

    async fn attempt(
        &self,
        ask: &Ask<'_>,
        mut url: Url,
        body: Option<&[u8]>,
    ) -> Result<(Url, Response), RegistryError> {
        for _ in 0..REDIRECT_LIMIT {
            let client = self.transport.client(&url);
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));
            let mut request = match body {
                None => client.get(url.clone()),
                Some(body) => {
                    let kind = HeaderValue::from_static("application/x-git-upload-pack-request");
                    headers.insert(CONTENT_TYPE, kind);
                    client.post(url.clone()).body(body.to_vec())
                }
            };
            let authorization = self.logins.authorization(&self.main, &url);
            let known = authorization.is_some();
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, value);
            }
            request = request.headers(headers);
            tracing::debug!(host = url.host_str(), path = url.path(), "git request");
            let response = within(ask, request.send()).await?;
            let status = response.status();
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                return Err(unauthorized(ask, known));
            }
            if body.is_some() || !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Ok((url, successful(ask, response).await?));
            }
            url = self.transport.location(ask, &url, response.headers())?;
        }
        Err(ask.protocol("it redirects too often".to_owned()))
    }
}

fn unauthorized(ask: &Ask<'_>, known: bool) -> RegistryError {
    let registry = ask.repository.registry.clone();
    let why = if known {
        "it does not take the credentials of the build's secrets".to_owned()
    } else {
        format!("it wants credentials: --secret id={TOKEN}.{registry},env=VARIABLE gives them")
    };
    RegistryError::Unauthorized { registry, what: ask.what.to_owned(), why }
}

impl Http for Requests {
    fn get(&self, url: &str) -> Result<Answer, HttpFailure> {
        self.send(url, None)
    }

    fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, HttpFailure> {
        self.send(url, Some(body))
    }
}

/// The body of an answer, for a thread that may wait.
struct Body {
    response: Response,
    piece: bytes::Bytes,
    handle: Handle,
    stall: Duration,
    over: Arc<AtomicBool>,
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if self.over.load(Ordering::Relaxed) {
                return Err(io::Error::other("the build has ended"));
            }
            let next =
                self.handle.block_on(async { tokio::time::timeout(self.stall, self.response.chunk()).await });
            match next {
                Ok(Ok(Some(piece))) => self.piece = piece,
                Ok(Ok(None)) => return Ok(0),
                Ok(Err(error)) => return Err(io::Error::other(error.without_url())),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let count = out.len().min(self.piece.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(secrets: &[(&str, &str)]) -> GitLogins {
        let mut logins = GitLogins::default();
        logins.add_secrets(secrets.iter().map(|(id, content)| (*id, content.as_bytes())));
        logins
    }

    fn sent(logins: &GitLogins, main: &str, url: &str) -> Option<String> {
        let value = logins.authorization(main, &Url::parse(url).unwrap())?;
        assert!(value.is_sensitive());
        Some(String::from_utf8(value.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_token_goes_to_the_repository_of_the_build_alone() {
        let logins = logins(&[("GIT_AUTH_TOKEN", "hunter2\n"), ("OTHER", "x")]);
        let main = "https://h.example/a/b.git";
        let basic = format!("Basic {}", STANDARD.encode("x-access-token:hunter2"));
        let at = |url: &str| sent(&logins, main, url);
        assert_eq!(at("https://h.example/a/b.git/info/refs?service=git-upload-pack"), Some(basic));
        for url in [
            "https://h.example/a/b.git.evil/info/refs",
            "https://h.example/a/c.git/info/refs",
            "https://evil.example/a/b.git/info/refs",
            "http://h.example/a/b.git/info/refs",
        ] {
            assert_eq!(at(url), None, "{url}");
        }
        assert!(!format!("{logins:?}").contains("hunter"));
    }

    #[test]
    fn a_secret_of_a_host_goes_to_that_host_and_comes_first() {
        let logins = logins(&[
            ("GIT_AUTH_HEADER", "Bearer all"),
            ("GIT_AUTH_HEADER.h.example", "Bearer one"),
            ("GIT_AUTH_TOKEN.h.example", "no"),
        ]);
        let main = "https://m.example/a.git";
        assert_eq!(sent(&logins, main, "https://m.example/a.git/x").as_deref(), Some("Bearer all"));
        assert_eq!(sent(&logins, main, "https://h.example/lib.git/x").as_deref(), Some("Bearer one"));
        assert_eq!(sent(&logins, main, "https://h.example:8443/lib.git/x"), None);
    }

    #[test]
    fn a_token_for_one_repository_of_github_serves_its_others() {
        let logins = logins(&[("GIT_AUTH_TOKEN", "t")]);
        let main = "https://github.com/o/a.git";
        assert!(sent(&logins, main, "https://github.com/o/b.git/info/refs").is_some());
        assert!(sent(&logins, main, "https://github.com.evil.example/o/b.git/info/refs").is_none());
    }

    #[test]
    fn the_login_of_a_url_goes_where_the_url_says() {
        let source = GitSource::parse("https://u:p@h.example/a.git#main").unwrap().unwrap();
        let mut logins = GitLogins::default();
        logins.add_url(&source);
        let basic = format!("Basic {}", STANDARD.encode("u:p"));
        assert_eq!(sent(&logins, &source.remote, "https://h.example/a.git/info/refs"), Some(basic));
        assert_eq!(sent(&logins, &source.remote, "https://h.example/b.git/info/refs"), None);
    }
}
