//! Answers to challenges: Basic, and Bearer tokens (distribution "Token Authentication" and its OAuth2 form).
//!
//! A grant is kept for one repository and one scope, because credentials and tokens may differ by repository. Several
//! requests that are challenged at once lead to one token request. Tokens live in memory only.

use crate::challenge::Challenge;
use crate::credentials::{Credentials, CredentialsError, Found, Login};
use crate::endpoint::Repository;
use crate::error::RegistryError;
use crate::keychain::{Helpers, server};
use crate::transport::{self, Ask, Transport, bounded_body};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What is to be done in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Read and write, and read another repository of the same registry.
    PushFrom(String),
}

impl Scope {
    fn texts(&self, repository: &Repository) -> Vec<String> {
        let name = &repository.name;
        match self {
            Self::Pull => vec![format!("repository:{name}:pull")],
            Self::Push => vec![format!("repository:{name}:pull,push")],
            Self::PushFrom(other) => {
                vec![format!("repository:{name}:pull,push"), format!("repository:{other}:pull")]
            }
        }
    }
}

/// Registry, repository and scope.
type Key = (String, String, Scope);

struct Grant {
    header: HeaderValue,
    until: Option<Instant>,
}

/// Knows how to be let in.
pub(crate) struct Doorkeeper {
    credentials: Credentials,
    helpers: Option<Arc<dyn Helpers>>,
    /// What helpers said, by their names and the registry's.
    asked: Mutex<HashMap<(String, String), Option<Login>>>,
    grants: Mutex<HashMap<Key, Grant>>,
}

impl Doorkeeper {
    pub(crate) fn new(credentials: Credentials, helpers: Option<Arc<dyn Helpers>>) -> Self {
        Self { credentials, helpers, asked: Mutex::default(), grants: Mutex::default() }
    }

    /// The header to send unasked, if there is one.
    pub(crate) async fn current(&self, ask: &Ask<'_>) -> Result<Option<HeaderValue>, RegistryError> {
        if let Found::Login(Login::Bearer(token)) = self.find(ask.repository) {
            return Ok(Some(header(ask, "Bearer", token.expose())?));
        }
        let grants = self.grants.lock().await;
        let grant =
            grants.get(&key(ask)).filter(|grant| grant.until.is_none_or(|until| Instant::now() < until));
        Ok(grant.map(|grant| grant.header.clone()))
    }

