//! What the kernel knows of an AF_UNIX socket by its inode: name and peer (sock_diag(7), linux/unix_diag.h).
//!
//! The broker has no descriptor of a guest's connected sockets, so it asks the kernel's diagnostics by inode.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A socket as diagnostics describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// The address it is bound to, as the kernel has it: a path or a name with a leading NUL.
    pub(crate) name: Option<Vec<u8>>,
    /// The inode of the socket it is connected to.
    pub(crate) peer: Option<u64>,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const SHOW_NAME: u32 = 1;
const SHOW_PEER: u32 = 4;
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_PEER: u16 = 2;
const NO_COOKIE: u32 = u32::MAX;
const HEADER: usize = 16;
const DIAG_MESSAGE: usize = 16;

/// Describes the AF_UNIX socket `inode`; `None` where there is none with this number.
///
/// # Errors
/// The kernel has no socket diagnostics, or denies them.
pub(crate) fn describe(inode: u64) -> Result<Option<Described>, Errno> {
    let Ok(inode) = u32::try_from(inode) else { return Ok(None) };
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &request(inode), SendFlags::empty())?;
    let mut reply = [0_u8; 1024];
    let (length, _) = rustix::net::recv(&socket, &mut reply, RecvFlags::empty())?;
    parse(&reply[..length])
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request(inode: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend_from_slice(&40_u32.to_ne_bytes());
    bytes.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    // Family, protocol, padding.
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    for word in [u32::MAX, inode, SHOW_NAME | SHOW_PEER, NO_COOKIE, NO_COOKIE] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn parse(reply: &[u8]) -> Result<Option<Described>, Errno> {
    let kind = reply.get(4..6).and_then(|bytes| bytes.first_chunk()).ok_or(Errno::IO)?;
    match u16::from_ne_bytes(*kind) {
        SOCK_DIAG_BY_FAMILY => {}
        NLMSG_ERROR => {
            let code =
                reply.get(HEADER..HEADER + 4).and_then(|bytes| bytes.first_chunk()).ok_or(Errno::IO)?;
            let errno = Errno::from_raw_os_error(-i32::from_ne_bytes(*code));
            return if errno == Errno::NOENT { Ok(None) } else { Err(errno) };
        }
        _ => return Err(Errno::IO),
    }
    let mut described = Described::default();
    let mut rest = reply.get(HEADER + DIAG_MESSAGE..).unwrap_or_default();
    // `struct rtattr`: length with its own four bytes, type, then the value, padded to four.
    while let Some(head) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let attribute = u16::from_ne_bytes([head[2], head[3]]);
        let Some(value) = rest.get(4..length) else { break };
        match (attribute, value.first_chunk()) {
            (ATTRIBUTE_NAME, _) => described.name = Some(value.to_vec()),
            (ATTRIBUTE_PEER, Some(inode)) => {
                described.peer = Some(u64::from(u32::from_ne_bytes(*inode))).filter(|inode| *inode != 0);
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    if let Some(name) = &mut described.name
        && name.first() != Some(&0)
        && let Some(end) = name.iter().position(|byte| *byte == 0)
    {
        name.truncate(end);
    }
    Ok(Some(described))
}

/// The address of a socket of our own, as diagnostics would tell it.
///
/// # Errors
/// What getsockname(2) answers.
pub(crate) fn own_name(socket: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let address = rustix::net::getsockname(socket.as_fd())?;
    let address = rustix::net::SocketAddrUnix::try_from(address)?;
    Ok(address.path_bytes().unwrap_or_default().to_vec())
}

/// The address a socket of our own is connected to; `None` if it is not.
///
/// # Errors
/// What getpeername(2) answers.
pub(crate) fn peer_name(socket: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let address = match rustix::net::getpeername(socket.as_fd()) {
        Err(Errno::NOTCONN) => return Ok(None),
        other => other?,
    };
    let address = address.map(rustix::net::SocketAddrUnix::try_from).transpose()?;
    Ok(Some(address.and_then(|address| address.path_bytes().map(<[u8]>::to_vec)).unwrap_or_default()))
}

/// True if the socket behind an `O_PATH` descriptor is an AF_UNIX one; `None` where the kernel does not tell.
pub(crate) fn is_unix(copy: &OwnedFd) -> Option<bool> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let mut protocol = [0; 64];
    // sockfs answers the name of the socket's protocol: UNIX, UNIX-STREAM, TCP, NETLINK, ..
    let length = rustix::fs::getxattr(path, "system.sockprotoname", &mut protocol[..]).ok()?;
    Some(protocol[..length].starts_with(b"UNIX"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn inode(fd: impl AsFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    #[test]
    fn the_kernel_tells_names_and_peers() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();

        let name = path.to_str().unwrap().as_bytes().to_vec();
        let expected = Described { name: Some(name.clone()), peer: Some(inode(&client)) };
        assert_eq!(describe(inode(&server)).unwrap(), Some(expected));
        let expected = Described { name: None, peer: Some(inode(&server)) };
        assert_eq!(describe(inode(&client)).unwrap(), Some(expected));
        assert_eq!(
            describe(inode(&listener)).unwrap(),
            Some(Described { name: Some(name.clone()), peer: None })
        );
        assert_eq!(own_name(&listener.into()).unwrap(), name);
        assert_eq!(peer_name(&client.into()).unwrap(), Some(name));
    }

    #[test]
    fn other_inodes_are_no_unix_sockets() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(describe(inode(&tcp)).unwrap(), None);
        let (pair, _) = UnixStream::pair().unwrap();
        assert_eq!((is_unix(&tcp.into()), is_unix(&pair.into())), (Some(false), Some(true)));
        let file = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(is_unix(&file), None);
    }
}
