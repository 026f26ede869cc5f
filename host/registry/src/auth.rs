//! Answers to challenges: Basic, and Bearer tokens (distribution "Token Authentication" and its OAuth2 form).
//!
//! A grant is kept for one repository and one scope, because credentials and tokens may differ by repository. Several
//! requests that are challenged at once lead to one token request. Tokens live in memory only.

use crate::challenge::Challenge;
use crate::credentials::{Credentials, Login};
use crate::endpoint::Repository;
use crate::error::RegistryError;
use crate::transport::{self, Ask, bounded_body};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use std::collections::HashMap;
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
    grants: Mutex<HashMap<Key, Grant>>,
}

impl Doorkeeper {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, grants: Mutex::default() }
    }

    /// The header to send unasked, if there is one.
    pub(crate) async fn current(&self, ask: &Ask<'_>) -> Result<Option<HeaderValue>, RegistryError> {
        if let Some(Login::Bearer(token)) = self.login(ask)? {
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
        http: &reqwest::Client,
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
        let login = self.login(ask)?;
        // A token says less than a password; where both will do, it is a token.
        let challenge = challenges.iter().find(|one| **one != Challenge::Basic).or(challenges.first());
        let grant = match (challenge, login) {
            (_, Some(Login::Bearer(_))) => return Err(self.unauthorized(ask, "")),
            (Some(Challenge::Bearer { realm, service, .. }), login) => {
                self.token(http, ask, realm, service.as_deref(), login).await?
            }
            (Some(Challenge::Basic), Some(Login::Password { user, password })) if refused.is_none() => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                Grant { header: header(ask, "Basic", &pair)?, until: None }
            }
            _ => return Err(self.unauthorized(ask, "")),
        };
        let header = grant.header.clone();
        grants.insert(key, grant);
        Ok(header)
    }

    /// Forgets what was granted, because it no longer lets in.
    pub(crate) async fn forget(&self, ask: &Ask<'_>) {
        self.grants.lock().await.remove(&key(ask));
    }

    /// The error for a door that stays shut; `said` is the registry's reason.
    pub(crate) fn unauthorized(&self, ask: &Ask<'_>, said: &str) -> RegistryError {
        let used = match self.login(ask) {
            Ok(Some(_)) => "the configured credentials were not accepted".to_owned(),
            Ok(None) => match self.credentials.helper() {
                Some(helper) => format!(
                    "no credentials are configured for it, and the helper docker-credential-{helper} is not asked: \
                     credential helpers are not supported yet"
                ),
                None => "no credentials are configured for it".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let why = if said.is_empty() { used } else { format!("{said}; {used}") };
        RegistryError::Unauthorized {
            registry: ask.repository.registry.clone(),
            what: ask.what.to_owned(),
            why,
        }
    }

    fn login(&self, ask: &Ask<'_>) -> Result<Option<&Login>, RegistryError> {
        Ok(self.credentials.login(&ask.repository.registry, &ask.repository.name)?)
    }

    async fn token(
        &self,
        http: &reqwest::Client,
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
            return Err(self.unauthorized(ask, &said));
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
