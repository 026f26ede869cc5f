//! `--load`: an archive into the images of the Docker or Podman of this machine, through its `load` command.
//!
//! wbuild has no images of its own that those programs see. Where neither is there, that is said before anything is built.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;

/// The standard input of `docker load`; flushing it ends it and waits.
pub(crate) struct Loader {
    program: PathBuf,
    state: State,
}

enum State {
    Waiting,
    Running(Child),
    Done,
}

impl Loader {
    /// Finds docker, else podman, on the PATH.
    ///
    /// # Errors
    /// Exit 8 where there is neither.
    pub(crate) fn find(environment: &Environment) -> Result<Self, Failure> {
        let path = environment.get("PATH").unwrap_or_default();
        let found = ["docker", "podman"]
            .iter()
            .flat_map(|name| std::env::split_paths(path).map(move |dir| dir.join(name)))
            .find(|program| program.is_file());
        match found {
            Some(program) => Ok(Self { program, state: State::Waiting }),
            None => Err(Failure::new(Exit::Host, "--load: there is neither docker nor podman on the PATH")
                .hint("-o type=docker,dest=FILE writes an archive that `docker load` and `podman load` take elsewhere")),
        }
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> String {
        format!("{} load", self.program.display())
    }

    fn finish(&mut self) -> io::Result<()> {
        let State::Running(mut child) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(());
        };
        drop(child.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            // What it says is only for the message of its failure.
            drop(stderr.by_ref().take(64 << 10).read_to_string(&mut said));
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        let said: String =
            said.trim().lines().last().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        Err(io::Error::other(format!("{} ended with {status}: {said}", self.what())))
    }
}

impl Write for Loader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(self.state, State::Waiting) {
            let mut command = Command::new(&self.program);
            command.arg("load").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            self.state = State::Running(command.spawn()?);
        }
        let written = match &mut self.state {
            State::Running(Child { stdin: Some(stdin), .. }) => stdin.write(bytes),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match written {
            // It went away: its own words say why, and a pipe's end says nothing.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.finish()?;
                Err(io::Error::other(format!("{} stopped reading", self.what())))
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.finish()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        if let State::Running(child) = &mut self.state {
            // The build failed before the archive was complete.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes programs")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn loader(script: &str) -> (tempfile::TempDir, Result<Loader, Failure>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("podman");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment: Environment = [("PATH", dir.path().to_str().unwrap())].into_iter().collect();
        let found = Loader::find(&environment);
        (dir, found)
    }

    #[test]
    fn the_archive_goes_to_the_load_command() {
        let (dir, loader) = loader(r#"test "$1" = load && /bin/cat > "$(/usr/bin/dirname "$0")/got""#);
        let mut loader = loader.unwrap();
        loader.write_all(b"arch").unwrap();
        loader.write_all(b"ive").unwrap();
        loader.flush().unwrap();
        loader.flush().unwrap();
        assert_eq!(std::fs::read(dir.path().join("got")).unwrap(), b"archive");
    }

    #[test]
    fn its_failure_is_told_and_its_absence_comes_first() {
        let (_dir, loader) = loader("/bin/cat > /dev/null; echo no space >&2; exit 3");
        let mut loader = loader.unwrap();
        loader.write_all(b"x").unwrap();
        assert!(loader.flush().unwrap_err().to_string().contains("no space"));
        let nothing: Environment = [("PATH", "/nonexistent")].into_iter().collect();
        assert!(Loader::find(&nothing).is_err_and(|failure| failure.exit == Exit::Host));
    }
}
