//! The messages of the agent protocol (draft-miller-ssh-agent): the two that use a key, and their answers.
//!
//! Invariant: [`Request::read`] knows nothing else, so nothing else can be passed on. A message is a length (u32, big-endian) and that many bytes.

use std::io::{self, Read, Write};

/// OpenSSH's own limit of a message.
const LONGEST: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// What a step may ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Which keys there are.
    List,
    /// A signature of `data`.
    Sign {
        /// The public key.
        key: &'a [u8],
        data: &'a [u8],
        flags: u32,
    },
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Failure,
    /// Public keys with their comments.
    Identities(Vec<(&'a [u8], &'a str)>),
    /// `string` algorithm, `string` signature.
    Signature(Vec<u8>),
    /// As a running agent said it.
    Passed(Vec<u8>),
}

impl<'a> Request<'a> {
    /// Reads a message; `None` for what no step may ask, and for what is malformed.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        match message.split_first()? {
            (&REQUEST_IDENTITIES, []) => Some(Self::List),
            (&SIGN_REQUEST, rest) => {
                let (key, rest) = string(rest)?;
                let (data, rest) = string(rest)?;
                let flags = u32::from_be_bytes(rest.try_into().ok()?);
                Some(Self::Sign { key, data, flags })
            }
            _ => None,
        }
    }
}

impl Answer<'_> {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Failure => bytes.push(FAILURE),
            Self::Identities(keys) => {
                bytes.push(IDENTITIES_ANSWER);
                bytes.extend_from_slice(&u32::try_from(keys.len()).unwrap_or(u32::MAX).to_be_bytes());
                for (blob, comment) in keys {
                    put(&mut bytes, blob);
                    put(&mut bytes, comment.as_bytes());
                }
            }
            Self::Signature(signature) => {
                bytes.push(SIGN_RESPONSE);
                put(&mut bytes, &signature);
            }
            Self::Passed(message) => bytes = message,
        }
        bytes
    }
}

/// Appends a `string`: its length and its bytes.
pub(crate) fn put(bytes: &mut Vec<u8>, value: &[u8]) {
    // No caller has more than a message's worth.
    bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(value);
}

/// A `string` and what follows it.
pub(crate) fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Sends one message.
pub(crate) fn send(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(4 + message.len());
    put(&mut framed, message);
    stream.write_all(&framed)
}

/// Receives one message; `None` at the end of the stream.
pub(crate) fn receive(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read(&mut length) {
        Ok(0) => return Ok(None),
        Ok(read) => stream.read_exact(&mut length[read..])?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => stream.read_exact(&mut length)?,
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(io::Error::other("a message of the agent protocol with a length that none has"));
    }
    let mut message = Vec::new();
    // As it comes: a length alone reserves no memory.
    stream.take(u64::from(length)).read_to_end(&mut message)?;
    if message.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_list_and_sign_are_requests() {
        let mut sign = vec![SIGN_REQUEST];
        put(&mut sign, b"key");
        put(&mut sign, b"data");
        sign.extend_from_slice(&4_u32.to_be_bytes());
        assert_eq!(Request::read(&[REQUEST_IDENTITIES]), Some(Request::List));
        assert_eq!(Request::read(&sign), Some(Request::Sign { key: b"key", data: b"data", flags: 4 }));
        for number in (0..=255).filter(|number| ![REQUEST_IDENTITIES, SIGN_REQUEST].contains(number)) {
            let mut other = sign.clone();
            other[0] = number;
            assert_eq!((Request::read(&other), Request::read(&[number])), (None, None), "{number}");
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_no_request() {
        let mut sign = vec![SIGN_REQUEST];
        put(&mut sign, b"key");
        put(&mut sign, b"data");
        sign.extend_from_slice(&[0; 4]);
        for end in 0..sign.len() {
            assert_eq!(Request::read(&sign[..end]), None, "{end}");
        }
        sign.push(0);
        assert_eq!(Request::read(&sign), None);
        assert_eq!(Request::read(&[REQUEST_IDENTITIES, 0]), None);
        assert_eq!(string(&[0xff; 8]), None);
    }

    #[test]
    fn a_message_is_framed_by_its_length() {
        let mut bytes = Vec::new();
        send(&mut bytes, b"one").unwrap();
        send(&mut bytes, b"two").unwrap();
        let mut stream = bytes.as_slice();
        assert_eq!(receive(&mut stream).unwrap().as_deref(), Some(b"one".as_slice()));
        assert_eq!(receive(&mut stream).unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(receive(&mut stream).unwrap(), None);
        for wrong in [[0, 0, 0, 0].as_slice(), &[0xff; 4], &[0, 0, 0, 2, 1], &[0, 0]] {
            receive(&mut &*wrong).unwrap_err();
        }
    }
}
