//! A proxy in front of a registry that does wrong what networks and registries do wrong: it answers with errors, cuts, delays, lies
//! about lengths and digests, spoils bytes in both directions and redirects in circles.
//!
//! One request a connection, so that a fault hits exactly one request. What goes wrong is told by a plan; the numbers of a
//! random one come from a seed that the test prints.

use anyhow::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
}

impl Fault {
    /// Whether what arrives is wrong, and not just late or nothing: a client may believe it sooner.
    fn is_a_lie(self) -> bool {
        !matches!(self, Self::Status(_) | Self::CutAnswer(_) | Self::CutRequest(_) | Self::Slow)
    }
}

/// Decides about each request: its method and target.
pub type Plan = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

/// A running proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: Arc<Mutex<Vec<(String, Fault)>>>,
}

impl Proxy {
    /// Starts one in front of `upstream`, an address.
    pub fn start(upstream: &str, plan: Plan) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let port = listener.local_addr()?.port();
        let (plan, faults, upstream) = (Arc::new(Mutex::new(plan)), Arc::default(), upstream.to_owned());
        let done: Arc<Mutex<Vec<(String, Fault)>>> = Arc::clone(&faults);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (plan, done, upstream) = (Arc::clone(&plan), Arc::clone(&done), upstream.clone());
                std::thread::spawn(move || {
                    // A connection that breaks is what this proxy is for.
                    let _ = serve(stream, &upstream, &plan, &done);
                });
            }
        });
        Ok(Self { port, faults })
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// What went wrong so far: the request's line and the fault.
    pub fn faults(&self) -> Vec<(String, Fault)> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

struct Head {
    line: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value));
    }

    fn length(&self) -> usize {
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
fn head(stream: &mut TcpStream) -> io::Result<Head> {
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

fn serve(
    mut client: TcpStream,
    upstream: &str,
    plan: &Mutex<Plan>,
    done: &Mutex<Vec<(String, Fault)>>,
) -> io::Result<()> {
    let mut request = head(&mut client)?;
    let mut words = request.line.split(' ');
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let fault = plan.lock().unwrap_or_else(PoisonError::into_inner)(&method, &target);
    if let Some(fault) = fault {
        done.lock().unwrap_or_else(PoisonError::into_inner).push((format!("{method} {target}"), fault));
    }
    let mut body = vec![0; request.length()];
    client.read_exact(&mut body)?;
    match fault {
        Some(Fault::Status(status)) => {
            let text = format!(
                "HTTP/1.1 {status} No\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return client.write_all(text.as_bytes());
        }
        Some(Fault::Redirect) => {
            let text = format!(
                "HTTP/1.1 307 No\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return client.write_all(text.as_bytes());
        }
        Some(Fault::SpoiltRequest(at)) if !body.is_empty() => {
            let at = part(body.len() - 1, at);
            body[at] ^= 0x20;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream)?;
    request.set("Connection", "close".to_owned());
    server.write_all(&request.bytes())?;
    if let Some(Fault::CutRequest(at)) = fault {
        server.write_all(&body[..part(body.len(), at)])?;
        server.shutdown(Shutdown::Both)?;
        // The registry notices that before the client is back.
        std::thread::sleep(Duration::from_millis(100));
        return Ok(());
    }
    server.write_all(&body)?;
    let mut answer = head(&mut server)?;
    let mut content = Vec::new();
    if method != "HEAD" {
        server.read_to_end(&mut content)?;
    }
    answer.set("Connection", "close".to_owned());
    reply(&mut client, answer, content, &method, fault)
}

fn reply(
    client: &mut TcpStream,
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
        Some(Fault::CutAnswer(at)) => client.write_all(&bytes[..part(bytes.len(), at)]),
        Some(Fault::Slow) => bytes.chunks(bytes.len() / 5 + 1).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(40));
            client.write_all(piece)
        }),
        _ => client.write_all(&bytes),
    }
}
