//! Git repositories as sources, in BuildKit's two spellings: `REPO.git#REF:SUBDIR` and `REPO.git?ref=..&subdir=..`.
//!
//! What a query says that is not known here is an error: nothing is accepted and ignored. Nothing is looked up. Of a login within
//! a URL no message, no debug output and no comparison of repositories shows anything.

use std::fmt;

/// A git repository, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitSource {
    /// Its URL without login, query and fragment; for ssh in scp's form as it was written.
    pub remote: String,
    /// How it is reached.
    pub transport: GitTransport,
    /// The login that stood in the URL.
    pub login: Option<GitLogin>,
    /// A branch, a tag, a full ref or a commit; empty is the default branch.
    pub reference: String,
    /// What the commit's id begins with, in lowercase; empty where anything is taken.
    pub checksum: String,
    /// The directory that is wanted, clean and without slashes around it; empty is all of it.
    pub subdir: String,
    /// What happens to the repository's own directory; `None` where the source says nothing of it.
    pub git_dir: Option<GitDir>,
    /// What happens to submodules.
    pub submodules: Submodules,
    /// Which times files get.
    pub times: GitTimes,
    /// What decides the commit.
    pub pinning: Pinning,
}

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitTransport {
    /// `https://`
    Https,
    /// `http://`
    Http,
    /// `ssh://` and `user@host:path`
    Ssh,
    /// `git://`
    Git,
}

/// What happens to `.git`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitDir {
    /// It is there.
    Kept,
    /// Only the files of the commit are.
    LeftOut,
}

/// What happens to submodules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Submodules {
    /// They are fetched, and theirs.
    Fetched,
    /// Their directories are empty.
    Empty,
}

/// Which times the files of a commit get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitTimes {
    /// The committer's.
    Commit,
    /// Of when they were written.
    Checkout,
}

/// What decides the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pinning {
    /// The reference; a checksum is compared.
    ByReference,
    /// `fetch-by-commit`: the checksum, whatever the reference is now.
    ByCommit,
}

/// `user[:password]` of a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitLogin {
    /// The user.
    pub user: String,
    /// The password, which may be empty.
    pub password: String,
}

impl fmt::Debug for GitLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitLogin(..)")
    }
}

/// Why what looks like a git repository cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitSourceError {
    /// The URL is none.
    #[error("the git URL {0}")]
    Url(&'static str),
    /// The query asks for what is not known.
    #[error("unexpected query {0:?} of a git URL")]
    Unknown(String),
    /// A part of the query has no usable value.
    #[error("query {key:?} of a git URL {why}")]
    Query {
        /// The key.
        key: String,
        /// What is wrong with its value.
        why: String,
    },
    /// Two parts say different things.
    #[error("{key} conflicts: {first:?} vs {second:?}")]
    Conflict {
        /// What is said twice.
        key: &'static str,
        /// Once.
        first: String,
        /// And again.
        second: String,
    },
}

