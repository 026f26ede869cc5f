//! Git's packet lines, and what stands in them (gitprotocol-common(5), gitprotocol-pack(5), gitprotocol-v2(5)).
//!
//! A line is read into a bounded buffer; what is not understood is an error. Both versions of the protocol: 2, and 0 of servers
//! that do not know it.

use std::io::{self, Read};

use crate::error::{GitError, printable};

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Data(Vec<u8>),
    Flush,
    Delimiter,
    ResponseEnd,
}

/// Reads packets of one answer.
pub(crate) struct Packets<'r, R> {
    remote: &'r str,
    read: R,
    left: u64,
    limit: u64,
}

impl<'r, R: Read> Packets<'r, R> {
    /// At most `limit` bytes are read.
    pub(crate) fn new(remote: &'r str, read: R, limit: u64) -> Self {
        Self { remote, read, left: limit, limit }
    }

    fn protocol(&self, why: impl Into<String>) -> GitError {
        GitError::Protocol { remote: self.remote.to_owned(), why: why.into() }
    }

    /// The next packet; `None` at the end of the answer.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, GitError> {
        let cut = |source| GitError::Cut { remote: self.remote.to_owned(), source };
        let mut head = [0_u8; 4];
        let mut read = 0;
        while read < head.len() {
            match self.read.read(&mut head[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(cut(io::ErrorKind::UnexpectedEof.into())),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut(error)),
            }
        }
        let length = std::str::from_utf8(&head).ok().and_then(|text| u16::from_str_radix(text, 16).ok());
        let length = match length {
            Some(0) => return Ok(Some(Packet::Flush)),
            Some(1) => return Ok(Some(Packet::Delimiter)),
            Some(2) => return Ok(Some(Packet::ResponseEnd)),
            // Up to 65516 bytes of data.
            Some(length @ 4..=65520) => usize::from(length) - 4,
            _ => return Err(self.protocol("a line without a length")),
        };
        self.left = self.left.checked_sub(length as u64 + 4).ok_or_else(|| GitError::Limit {
            remote: self.remote.to_owned(),
            what: "what the server says",
            limit: self.limit,
        })?;
        let mut data = vec![0; length];
        self.read.read_exact(&mut data).map_err(cut)?;
        Ok(Some(Packet::Data(data)))
    }

    /// The next packet as a line without its end, where one has to be; `None` for a flush, a delimiter and the end. What the server
    /// gives as an error is one.
    pub(crate) fn line(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let Some(Packet::Data(mut data)) = self.next()? else { return Ok(None) };
        if let Some(said) = data.strip_prefix(b"ERR ") {
            return Err(GitError::Refused { remote: self.remote.to_owned(), said: printable(said) });
        }
        if data.last() == Some(&b'\n') {
            data.pop();
        }
        Ok(Some(data))
    }

    /// As [`Packets::line`], as text.
    pub(crate) fn text(&mut self) -> Result<Option<String>, GitError> {
        let Some(line) = self.line()? else { return Ok(None) };
        String::from_utf8(line).map(Some).map_err(|_| self.protocol("a line that is no text"))
    }

    /// What is left is a pack, in side bands.
    pub(crate) fn bands(self) -> Bands<'r, R> {
        Bands { packets: Packets { left: u64::MAX, ..self }, piece: Vec::new(), at: 0, failure: None }
    }
}

/// The pack in an answer that also has progress and errors (side-band-64k).
pub(crate) struct Bands<'r, R> {
    packets: Packets<'r, R>,
    piece: Vec<u8>,
    at: usize,
    failure: Option<GitError>,
}

impl<R> Bands<'_, R> {
    /// What went wrong, where reading failed.
    pub(crate) fn failure(&mut self) -> Option<GitError> {
        self.failure.take()
    }
}

impl<R: Read> Read for Bands<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let remote = self.packets.remote.to_owned();
            let failure = match self.packets.next() {
                Ok(Some(Packet::Data(data))) => match data.split_first() {
                    Some((1, _)) => {
                        (self.piece, self.at) = (data, 1);
                        continue;
                    }
                    Some((2, _)) => continue,
                    Some((3, said)) => GitError::Refused { remote, said: printable(said) },
                    _ => match data.strip_prefix(b"ERR ") {
                        Some(said) => GitError::Refused { remote, said: printable(said) },
                        None => GitError::Protocol { remote, why: "a pack in an unknown band".to_owned() },
                    },
                },
                Ok(Some(Packet::Flush | Packet::ResponseEnd) | None) => return Ok(0),
                Ok(Some(Packet::Delimiter)) => {
                    GitError::Protocol { remote, why: "a delimiter in a pack".to_owned() }
                }
                Err(error) => error,
            };
            self.failure = Some(failure);
            return Err(io::Error::other("the server's answer"));
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Writes packets of one request.
#[derive(Default)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A line; its text is shorter than a packet may be.
    pub(crate) fn line(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
        self
    }

    pub(crate) fn flush(&mut self) -> &mut Self {
        self.0.extend_from_slice(b"0000");
        self
    }

    pub(crate) fn delimiter(&mut self) -> &mut Self {
        self.0.extend_from_slice(b"0001");
        self
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// A reference of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) id: String,
    /// What an annotated tag leads to.
    pub(crate) peeled: Option<String>,
    /// What a symbolic one stands for.
    pub(crate) target: Option<String>,
}

