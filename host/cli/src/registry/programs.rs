//! Runs credential helpers: `docker-credential-NAME get`, the registry on standard input, the login on standard output.
//!
//! A helper runs in wbuild's own process tree, never in a step's, and gets an environment with only what such programs read.
//! What it prints goes into no message but for its standard error's last line, which is where helpers say what is wrong.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use wbuild_registry::{HelperError, HelperLogin, Helpers};

use crate::environment::Environment;

/// A helper may ask the network, not the user.
const LONGEST: Duration = Duration::from_secs(60);
/// What helpers and what they start read, by name.
const NAMES: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "DOCKER_CONFIG",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ECR_ACCESS_KEY_ID",
    "GPG_TTY",
];
/// And by the beginning of the name: clouds' own credentials.
const PREFIXES: [&str; 7] = ["AWS_", "GOOGLE_", "CLOUDSDK_", "GCE_", "AZURE_", "ACR_", "XDG_"];

/// The helpers on the PATH.
#[derive(Clone)]
pub(super) struct Programs {
    environment: Vec<(OsString, OsString)>,
}

// Some of these variables are secrets.
impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Programs")
    }
}

impl Programs {
    pub(super) fn new(environment: &Environment) -> Self {
        let wanted =
            |name: &str| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let environment = environment
            .all()
            .filter(|(name, _)| name.to_str().is_some_and(wanted))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { environment }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Helpers for Programs {
    fn get(&self, helper: &str, server: &str) -> Result<Option<HelperLogin>, HelperError> {
        let failed = |why: String| HelperError(why);
        // The name is a part of a program's name, never a path.
        if helper.is_empty() || !helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(failed("its name is no helper's name".to_owned()));
        }
        let mut child = Command::new(format!("docker-credential-{helper}"))
            .arg("get")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("it cannot be started: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input says itself what is wrong.
            drop(stdin.write_all(server.as_bytes()));
        }
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let began = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() > LONGEST => {
                    // It may end just now: then there is nothing to kill.
                    drop(child.kill());
                    drop(child.wait());
                    return Err(failed(format!("it did not answer within {} s", LONGEST.as_secs())));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(failed(format!("it cannot be waited for: {error}"))),
            }
        };
        let text = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
        let (stdout, stderr) = (text(stdout), text(stderr));
        if !status.success() {
            // Helpers print this to standard output.
            if String::from_utf8_lossy(&stdout).contains("credentials not found") {
                return Ok(None);
            }
            let said = String::from_utf8_lossy(&stderr);
            let said: String = said
                .trim()
                .lines()
                .last()
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            return Err(failed(format!("it ended with {status}{said}")));
        }
        // The parser's message would quote the secret.
        let answer: Answer =
            serde_json::from_slice(&stdout).map_err(|_| failed("it gave no JSON login".to_owned()))?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(HelperLogin::new(answer.username, answer.secret)))
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What came before an error counts; the exit status tells the rest.
            drop(pipe.take(1 << 20).read_to_end(&mut bytes));
        }
        bytes
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes helpers")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn helper(script: &str) -> (tempfile::TempDir, Programs) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let search = format!("{}:/usr/bin:/bin", dir.path().display());
        let environment: Environment =
            [("PATH", search.as_str()), ("AWS_PROFILE", "p"), ("WBUILD_SECRET", "hunter2")]
                .into_iter()
                .collect();
        (dir, Programs::new(&environment))
    }

    #[test]
    fn a_helper_gets_the_registry_and_a_clean_environment() {
        let script = r#"test "$1" = get || exit 9
test "$(cat)" = reg.example:5000 || exit 8
test "$AWS_PROFILE" = p || exit 7
test -z "$WBUILD_SECRET" || exit 6
echo '{"ServerURL":"x","Username":"u","Secret":"s"}'"#;
        let (_dir, programs) = helper(script);
        assert!(programs.get("test", "reg.example:5000").unwrap().is_some());
    }

    #[test]
    fn what_a_helper_does_not_have_is_no_failure_and_failures_tell_no_secret() {
        let (_dir, none) = helper("echo credentials not found in native keychain; exit 1");
        assert!(none.get("test", "r").unwrap().is_none());
        let (_dir, broken) = helper("echo hunter2; echo no keyring >&2; exit 3");
        let text = broken.get("test", "r").unwrap_err().to_string();
        assert!(text.contains("no keyring") && !text.contains("hunter2"), "{text}");
        let (_dir, chatty) = helper("echo '{\"Secret\": hunter2}'");
        assert_eq!(chatty.get("test", "r").unwrap_err().to_string(), "it gave no JSON login");
        let said = chatty.get("missing", "r").unwrap_err().to_string();
        assert!(said.contains("cannot be started"), "{said}");
        assert!(chatty.get("../test", "r").unwrap_err().to_string().contains("no helper's name"));
    }
}
