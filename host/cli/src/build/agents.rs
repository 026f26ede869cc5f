//! `--ssh`: the agents and keys that steps may use, spelled as buildx spells them.
//!
//! `default`, `ID`, `ID=SOCKET` or `ID=KEY[,KEY]`; without a path, the agent of SSH_AUTH_SOCK.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use wbuild_build::{Agent, AgentError};

use super::fields;
use crate::environment::Environment;
use crate::failure::Failure;

const SPELLING: &str = "--ssh default, --ssh ID=SOCKET or --ssh ID=KEYFILE[,KEYFILE]";

/// The paths of each id.
pub(crate) type AgentPaths = BTreeMap<String, Vec<PathBuf>>;

/// Reads the values of `--ssh`.
///
/// # Errors
/// Exit 2 with what is wrong.
pub(crate) fn read(values: &[String], environment: &Environment) -> Result<AgentPaths, Failure> {
    let mut agents = AgentPaths::new();
    for text in values {
        let wrong = |what: &str| Failure::usage(format!("--ssh {text}: {what}")).hint(SPELLING);
        let (id, paths) = match text.split_once('=') {
            Some((id, list)) => (id, fields::split(list).map_err(|error| wrong(&error.to_string()))?),
            None => (text.as_str(), Vec::new()),
        };
        if id.is_empty() {
            return Err(wrong("it has no id"));
        }
        if paths.iter().any(|path| path.starts_with("raw=")) {
            return Err(wrong(
                "raw is not supported: only an agent's requests to list and to sign are passed on",
            ));
        }
        let mut paths: Vec<PathBuf> =
            paths.into_iter().filter(|path| !path.is_empty()).map(Into::into).collect();
        if paths.is_empty() {
            let running = environment.text("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
            paths.extend(running.map(PathBuf::from));
        }
        if agents.insert(id.to_owned(), paths).is_some() {
            return Err(wrong("the id is given twice"));
        }
    }
    Ok(agents)
}

/// Opens each agent.
///
/// # Errors
/// Exit 2: nobody answers at a socket, or a file is no key that can be used.
pub(crate) fn open(agents: &AgentPaths) -> Result<BTreeMap<String, Arc<Agent>>, Failure> {
    let opened = agents.iter().map(|(id, paths)| match Agent::open(paths) {
        Ok(agent) => Ok((id.clone(), Arc::new(agent))),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            // A key's own message says it all.
            while let Some(cause) = next.filter(|_| !matches!(error, AgentError::Key { .. })) {
                text = format!("{text}: {cause}");
                next = cause.source();
            }
            Err(Failure::usage(format!("--ssh {id}: {text}")).hint(SPELLING))
        }
    });
    opened.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(values: &[&str], environment: &[(&str, &str)]) -> Result<AgentPaths, Failure> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        read(&values, &environment.iter().copied().collect())
    }

    #[test]
    fn an_id_has_a_socket_or_keys_or_the_running_agent() {
        let running = [("SSH_AUTH_SOCK", "/agent")];
        let one = |id: &str, list: &[&str]| {
            AgentPaths::from([(id.to_owned(), list.iter().map(Into::into).collect())])
        };
        assert_eq!(paths(&["default"], &running).unwrap(), one("default", &["/agent"]));
        assert_eq!(paths(&["other"], &running).unwrap(), one("other", &["/agent"]));
        assert_eq!(paths(&["default="], &running).unwrap(), one("default", &["/agent"]));
        assert_eq!(paths(&["a=/x,y"], &running).unwrap(), one("a", &["/x", "y"]));
        assert_eq!(paths(&["a=\"/x,y\""], &running).unwrap(), one("a", &["/x,y"]));
        assert_eq!(paths(&["a", "b=/x"], &running).unwrap().len(), 2);
        for wrong in [&["=x"][..], &[""], &["a", "a=x"], &["a=x,raw=true"], &["a=\"x"]] {
            assert_eq!(paths(wrong, &running).unwrap_err().exit, crate::exit::Exit::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn an_agent_that_is_not_there_is_told_of_before_the_build() {
        let none = open(&paths(&["default"], &[]).unwrap()).unwrap_err();
        assert!(none.message.contains("--ssh default: no SSH agent is running: SSH_AUTH_SOCK is not set"));
        let absent = open(&paths(&["a=/nowhere/key"], &[]).unwrap()).unwrap_err();
        assert!(absent.message.contains("cannot read /nowhere/key: No such file"), "{}", absent.message);
    }
}