/// What a server says at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Advertisement {
    /// Version 2: nothing but what it can do.
    Two(Vec<String>),
    /// Version 0 or 1: every reference, and what it can do.
    Zero { capabilities: Vec<String>, references: Vec<Reference> },
}

impl Advertisement {
    /// Reads the answer to `info/refs`.
    pub(crate) fn read(packets: &mut Packets<'_, impl Read>) -> Result<Self, GitError> {
        let mut first = packets.text()?;
        if first.as_deref().is_some_and(|line| line.starts_with("# service=")) {
            // A flush ends the announcement of the service.
            if packets.line()?.is_some() {
                return Err(packets.protocol("the service's name does not stand alone"));
            }
            first = packets.text()?;
        }
        match first.as_deref() {
            Some("version 2") => {
                let mut capabilities = Vec::new();
                while let Some(line) = packets.text()? {
                    capabilities.push(line);
                }
                Ok(Self::Two(capabilities))
            }
            Some("version 1") => {
                let first = packets.text()?;
                Self::old(packets, first)
            }
            _ => Self::old(packets, first),
        }
    }

    fn old(packets: &mut Packets<'_, impl Read>, first: Option<String>) -> Result<Self, GitError> {
        let (mut capabilities, mut references) = (Vec::new(), Vec::<Reference>::new());
        let mut next = first;
        while let Some(line) = next {
            let (line, more) = line.split_once('\0').unwrap_or((&line, ""));
            capabilities.extend(more.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
            let (id, name) =
                line.split_once(' ').ok_or_else(|| packets.protocol("a reference without a name"))?;
            if id != "shallow" {
                let id = id_of(packets, id)?;
                match (name.strip_suffix("^{}"), references.last_mut()) {
                    (Some(of), Some(last)) if last.name == of => last.peeled = Some(id),
                    // What an empty repository has in the place of references.
                    (Some("capabilities"), _) => {}
                    (Some(_), _) => return Err(packets.protocol("a peeled tag without the tag")),
                    (None, _) => {
                        let name = name.to_owned();
                        references.push(Reference { name, id, peeled: None, target: None });
                    }
                }
            }
            next = packets.text()?;
        }
        for capability in &capabilities {
            let Some((name, target)) = capability.strip_prefix("symref=").and_then(|s| s.split_once(':'))
            else {
                continue;
            };
            for reference in references.iter_mut().filter(|reference| reference.name == name) {
                reference.target = Some(target.to_owned());
            }
        }
        Ok(Self::Zero { capabilities, references })
    }

    /// The value of a capability; empty where it has none.
    pub(crate) fn capability(&self, name: &str) -> Option<&str> {
        let (Self::Two(all) | Self::Zero { capabilities: all, .. }) = self;
        all.iter().find_map(|one| match one.strip_prefix(name) {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        })
    }
}

/// Reads the answer to `ls-refs`.
pub(crate) fn references(packets: &mut Packets<'_, impl Read>) -> Result<Vec<Reference>, GitError> {
    let mut references = Vec::new();
    while let Some(line) = packets.text()? {
        let mut words = line.split(' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else {
            return Err(packets.protocol("a reference without a name"));
        };
        // The branch of HEAD where there is no commit yet.
        if id == "unborn" {
            continue;
        }
        let mut reference =
            Reference { name: name.to_owned(), id: id_of(packets, id)?, peeled: None, target: None };
        for word in words {
            if let Some(target) = word.strip_prefix("symref-target:") {
                reference.target = Some(target.to_owned());
            } else if let Some(id) = word.strip_prefix("peeled:") {
                reference.peeled = Some(id_of(packets, id)?);
            }
        }
        references.push(reference);
    }
    Ok(references)
}

fn id_of(packets: &Packets<'_, impl Read>, text: &str) -> Result<String, GitError> {
    match wbuild_oci::git::is_commit_id(text) {
        true => Ok(text.to_owned()),
        false => Err(packets.protocol("an object's id that is none")),
    }
}