    /// The header that answers `challenges`, after `refused` was not enough.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        ask: &Ask<'_>,
        challenges: &[Challenge],
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let mut grants = self.grants.lock().await;
        let key = key(ask);
        if let Some(newer) = grants.get(&key).filter(|grant| Some(&grant.header) != refused) {
            return Ok(newer.header.clone());
        }
        grants.remove(&key);
        let login = self.login(ask.repository).await?;
        let login = login.as_ref();
        // A token says less than a password; where both will do, it is a token.
        let challenge = challenges.iter().find(|one| **one != Challenge::Basic).or(challenges.first());
        let grant = match (challenge, login) {
            (_, Some(Login::Bearer(_))) => return Err(self.unauthorized(ask, "").await),
            (Some(Challenge::Bearer { realm, service, .. }), login) => {
                self.token(transport, ask, realm, service.as_deref(), login).await?
            }
            (Some(Challenge::Basic), Some(Login::Password { user, password })) if refused.is_none() => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                Grant { header: header(ask, "Basic", &pair)?, until: None }
            }
            _ => return Err(self.unauthorized(ask, "").await),
        };
        let header = grant.header.clone();
        grants.insert(key, grant);
        Ok(header)
    }

    /// Forgets what was granted, because it no longer lets in; a newer grant stays.
    pub(crate) async fn forget(&self, ask: &Ask<'_>, refused: Option<&HeaderValue>) {
        let mut grants = self.grants.lock().await;
        let key = key(ask);
        if grants.get(&key).is_some_and(|grant| Some(&grant.header) == refused) {
            grants.remove(&key);
        }
    }

    /// The error for a door that stays shut; `said` is the registry's reason.
    pub(crate) async fn unauthorized(&self, ask: &Ask<'_>, said: &str) -> RegistryError {
        let used = match (self.login(ask.repository).await, self.find(ask.repository)) {
            (Ok(Some(_)), Found::Helper(helper)) => {
                format!("the credentials of docker-credential-{helper} were not accepted")
            }
            (Ok(Some(_)), _) => "the configured credentials were not accepted".to_owned(),
            (Ok(None), Found::Helper(helper)) => {
                format!("docker-credential-{helper} has no credentials for it")
            }
            (Ok(None), _) => "no credentials are configured for it".to_owned(),
            (Err(error), _) => error.to_string(),
        };
        let why = if said.is_empty() { used } else { format!("{said}; {used}") };
        RegistryError::Unauthorized {
            registry: ask.repository.registry.clone(),
            what: ask.what.to_owned(),
            why,
        }
    }

    fn find(&self, repository: &Repository) -> Found<'_> {
        self.credentials.find(&repository.registry, &repository.name)
    }

    /// The login for a repository; a helper is asked the first time.
    pub(crate) async fn login(&self, repository: &Repository) -> Result<Option<Login>, RegistryError> {
        let helper = match self.find(repository) {
            Found::Login(login) => return Ok(Some(login.clone())),
            Found::Nothing => return Ok(None),
            Found::Helper(helper) => helper,
        };
        let key = (helper.to_owned(), repository.registry.clone());
        let mut asked = self.asked.lock().await;
        if let Some(login) = asked.get(&key) {
            return Ok(login.clone());
        }
        let failed = |why: String| {
            let (registry, helper) = (repository.registry.clone(), helper.to_owned());
            RegistryError::Credentials(CredentialsError::Helper { registry, helper, why })
        };
        let helpers = self.helpers.clone().ok_or_else(|| failed("helpers are not run here".to_owned()))?;
        let (name, server) = (helper.to_owned(), server(&repository.registry).to_owned());
        let answer = match tokio::task::spawn_blocking(move || helpers.get(&name, &server)).await {
            Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let login = answer.map(crate::keychain::HelperLogin::into_login);
        asked.insert(key, login.clone());
        Ok(login)
    }

    async fn token(
        &self,
        transport: &Transport,
        ask: &Ask<'_>,
        realm: &str,
        service: Option<&str>,
        login: Option<&Login>,
    ) -> Result<Grant, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
            #[serde(default)]
            expires_in: Option<u64>,
        }
        let protocol = |why: &str| ask.protocol(format!("{why} from its token server"));
        let mut url = Url::parse(realm).map_err(|_| protocol("an address that is no URL"))?;
        if url.scheme() != "https" && !(url.scheme() == "http" && ask.repository.is_plain()) {
            return Err(ask.protocol("its token server is not reached over HTTPS".to_owned()));
        }
        let http = transport.client(&url);
        let scopes = ask.scope.texts(ask.repository);
        let request = if let Some(Login::Refresh(token)) = login {
            let scope = scopes.join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "wbuild"),
                ("service", service.unwrap_or_default()),
                ("scope", &scope),
                ("refresh_token", token.expose()),
            ];
            http.post(url).form(&form)
        } else {
            {
                let mut query = url.query_pairs_mut();
                service.into_iter().for_each(|service| {
                    query.append_pair("service", service);
                });
                scopes.iter().for_each(|scope| {
                    query.append_pair("scope", scope);
                });
            }
            let request = http.get(url);
            match login {
                Some(Login::Password { user, password }) => request.basic_auth(user, Some(password.expose())),
                _ => request,
            }
        };
        let asked = Instant::now();
        let response = transport::within(ask, request.send()).await?;
        let status = response.status();
        if matches!(status.as_u16(), 400 | 401 | 403) {
            let said = transport::said(response).await;
            return Err(self.unauthorized(ask, &said).await);
        }
        let response = transport::successful(ask, response).await?;
        let body = bounded_body(ask, response, 1 << 20).await?;
        // The parser's message would quote the token.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| protocol("an answer that is no token"))?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let token = given(answer.token).or(given(answer.access_token)).ok_or_else(|| protocol("no token"))?;
        // Renewed a little early, so that a token does not end on its way. 60 s is the specification's default.
        let life = Duration::from_secs(answer.expires_in.unwrap_or(60).clamp(10, 86_400)).mul_f32(0.9);
        Ok(Grant { header: header(ask, "Bearer", &token)?, until: Some(asked + life) })
    }
}

fn key(ask: &Ask<'_>) -> Key {
    (ask.repository.registry.clone(), ask.repository.name.clone(), ask.scope.clone())
}

fn header(ask: &Ask<'_>, scheme: &str, secret: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| {
        ask.protocol(format!("its {scheme} credentials cannot be sent in a {AUTHORIZATION} header"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
