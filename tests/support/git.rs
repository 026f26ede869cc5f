//! A git server on loopback: `git http-backend` behind the smallest HTTP server that can carry it.
//!
//! What lies under `/private/` wants the token `hunter22`; `/moved/` leads to the same path of another server. What was asked for is kept, with
//! whether a login came along.

use crate::command::{command, run};
use crate::workspace::Scratch;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The token of what is private.
pub const TOKEN: &str = "hunter22";

/// A request, and whether it had a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its path and query.
    pub path: String,
    /// Whether there was an `Authorization` header.
    pub login: bool,
}

/// A server with repositories; its thread ends with the tests.
#[derive(Debug)]
pub struct GitServer {
    room: Scratch,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl GitServer {
    /// A server without repositories; `elsewhere` is where `/moved/` leads.
    pub fn start(elsewhere: Option<SocketAddr>) -> Result<Self> {
        let room = Scratch::new("git")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (root, heard) = (room.path().to_path_buf(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, heard) = (root.clone(), Arc::clone(&heard));
                // A client that goes away in the middle is none of the server's business.
                std::thread::spawn(move || drop(answer(stream, &root, elsewhere, &heard)));
            }
        });
        Ok(Self { room, address, asked })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS/NAME.git`.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }

    /// What was asked for since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The work tree of a repository, which is made where there is none.
    pub fn repository(&self, name: &str) -> Result<PathBuf> {
        let dir = self.room.path().join(format!("{name}.git"));
        if !dir.exists() {
            fs::create_dir_all(&dir)?;
            git(&dir, &["init", "-q"])?;
        }
        Ok(dir)
    }

    /// Commits these files; answers the commit's id.
    pub fn commit(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let dir = self.repository(name)?;
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().context("a file stands in a directory")?)?;
            fs::write(path, text)?;
        }
        git(&dir, &["add", "-A"])?;
        git(&dir, &["commit", "-qm", "m"])?;
        git(&dir, &["rev-parse", "HEAD"])
    }
}

/// Runs git in a directory, with an author and a time that are the same each time.
pub fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let settings =
        ["-c", "init.defaultBranch=main", "-c", "safe.directory=*", "-c", "protocol.file.allow=always"];
    let mut command = command("git", settings);
    command.args(arguments).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "n").env(format!("GIT_{who}_EMAIL"), "e@example.org");
        command.env(format!("GIT_{who}_DATE"), "1600000000 +0000");
    }
    Ok(run(command)?.success()?.stdout.trim().to_owned())
}

fn answer(
    stream: TcpStream,
    root: &Path,
    elsewhere: Option<SocketAddr>,
    asked: &Mutex<Vec<Asked>>,
) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { bail!("no request: {line:?}") };
    let (mut length, mut login, mut protocol) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let Some((name, value)) = header.trim().split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            "authorization" => value.clone_into(&mut login),
            "git-protocol" => value.clone_into(&mut protocol),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let heard = Asked { path: target.to_owned(), login: !login.is_empty() };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    let mut stream = stream;
    if let (Some(path), Some(there)) = (target.strip_prefix("/moved"), elsewhere) {
        let text =
            format!("HTTP/1.1 302 Found\r\nLocation: http://{there}{path}\r\nContent-Length: 0\r\n\r\n");
        return Ok(stream.write_all(text.as_bytes())?);
    }
    // "x-access-token:hunter22"
    if target.starts_with("/private/") && login != "Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMjI=" {
        let text = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
        return Ok(stream.write_all(text.as_bytes())?);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let output = backend(root, (method, path, query), &protocol, &body)?;
    let end =
        output.windows(4).position(|four| four == b"\r\n\r\n").context("no answer of git http-backend")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let length = output.len() - end - 4;
    let text =
        format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes())?;
    Ok(stream.write_all(&output[end + 4..])?)
}

fn backend(
    root: &Path,
    (method, path, query): (&str, &str, &str),
    protocol: &str,
    body: &[u8],
) -> Result<Vec<u8>> {
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", "application/x-git-upload-pack-request")
        .env("GIT_PROTOCOL", protocol)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("git http-backend")?;
    child.stdin.take().context("it reads")?.write_all(body)?;
    Ok(child.wait_with_output()?.stdout)
}
