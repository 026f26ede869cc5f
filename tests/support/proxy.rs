//! A proxy in front of a registry that does wrong what networks and registries do wrong: it answers with errors, cuts, delays, lies
//! about lengths and digests, spoils bytes in both directions and redirects in circles.
//!
//! One request a connection, so that a fault hits exactly one request. What goes wrong is told by a plan; the numbers of a
//! random one come from a seed that the test prints. It speaks HTTPS on both sides where the registry does, and counts the
//! bytes of uploads that it passes on.

use anyhow::{Context, Result};
use rustls::{ClientConfig, ServerConfig};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::tls::{Authority, Wire};

/// One thing that goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status in place of an answer, to be tried again at once.
    Status(u16),
    /// The answer ends after so many thousandths of it.
    CutAnswer(u16),
    /// The request ends after so many thousandths of its body.
    CutRequest(u16),
    /// The length that the answer declares is this much larger.
    LongerThanSaid(i64),
    /// The answer has a few bytes more, and says so.
    Oversized,
    /// One byte of the answer's body is another one.
    SpoiltAnswer(u16),
    /// One byte of the request's body is another one.
    SpoiltRequest(u16),
    /// The answer names another digest.
    WrongDigest,
    /// The answer comes in pieces with pauses.
    Slow,
    /// It leads to itself.
    Redirect,
    /// It leads to this port of `localhost`, after so many more redirects there.
    Elsewhere(u16, u16),
    /// 429, to be tried again in so many seconds.
    Busy(u16),
}

impl Fault {
    /// Whether what arrives is wrong, and not just late or nothing: a client may believe it sooner.
    fn is_a_lie(self) -> bool {
        !matches!(
            self,
            Self::Status(_) | Self::Busy(_) | Self::CutAnswer(_) | Self::CutRequest(_) | Self::Slow
        )
    }
}

/// Decides about each request: its method and target.
pub type Plan = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

/// A running proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    seen: Arc<Seen>,
}

/// What passed.
#[derive(Debug, Default)]
struct Seen {
    faults: Mutex<Vec<(String, Fault)>>,
    requests: Mutex<Vec<(Instant, String)>>,
    uploaded: AtomicU64,
}

/// Where it stands.
struct Way {
    upstream: String,
    plan: Mutex<Plan>,
    tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
}

impl Proxy {
    /// Starts one in front of `upstream`, an address.
    pub fn start(upstream: &str, plan: Plan) -> Result<Self> {
        Self::start_with(upstream, None, plan)
    }

    /// Starts one that speaks HTTPS, in front of a registry that does so too.
    pub fn start_secured(upstream: &str, authority: &Authority, plan: Plan) -> Result<Self> {
        let tls = (authority.server("proxy")?, authority.client()?);
        Self::start_with(upstream, Some(tls), plan)
    }

    fn start_with(
        upstream: &str,
        tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
        plan: Plan,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let port = listener.local_addr()?.port();
        let way = Arc::new(Way { upstream: upstream.to_owned(), plan: Mutex::new(plan), tls });
        let seen: Arc<Seen> = Arc::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (way, seen) = (Arc::clone(&way), Arc::clone(&seen));
                std::thread::spawn(move || {
                    // A connection that breaks is what this proxy is for.
                    let _ = serve(stream, &way, &seen);
                });
            }
        });
        Ok(Self { port, seen: kept })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// What went wrong so far: the request's line and the fault.
    pub fn faults(&self) -> Vec<(String, Fault)> {
        self.seen.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When requests came, with method and target.
    pub fn requests(&self) -> Vec<(Instant, String)> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many bytes of bodies of PUT and PATCH were passed on.
    pub fn uploaded(&self) -> u64 {
        self.seen.uploaded.load(Ordering::SeqCst)
    }
}

/// A plan in which each request may fail, at most `most` of them, of which at most two are lies: as many as a client that tries five
/// times, and believes what it is told three times, must get over.
pub fn random(seed: u64, most: u32) -> Plan {
    let (mut state, mut left, mut lies) = (seed | 1, most, 2);
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    };
    Box::new(move |_, _| {
        if left == 0 || next(2) == 0 {
            return None;
        }
        let part = u16::try_from(next(1000)).unwrap_or(0);
        let fault = match next(12) {
            0 => Fault::Status(429),
            1 => Fault::Status(500),
            2 => Fault::Status(502),
            3 => Fault::Status(503),
            4 => Fault::CutAnswer(part),
            5 => Fault::CutRequest(part),
            6 => Fault::LongerThanSaid(if part > 500 { 7 } else { -1 }),
            7 => Fault::Oversized,
            8 => Fault::SpoiltAnswer(part),
            9 => Fault::SpoiltRequest(part),
            10 => Fault::WrongDigest,
            _ => Fault::Redirect,
        };
        if fault.is_a_lie() {
            if lies == 0 {
                return Some(Fault::Slow);
            }
            lies -= 1;
        }
        left -= 1;
        Some(fault)
    })
}

