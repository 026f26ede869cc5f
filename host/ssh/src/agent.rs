//! What one `--ssh` names: a running agent, or keys read from files.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File};

use crate::keys::{Key, KeyError};
use crate::protocol::{self, Answer, Request};

/// Answers the requests of steps.
#[derive(Debug)]
pub struct Agent(Kind);

#[derive(Debug)]
enum Kind {
    /// A socket behind which an agent listens.
    Running(PathBuf),
    /// Keys in this process.
    Held(Vec<Key>),
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Neither a socket nor a key file is named.
    #[error("no SSH agent is running: SSH_AUTH_SOCK is not set")]
    None,
    /// A path leads to nothing that can be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// The host's error.
        source: std::io::Error,
    },
    /// A socket among several paths.
    #[error("{} is an agent's socket, and it is not the only path", path.display())]
    Several {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody listens behind the socket.
    #[error("no SSH agent answers at {}", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// The host's error.
        source: std::io::Error,
    },
    /// A file that is no key which can be used.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

/// No private key is longer.
const LONGEST: u64 = 100 << 10;

impl Agent {
    /// Opens what `paths` name: the socket of an agent, or any number of files with private keys. Links are followed.
    ///
    /// # Errors
    /// A path is neither, a key has a passphrase, or nobody listens at the socket.
    pub fn open(paths: &[PathBuf]) -> Result<Self, AgentError> {
        let mut keys = Vec::new();
        for path in paths {
            let unreadable = |source| AgentError::Unreadable { path: path.clone(), source };
            if is_socket(path).map_err(unreadable)? {
                if paths.len() > 1 {
                    return Err(AgentError::Several { path: path.clone() });
                }
                // Where nobody listens, the user hears of it before a step fails in the middle.
                UnixStream::connect(path)
                    .map_err(|source| AgentError::Silent { path: path.clone(), source })?;
                return Ok(Self(Kind::Running(path.clone())));
            }
            let content = read(path).map_err(unreadable)?;
            let key = Key::parse(&content, &path.display().to_string())
                .map_err(|source| AgentError::Key { path: path.clone(), source })?;
            keys.push(key);
        }
        if keys.is_empty() { Err(AgentError::None) } else { Ok(Self(Kind::Held(keys))) }
    }

    /// Answers one message. What uses no key, and whatever fails, is answered with failure.
    pub(crate) fn answer(&self, message: &[u8]) -> Vec<u8> {
        let answered = match Request::read(message) {
            Some(request) => match &self.0 {
                Kind::Running(path) => ask(path, message),
                Kind::Held(keys) => Ok(held(keys, &request)),
            },
            None => Ok(Answer::Failure),
        };
        answered
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "the SSH agent did not answer");
                Answer::Failure
            })
            .into_bytes()
    }
}

/// Passes a request on to a running agent, over a connection of its own: what one step binds to its connection concerns no other.
fn ask(path: &Path, message: &[u8]) -> std::io::Result<Answer<'static>> {
    let mut stream = UnixStream::connect(path)?;
    protocol::send(&mut stream, message)?;
    protocol::receive(&mut stream)?
        .map(Answer::Passed)
        .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn held<'a>(keys: &'a [Key], request: &Request<'_>) -> Answer<'a> {
    match request {
        Request::List => Answer::Identities(keys.iter().map(|key| (key.blob(), key.comment())).collect()),
        Request::Sign { key, data, flags } => {
            let signed = keys.iter().find(|own| own.blob() == *key).and_then(|own| own.sign(data, *flags));
            signed.map_or(Answer::Failure, Answer::Signature)
        }
    }
}

fn is_socket(path: &Path) -> std::io::Result<bool> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else { return Ok(false) };
    let dir = Dir::open_ambient_dir(parent, ambient_authority())?;
    let kind = dir.symlink_metadata(name)?.file_type();
    if !kind.is_symlink() {
        return Ok(cap_std::fs::FileTypeExt::is_socket(&kind));
    }
    // The link may lead anywhere on the host: it is the user's own.
    Ok(std::fs::metadata(path)?.file_type().is_socket())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    let file = File::open_ambient(path, ambient_authority())?;
    file.take(LONGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is too long for a private key"));
    }
    Ok(content)
}
