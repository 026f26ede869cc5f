//! `wbuild:step/image` over a component's channel to wbuild: one change at a time, each answered.
//!
//! The wire form is that of host/native/src/wire.rs: a length (u32, little-endian) and that many bytes of postcard.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use wbuild_monitor::{ImageChange, LARGEST_CHANGE};

use super::View;
use super::bindings::wbuild::step::image::{Host, Protocol};

/// This process's end.
pub(crate) struct Channel(UnixStream);

impl Channel {
    /// Over a connected stream.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    fn change(&mut self, change: &ImageChange) -> io::Result<Result<(), String>> {
        let body = postcard::to_stdvec(change).map_err(io::Error::other)?;
        if body.len() > LARGEST_CHANGE {
            return Ok(Err(format!("it is larger than {LARGEST_CHANGE} bytes")));
        }
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.0.write_all(&length.to_le_bytes())?;
        self.0.write_all(&body)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; (u32::from_le_bytes(length) as usize).min(LARGEST_CHANGE)];
        self.0.read_exact(&mut answer)?;
        postcard::from_bytes(&answer).map_err(io::Error::other)
    }
}

impl View<'_> {
    fn change(&mut self, change: ImageChange) -> wasmtime::Result<Result<(), String>> {
        if let Err(reason) = change.check() {
            return Ok(Err(format!("{}: {reason}", change.instruction())));
        }
        let Some(channel) = &mut self.step.channel else {
            return Ok(Err("this process has no channel to its build".to_owned()));
        };
        let answer = channel.change(&change);
        let answer = answer.map_err(|error| wasmtime::Error::msg(format!("wbuild went away: {error}")))?;
        Ok(answer.map_err(|reason| format!("{}: {reason}", change.instruction())))
    }
}

type Answer = wasmtime::Result<Result<(), String>>;

impl Host for View<'_> {
    fn set_env(&mut self, name: String, value: String) -> Answer {
        self.change(ImageChange::Env(name, value))
    }

    fn set_label(&mut self, name: String, value: String) -> Answer {
        self.change(ImageChange::Label(name, value))
    }

    fn set_entrypoint(&mut self, words: Vec<String>) -> Answer {
        self.change(ImageChange::Entrypoint(words))
    }

    fn set_cmd(&mut self, words: Vec<String>) -> Answer {
        self.change(ImageChange::Cmd(words))
    }

    fn set_user(&mut self, user: String) -> Answer {
        self.change(ImageChange::User(user))
    }

    fn set_workdir(&mut self, path: String) -> Answer {
        self.change(ImageChange::Workdir(path))
    }

    fn expose(&mut self, port: u16, protocol: Protocol) -> Answer {
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        self.change(ImageChange::Expose(port, protocol.to_owned()))
    }
}
