//! A socket for one step, behind which an agent's permitted requests are answered.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::agent::Agent;
use crate::protocol;

/// A step may have this many connections at once: each is a thread here.
const MOST: usize = 64;
const BACKLOG: i32 = 16;

/// The forwarding of an agent to a step. It ends when this is dropped: the socket and every connection are closed then.
#[derive(Debug)]
pub struct Forward {
    listener: Arc<UnixListener>,
    open: Arc<Open>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Open {
    over: AtomicBool,
    streams: Mutex<BTreeMap<u64, UnixStream>>,
}

impl Open {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<u64, UnixStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forward {
    /// Makes the socket `name` in `directory` and answers there what a step may ask of `agent`.
    ///
    /// # Errors
    /// The socket or its thread cannot be made.
    pub fn start(directory: BorrowedFd<'_>, name: &str, agent: &Arc<Agent>) -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The directory's own path may be longer than an address.
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let (listener, open) = (Arc::new(UnixListener::from(socket)), Arc::new(Open::default()));
        let (accepting, agent, shared) = (Arc::clone(&listener), Arc::clone(agent), Arc::clone(&open));
        let run = move || accept(&accepting, &agent, &shared);
        let thread = std::thread::Builder::new().name("ssh".into()).spawn(run)?;
        Ok(Self { listener, open, thread: Some(thread) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.open.over.store(true, Ordering::SeqCst);
        // It wakes the thread that accepts; a listening socket can be shut down.
        let _woken = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // A panic there has told of itself.
            let _ended = thread.join();
        }
        for stream in self.open.streams().values() {
            // What is closed already needs no closing.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &UnixListener, agent: &Arc<Agent>, open: &Arc<Open>) {
    let mut number = 0;
    loop {
        let accepted = listener.accept();
        if open.over.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // Out of descriptors, say: the connection waits in the backlog.
                tracing::debug!(%error, "cannot accept a connection to the SSH agent");
                std::thread::sleep(std::time::Duration::from_millis(20));
                continue;
            }
        };
        number += 1;
        let Ok(kept) = stream.try_clone() else { continue };
        {
            let mut streams = open.streams();
            // One too many is closed at once.
            if streams.len() >= MOST {
                continue;
            }
            streams.insert(number, kept);
        }
        let (agent, shared) = (Arc::clone(agent), Arc::clone(open));
        let run = move || {
            let ended = converse(stream, &agent);
            shared.streams().remove(&number);
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the SSH agent ended");
            }
        };
        // It outlives the step only where a running agent does not answer, and then it can say nothing to anybody.
        if std::thread::Builder::new().name("ssh".into()).spawn(run).is_err() {
            open.streams().remove(&number);
        }
    }
}

fn converse(mut stream: UnixStream, agent: &Agent) -> io::Result<()> {
    while let Some(message) = protocol::receive(&mut stream)? {
        protocol::send(&mut stream, &agent.answer(&message))?;
    }
    Ok(())
}
