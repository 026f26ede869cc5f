//! A real registry (Debian's docker-registry) on a free loopback port; it ends when this value is dropped.

use crate::command::{command, run};
use crate::workspace::Scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    data: Scratch,
}

impl Registry {
    /// Starts an empty one and waits until it answers.
    pub fn start() -> Result<Self> {
        let data = Scratch::new("registry")?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .context("no free port")?
            .port();
        let config = data.path().join("config.yml");
        let storage = data.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            storage.display()
        );
        fs::write(&config, text)?;
        let log = fs::File::create(data.path().join("log"))?;
        let accesses = fs::File::create(data.path().join("accesses"))?;
        let process = command("docker-registry", ["serve"])
            .arg(&config)
            .stdout(accesses)
            .stderr(log)
            .spawn()
            .context("cannot start docker-registry")?;
        let mut registry = Self { process, port, data };
        registry.wait_until_it_answers()?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// Copies the image `tag` of a layout into it as `name` (with its tag).
    pub fn seed(&self, layout: &Path, tag: &str, name: &str) -> Result<()> {
        let mut copy = command("skopeo", ["copy", "--quiet", "--dest-tls-verify=false"]);
        copy.arg(format!("oci:{}:{tag}", layout.display())).arg(format!("docker://{}", self.reference(name)));
        run(copy)?.success().map(|_| ())
    }

    /// Copies the image `name` out of it into the layout `dir`, by skopeo.
    pub fn pull(&self, name: &str, dir: &Path) -> Result<()> {
        let mut copy = command("skopeo", ["copy", "--quiet", "--src-tls-verify=false"]);
        copy.arg(format!("docker://{}", self.reference(name))).arg(format!("oci:{}:pulled", dir.display()));
        run(copy)?.success().map(|_| ())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    /// The requests that it has answered, a line each, in the common log format.
    pub fn accesses(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.data.path().join("accesses")).context("the access log")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.process.try_wait()? {
                bail!("docker-registry ended with {status}: {}", self.log());
            }
            if self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("docker-registry does not answer: {}", self.log())
    }

    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(self.address()) else { return false };
        let mut answer = [0; 12];
        socket.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").is_ok()
            && socket.read_exact(&mut answer).is_ok()
            && answer.ends_with(b"200")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