impl GitSource {
    /// Reads `text` if it names a git repository, as BuildKit tells it in ADD: an `http(s)://` URL that ends in `.git`, `git://`,
    /// `ssh://`, or `user@host:path`. `None` for anything else.
    ///
    /// # Errors
    /// It names one, but not in a way that can be used.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, GitSourceError>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        let Some((scheme, rest)) = text.split_once("://") else { return scp(text) };
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "https" => GitTransport::Https,
            "http" => GitTransport::Http,
            "ssh" => GitTransport::Ssh,
            "git" => GitTransport::Git,
            _ => return None,
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let web = matches!(transport, GitTransport::Http | GitTransport::Https);
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        if web && !path.ends_with(".git") {
            return None;
        }
        Some(url(transport, authority, path).and_then(|source| source.with(query, fragment)))
    }

    /// As [`GitSource::parse`], and the short form `github.com/USER/REPO`, which only a build context can have: elsewhere it is a path.
    ///
    /// # Errors
    /// As [`GitSource::parse`].
    #[must_use]
    pub fn parse_context(text: &str) -> Option<Result<Self, GitSourceError>> {
        if !text.starts_with("github.com/") {
            return Self::parse(text);
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        Some(url(GitTransport::Https, authority, path).and_then(|source| source.with(query, fragment)))
    }

    /// The repository of a submodule: any `http(s)://` URL, or another that [`GitSource::parse`] takes.
    ///
    /// # Errors
    /// It is no URL of a kind that git has.
    pub fn parse_remote(text: &str) -> Result<Self, GitSourceError> {
        match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) if !rest.contains(['?', '#']) => {
                let transport = if scheme == "http" { GitTransport::Http } else { GitTransport::Https };
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                url(transport, authority, path)
            }
            _ => Self::parse(text).unwrap_or(Err(GitSourceError::Url("is of no known kind"))),
        }
    }

    /// `host[:port]` of the repository.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.remote.split_once("://") {
            Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
            None => {
                let rest = self.remote.split_once('@').map_or(self.remote.as_str(), |(_, rest)| rest);
                rest.split(':').next().unwrap_or_default()
            }
        }
    }

    /// Whether the repository is on this machine: 127.0.0.0/8, ::1, localhost.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Why a repository cannot be reached in the way that its URL says; `None` where it can.
    #[must_use]
    pub fn unreachable(&self) -> Option<&'static str> {
        match self.transport {
            GitTransport::Https | GitTransport::Http => None,
            GitTransport::Ssh => Some("wbuild does not speak ssh"),
            GitTransport::Git => {
                Some("git:// says neither who answers nor whether it was changed on the way")
            }
        }
    }

    /// Whether the reference is a commit's id in full.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        is_commit_id(&self.reference)
    }

    fn with(mut self, query: &str, fragment: &str) -> Result<Self, GitSourceError> {
        let fragment = decoded(fragment);
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
        reference.clone_into(&mut self.reference);
        subdir.clone_into(&mut self.subdir);
        self.query(query)?;
        self.subdir = clean(&self.subdir);
        let usable = |text: &str| !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c == ' ');
        if !usable(&self.reference) {
            return Err(GitSourceError::Url("has a ref that cannot be one"));
        }
        if self.subdir.contains('\0') {
            return Err(GitSourceError::Url("has a directory that cannot be one"));
        }
        if self.pinning == Pinning::ByCommit && !is_commit_id(&self.checksum) && !self.is_commit() {
            return Err(GitSourceError::Query {
                key: "fetch-by-commit".to_owned(),
                why: "needs a whole commit id as checksum".to_owned(),
            });
        }
        Ok(self)
    }

    fn query(&mut self, query: &str) -> Result<(), GitSourceError> {
        let (mut tag, mut branch) = (String::new(), String::new());
        let mut seen: Vec<String> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")));
            let wrong = |why: String| GitSourceError::Query { key: key.clone(), why };
            if seen.contains(&key) {
                return Err(wrong("has multiple values".to_owned()));
            }
            seen.push(key.clone());
            let switch = || match value.as_str() {
                "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                other => Err(wrong(format!("is neither true nor false: {other:?}"))),
            };
            let known = ["ref", "tag", "branch", "subdir", "checksum", "commit", "mtime"];
            if known.contains(&key.as_str()) && value.is_empty() {
                return Err(wrong("has no value".to_owned()));
            }
            match key.as_str() {
                "ref" => one("ref", &mut self.reference, value)?,
                "tag" => tag = value,
                "branch" => branch = value,
                "subdir" => one("subdir", &mut self.subdir, value)?,
                "checksum" | "commit" => {
                    let checksum = checksum(&value).ok_or_else(|| wrong("is no commit id".to_owned()))?;
                    one("checksum", &mut self.checksum, checksum)?;
                }
                "keep-git-dir" => {
                    self.git_dir = Some(if switch()? { GitDir::Kept } else { GitDir::LeftOut });
                }
                "submodules" => {
                    self.submodules = if switch()? { Submodules::Fetched } else { Submodules::Empty };
                }
                "mtime" => {
                    self.times = match value.as_str() {
                        "commit" => GitTimes::Commit,
                        "checkout" => GitTimes::Checkout,
                        other => return Err(wrong(format!("is neither commit nor checkout: {other:?}"))),
                    }
                }
                "fetch-by-commit" => {
                    self.pinning = if switch()? { Pinning::ByCommit } else { Pinning::ByReference };
                }
                _ => return Err(GitSourceError::Unknown(key)),
            }
        }
        let full = |prefix: &str, name: String| match name.starts_with(prefix) {
            true => name,
            false => format!("{prefix}{name}"),
        };
        if !tag.is_empty() {
            one("ref", &mut self.reference, full("refs/tags/", tag.clone()))?;
        }
        if !branch.is_empty() {
            if !tag.is_empty() {
                return Err(GitSourceError::Conflict { key: "ref", first: tag, second: branch });
            }
            one("ref", &mut self.reference, full("refs/heads/", branch))?;
        }
        Ok(())
    }
}

