//! Where policies come from: a built-in name or a path; what is extended is found relative to the file that says so.

use std::io::Read;
use std::path::Path;

use wbuild_policy::{PolicyError, Ruleset, Source, built_in};

use crate::exit::Exit;
use crate::failure::{Failure, Place};

/// A policy file is no longer than this.
const LONGEST: u64 = 1 << 20;

/// Loads a policy by built-in name or path.
///
/// # Errors
/// Exit 4 with the place in the file; exit 2 if there is no such file.
pub(crate) fn load(name: &str) -> Result<Ruleset, Failure> {
    load_from("", name)
}

/// Loads a policy that the file `from` names.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_from(from: &str, name: &str) -> Result<Ruleset, Failure> {
    let source = match built_in(name) {
        Some(text) => Source { name: name.to_owned(), text: text.to_owned() },
        None => read_beside(from, name).map_err(|why| unreadable(name, &why))?,
    };
    Ruleset::load(source, &mut read_beside).map_err(|error| failure(&error))
}

/// The text of a policy by built-in name or path.
///
/// # Errors
/// Exit 2 if there is no such file.
pub(crate) fn text(name: &str) -> Result<Source, Failure> {
    match built_in(name) {
        Some(text) => Ok(Source { name: name.to_owned(), text: text.to_owned() }),
        None => read_beside("", name).map_err(|why| unreadable(name, &why)),
    }
}

/// Any file that is read for a policy.
///
/// # Errors
/// Exit 2 if it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    read_beside("", &name).map_err(|why| Failure::usage(format!("cannot read {name}: {why}")))
}

fn unreadable(name: &str, why: &str) -> Failure {
    let failure = Failure::usage(format!("cannot read the policy {name}: {why}"));
    failure.hint("give a file, or one of trusted, ci, untrusted, hermetic, wasm-only")
}

#[expect(clippy::disallowed_methods, reason = "the user names this file")]
fn read_beside(from: &str, name: &str) -> Result<Source, String> {
    let path = Path::new(from).parent().unwrap_or(Path::new("")).join(name);
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > LONGEST => Err(format!("it is longer than {LONGEST} bytes")),
        Ok(_) => Ok(Source { name: path.display().to_string(), text }),
        Err(error) => Err(error.to_string()),
    }
}

/// What the user reads of a policy that is none.
pub(crate) fn failure(error: &PolicyError) -> Failure {
    let place = error.place.as_ref().map(|place| Place {
        file: place.file.clone(),
        line: place.line,
        column: place.column,
        width: place.width,
        text: place.text.clone(),
    });
    let failure = Failure::new(Exit::Policy, error.message.clone()).at(place);
    match &error.hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_extended_stands_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map(|mut file| {
                    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
                })
                .unwrap();
            path.display().to_string()
        };
        write("base.toml", "extends = [\"hermetic\"]\n");
        let policy = write("own.toml", "extends = [\"base.toml\"]\n[[step]]\nlimits.wall = \"1m\"\n");
        let shown = load(&policy).unwrap().effective();
        assert!(shown.contains("net.default = \"deny\"") && shown.contains("own.toml:3"), "{shown}");
        let wrong = write("wrong.toml", "extends = [\"nobase.toml\"]\n");
        let failure = load(&wrong).unwrap_err();
        assert_eq!(failure.exit, Exit::Policy);
        assert_eq!(failure.place.as_ref().map(|place| place.line), Some(1));
        assert_eq!(load("nobody").unwrap_err().exit, Exit::Usage);
    }
}
