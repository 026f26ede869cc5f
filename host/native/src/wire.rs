//! The messages between wbuild, the supervisor, the reaper and the first guest process.
//!
//! Invariant: a message is a length (u32, little-endian) and that many bytes of postcard (JSON has no map keys but
//! text); descriptors travel with the first byte. A stream that ends between messages is `None`, one that ends inside
//! is an error.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wbuild_monitor::{Exit, StepResult, StepSpec};

use crate::fences::Fences;

/// The most descriptors that travel with one message.
const MAX_DESCRIPTORS: usize = 4;
/// No message is longer: a changeset of a million entries fits.
const MAX_LENGTH: usize = 1 << 30;

/// What the supervisor is started with; descriptors: the lifeline's write end, the guest's standard output and error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) spec: StepSpec,
    pub(crate) strategy: StrategyChoice,
    pub(crate) identity: HostIdentity,
    /// Whether the answered calls are counted and told in a note.
    pub(crate) counts: bool,
    pub(crate) fences: Fences,
}

/// How dynamic programs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StrategyChoice {
    /// Planted where the stub stands in our own root, else loader.
    Detect,
    /// Planted.
    Planted,
    /// Loader.
    Loader,
}

/// Whom the supervisor and the guest run as on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HostIdentity {
    /// Whoever runs wbuild.
    Caller,
    /// The scratch user, because wbuild runs as root.
    Scratch { uid: u32, gid: u32 },
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The step ran.
    Done(Box<StepResult>),
    /// Its first program could not be executed.
    NotStarted { program: String, errno: i32 },
    /// The host lacks something.
    Host { mechanism: String, hint: String },
    /// A mount has no place in the tree.
    NotMounted { target: String, errno: i32 },
    /// It went over a limit and was ended.
    Exceeded { limit: String },
    /// The sandbox failed.
    Broken { detail: String },
}

/// What the reaper tells the supervisor once every guest process is gone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reaped {
    pub(crate) exit: ExitStatus,
    /// How many processes had to be killed after the first one ended.
    pub(crate) killed: u32,
}

/// How the first guest process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExitStatus {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Code(code) => Self::Code(code),
            ExitStatus::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// What the first guest process tells the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Boot {
    /// The filter is installed; its listener comes along.
    Listening { pid: i32 },
    /// It could not be made ready: which step of it failed, and how.
    Failed { stage: Stage, errno: i32 },
    /// Its program could not be executed.
    ExecFailed { errno: i32 },
}

/// Where the making of the first guest process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Process,
    Limits,
    Landlock,
    Filter,
}

/// Sends one message with descriptors.
pub(crate) fn send<T: Serialize>(
    socket: &UnixStream,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(std::io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::other("too many descriptors for one message"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&length[sent..])?;
    socket.write_all(&body)
}

/// Receives one message with its descriptors; `None` at the end of the stream.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: &UnixStream,
) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    receive_at_most(socket, MAX_LENGTH)
}

/// As [`receive`], from a sender that may be hostile: a longer message is an error.
pub(crate) fn receive_at_most<T: DeserializeOwned>(
    socket: &UnixStream,
    most: usize,
) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?
    .bytes;
    if got == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    let mut socket = socket;
    socket.read_exact(&mut length[got..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > most {
        return Err(std::io::Error::other("message too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some((postcard::from_bytes(&body).map_err(std::io::Error::other)?, descriptors)))
}