/// The line and the headers of a request or an answer.
pub(crate) struct Head {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value));
    }

    /// The body's length, by what it says.
    pub(crate) fn length(&self) -> usize {
        self.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

/// The lines up to the empty one, a byte at a time: nothing of the body is taken.
pub(crate) fn head(stream: &mut impl Read) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let pair =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Ok(Head { line, headers: lines.filter_map(pair).collect() })
}

fn part(of: usize, thousandths: u16) -> usize {
    of * usize::from(thousandths) / 1000
}

fn serve(client: TcpStream, way: &Way, seen: &Seen) -> io::Result<()> {
    let mut client = Wire::accept(client, way.tls.as_ref().map(|(server, _)| server))?;
    let mut request = head(&mut client)?;
    let mut words = request.line.split(' ');
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let line = format!("{method} {target}");
    seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), line.clone()));
    let fault = way.plan.lock().unwrap_or_else(PoisonError::into_inner)(&method, &target);
    if let Some(fault) = fault {
        seen.faults.lock().unwrap_or_else(PoisonError::into_inner).push((line, fault));
    }
    let mut body = vec![0; request.length()];
    client.read_exact(&mut body)?;
    if let Some(text) = fault.and_then(|fault| instead(fault, &target)) {
        client.write_all(text.as_bytes())?;
        return client.finish();
    }
    if let Some(Fault::SpoiltRequest(at)) = fault
        && !body.is_empty()
    {
        let at = part(body.len() - 1, at);
        body[at] ^= 0x20;
    }
    let mut server = Wire::connect(&way.upstream, way.tls.as_ref().map(|(_, client)| client))?;
    request.set("Connection", "close".to_owned());
    server.write_all(&request.bytes())?;
    let passed = match fault {
        Some(Fault::CutRequest(at)) => &body[..part(body.len(), at)],
        _ => &body[..],
    };
    server.write_all(passed)?;
    if method == "PUT" || method == "PATCH" {
        seen.uploaded.fetch_add(passed.len() as u64, Ordering::SeqCst);
    }
    if let Some(Fault::CutRequest(_)) = fault {
        server.flush()?;
        drop(server);
        // The registry notices that before the client is back.
        std::thread::sleep(Duration::from_millis(100));
        return Ok(());
    }
    let mut answer = head(&mut server)?;
    let mut content = Vec::new();
    if method != "HEAD" {
        server.read_to_end(&mut content)?;
    }
    answer.set("Connection", "close".to_owned());
    reply(&mut client, answer, content, &method, fault)
}

/// What is said in place of the registry's answer.
fn instead(fault: Fault, target: &str) -> Option<String> {
    let (status, header) = match fault {
        Fault::Status(status) => (status, "Retry-After: 0".to_owned()),
        Fault::Busy(seconds) => (429, format!("Retry-After: {seconds}")),
        Fault::Redirect => (307, format!("Location: {target}")),
        Fault::Elsewhere(port, hops) => (307, format!("Location: https://localhost:{port}/{hops}{target}")),
        _ => return None,
    };
    Some(format!("HTTP/1.1 {status} No\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
}

fn reply(
    client: &mut Wire,
    mut answer: Head,
    mut content: Vec<u8>,
    method: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    let has_body = method != "HEAD" && !content.is_empty();
    match fault {
        Some(Fault::LongerThanSaid(more)) if has_body => {
            let length = i64::try_from(content.len()).unwrap_or(0) + more;
            answer.set("Content-Length", length.to_string());
        }
        Some(Fault::Oversized) if has_body => {
            content.extend_from_slice(b"more");
            answer.set("Content-Length", content.len().to_string());
        }
        Some(Fault::SpoiltAnswer(at)) if has_body => {
            let at = part(content.len() - 1, at);
            content[at] ^= 0x20;
        }
        Some(Fault::WrongDigest) if answer.get("docker-content-digest").is_some() => {
            answer.set("Docker-Content-Digest", format!("sha256:{}", "0".repeat(64)));
        }
        _ => {}
    }
    let mut bytes = answer.bytes();
    bytes.extend(content);
    match fault {
        Some(Fault::CutAnswer(at)) => {
            client.write_all(&bytes[..part(bytes.len(), at)])?;
            return client.flush();
        }
        Some(Fault::Slow) => bytes.chunks(bytes.len() / 5 + 1).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(40));
            client.write_all(piece)?;
            client.flush()
        })?,
        _ => client.write_all(&bytes)?,
    }
    client.finish()
}
