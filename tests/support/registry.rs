//! A real registry (Debian's docker-registry) on a free loopback port; it ends when this value is dropped.

use crate::command::{command, run};
use crate::tls::{Authority, Pair};
use crate::tokens::TokenServer;
use crate::workspace::Scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// Who is let into a secured registry.
pub const USER: &str = "builder";
/// The password of [`USER`].
pub const PASSWORD: &str = "s3cret:pass";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "builder:$2b$05$abcdefghijklmnopqrstuuKqhJSfTIYV1SkiVqP0GjQATd/vnrS1a\n";

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    data: Scratch,
    authority: Option<Authority>,
    secured: bool,
}

impl Registry {
    /// Starts an empty one and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_in(Scratch::new("registry")?, "", "")
    }

    /// Starts an empty one that speaks HTTPS, with a certificate by [`Registry::authority`], and lets in [`USER`] with [`PASSWORD`].
    pub fn start_secured() -> Result<Self> {
        let authority = Authority::new()?;
        let data = Scratch::new("registry")?;
        fs::write(data.path().join("htpasswd"), HTPASSWD)?;
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n", data.path().display());
        let tls = tls(&authority.issue("registry")?, "");
        let mut registry = Self::start_in(data, &tls, &auth)?;
        registry.authority = Some(authority);
        registry.secured = true;
        Ok(registry)
    }

    /// Starts an empty one that speaks HTTPS and believes the tokens of `tokens`, a server by the same authority.
    pub fn start_with_tokens(authority: &Authority, tokens: &TokenServer) -> Result<Self> {
        let tls = tls(&authority.issue("registry")?, "");
        let mut registry = Self::start_in(Scratch::new("registry")?, &tls, &tokens.configuration())?;
        registry.secured = true;
        Ok(registry)
    }

    /// Starts an empty one that speaks HTTPS with clients that have a certificate by the authority, and no others.
    pub fn start_for_clients_of(authority: &Authority) -> Result<Self> {
        let clients = format!(", clientcas: [{}]", authority.certificate().display());
        let tls = tls(&authority.issue("registry")?, &clients);
        let mut registry = Self::start_in(Scratch::new("registry")?, &tls, "")?;
        registry.secured = true;
        Ok(registry)
    }

    /// The certificate of the authority of [`Registry::start_secured`], in PEM.
    pub fn authority(&self) -> PathBuf {
        self.authority.as_ref().map(Authority::certificate).unwrap_or_default()
    }

    fn start_in(data: Scratch, tls: &str, auth: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .context("no free port")?
            .port();
        let config = data.path().join("config.yml");
        let storage = data.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             {auth}http: {{addr: '127.0.0.1:{port}'{tls}}}\n",
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
        let mut registry = Self { process, port, data, authority: None, secured: false };
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
        if self.secured {
            copy.arg(format!("--src-creds={USER}:{PASSWORD}"));
        }
        copy.arg(format!("docker://{}", self.reference(name))).arg(format!("oci:{}:pulled", dir.display()));
        run(copy)?.success().map(|_| ())
    }

    /// Loses the blobs of a repository that are smaller than this and no JSON: its manifests still name them.
    pub fn forget_blobs(&self, repository: &str, smaller: u64) -> Result<()> {
        let base = self.data.path().join("data/docker/registry/v2");
        let links = base.join("repositories").join(repository).join("_layers/sha256");
        for link in fs::read_dir(&links).with_context(|| links.display().to_string())? {
            let link = link?;
            let name = link.file_name().into_string().ok().context("a digest")?;
            let data = base.join("blobs/sha256").join(&name[..2]).join(&name).join("data");
            let content = fs::read(&data).with_context(|| data.display().to_string())?;
            if content.first() != Some(&b'{') && (content.len() as u64) < smaller {
                fs::remove_dir_all(link.path())?;
                fs::remove_file(data)?;
            }
        }
        Ok(())
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
            // 400 is what an HTTPS server says to this.
            && (answer.ends_with(b"200") || answer.ends_with(b"400"))
    }
}

/// The part of the configuration about HTTPS.
fn tls(pair: &Pair, more: &str) -> String {
    format!(", tls: {{certificate: {}, key: {}{more}}}", pair.certificate.display(), pair.key.display())
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