/// The repository with what is wanted of it, in the short spelling: what messages and provenance call it.
impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.remote)?;
        match (self.reference.as_str(), self.subdir.as_str()) {
            ("", "") => Ok(()),
            (reference, "") => write!(f, "#{reference}"),
            (reference, subdir) => write!(f, "#{reference}:{subdir}"),
        }
    }
}

/// Whether `text` is a commit's id in full: SHA-1 or SHA-256 in lowercase hexadecimal.
#[must_use]
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What the id of a commit has to begin with, in lowercase.
#[must_use]
pub fn checksum(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

/// Sets what must not be said twice in two ways.
fn one(key: &'static str, there: &mut String, value: String) -> Result<(), GitSourceError> {
    if !there.is_empty() && *there != value {
        return Err(GitSourceError::Conflict { key, first: there.clone(), second: value });
    }
    *there = value;
    Ok(())
}

fn plain(remote: String, transport: GitTransport, login: Option<GitLogin>) -> GitSource {
    GitSource {
        remote,
        transport,
        login,
        reference: String::new(),
        checksum: String::new(),
        subdir: String::new(),
        git_dir: None,
        submodules: Submodules::Fetched,
        times: GitTimes::Commit,
        pinning: Pinning::ByReference,
    }
}

fn url(transport: GitTransport, authority: &str, path: &str) -> Result<GitSource, GitSourceError> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let usable =
        |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'));
    if host.is_empty() || host.starts_with(':') {
        return Err(GitSourceError::Url("has no host"));
    }
    if !usable(host) || !usable(path) || path.is_empty() {
        return Err(GitSourceError::Url("has no usable path"));
    }
    let login = user.filter(|user| !user.is_empty()).map(|user| {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        GitLogin { user: decoded(user), password: decoded(password) }
    });
    let scheme = match transport {
        GitTransport::Https => "https",
        GitTransport::Http => "http",
        GitTransport::Ssh => "ssh",
        GitTransport::Git => "git",
    };
    Ok(plain(format!("{scheme}://{host}/{path}"), transport, login))
}

/// `user@host:path`, with nothing but a name before the `@`.
fn scp(text: &str) -> Option<Result<GitSource, GitSourceError>> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, place) = address.split_once('@')?;
    let (host, path) = place.split_once(':')?;
    let name = |s: &str, more: &[u8]| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || more.contains(&b))
    };
    if !name(user, b"-.") || !name(host, b"-.") || path.is_empty() {
        return None;
    }
    Some(plain(address.to_owned(), GitTransport::Ssh, None).with(query, fragment))
}

/// As Go's `path.Join("/", text)`, without the slash at its begin.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A URL's `%20` and the like as what they stand for, where that is UTF-8; else the text as it is.
#[must_use]
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests;
