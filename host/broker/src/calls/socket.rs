//! socket, bind, connect, listen, names and peers of AF_UNIX sockets (sockets/ has the design).
//!
//! Calls on anything that is no AF_UNIX socket run natively. That decision is by inode. A guest that puts another
//! socket under the number meanwhile gains nothing: every AF_UNIX socket it can hold is connected or listening, and
//! the kernel connects neither.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use wbuild_monitor::{At, Base, Fault, GuestPath, Outcome};
use wbuild_sys::notify::Inherit;

use super::frame::Frame;
use crate::call::{Call, FdFlags, Reply};
use crate::sockets::address::{self, Address, Name};
use crate::sockets::{Bound, Owner, Placeholder, Sockets, address_of, diagnostics};

/// `SOCK_TYPE_MASK`, `SOCK_NONBLOCK` and `SOCK_CLOEXEC` of linux/net.h.
const TYPE: u32 = 0xf;
const NONBLOCK: u32 = 0o4000;
const CLOEXEC: u32 = 0o2_000_000;
const STREAM: u32 = 1;
const SEQPACKET: u32 = 5;

/// socket(AF_UNIX, type, protocol).
///
/// # Errors
/// EPROTONOSUPPORT, ESOCKTNOSUPPORT for datagrams: a path could travel with every message.
pub(crate) fn socket(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let (kind, protocol) = (call.uint(1), call.uint(2));
    if protocol > 1 {
        return Err(Errno::PROTONOSUPPORT.into());
    }
    let kind_of = match kind & TYPE {
        STREAM => SocketType::STREAM,
        SEQPACKET => SocketType::SEQPACKET,
        _ => return Err(Errno::SOCKTNOSUPPORT.into()),
    };
    let flags = if kind & NONBLOCK == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    let made = call.step().sockets.make_placeholder(kind_of, flags)?;
    Ok(Reply::Fd(made, FdFlags::from_open_flags(u64::from(kind & CLOEXEC))))
}

/// socket(AF_INET | AF_INET6, ..) where a policy says whether the step may have one. The families, types and protocols that the kernel
/// makes stand in the table.
///
/// # Errors
/// EACCES where it may not.
pub(crate) fn internet(call: &mut Call<'_>) -> Result<Reply, Fault> {
    call.step().monitor.permit_internet(Some(call.task().tgid()))?;
    Ok(Reply::Continue)
}

/// socketpair(AF_UNIX, SOCK_DGRAM, protocol, pair): a pair of SOCK_SEQPACKET, which keeps messages apart as well and takes no
/// address with them. It differs where an end is closed: the other reads an end of file.
///
/// # Errors
/// EPROTONOSUPPORT, EFAULT, EMFILE.
pub(crate) fn datagram_pair(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let (kind, protocol) = (call.uint(1), call.uint(2));
    if protocol > 1 {
        return Err(Errno::PROTONOSUPPORT.into());
    }
    // The kernel, too, finds out that the answer can be written before it makes anything.
    call.write(call.arg(3), &[0; 8])?;
    let nonblocking = if kind & NONBLOCK == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    let flags = nonblocking | SocketFlags::CLOEXEC;
    let (first, second) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let inherit = if kind & CLOEXEC == 0 { Inherit::AcrossExec } else { Inherit::No };
    let install = |socket: &OwnedFd| call.listener().add(call.notice().id, socket.as_fd(), inherit);
    let pair = [install(&first)?, install(&second)?];
    let bytes: Vec<u8> = pair.into_iter().flat_map(u32::to_ne_bytes).collect();
    call.write(call.arg(3), &bytes)?;
    Ok(Reply::Value(0))
}

/// A placeholder in a call: the guest's number, our inode of it, and what it is.
struct Aim {
    number: u32,
    inode: u64,
    placeholder: Placeholder,
}

/// The placeholder at argument 0; `None` for anything else.
fn aim(call: &Call<'_>) -> Result<Option<Aim>, Fault> {
    let inode = inode(call)?;
    let number = call.uint(0);
    Ok(call.step().sockets.placeholder(inode).map(|placeholder| Aim { number, inode, placeholder }))
}

/// The inode of the guest's descriptor at argument 0.
fn inode(call: &Call<'_>) -> Result<u64, Fault> {
    let copy = call.task().descriptor(call.int(0))?;
    Ok(rustix::fs::fstat(&copy)?.st_ino)
}

/// bind or connect of what is no placeholder: the kernel's, but for an AF_UNIX socket, which is connected or listens.
/// The kernel would look the path up before it refuses, and its errors would tell what stands outside the rootfs.
fn native_unless_unix(call: &Call<'_>, refusal: Refusal) -> Result<Reply, Fault> {
    let copy = call.task().descriptor(call.int(0))?;
    let inode = rustix::fs::fstat(&copy)?.st_ino;
    if !diagnostics::is_unix(&copy).unwrap_or_else(|| diagnosed(inode).is_some()) {
        match refusal {
            Refusal::OfConnect => note_contact(call),
            Refusal::OfBind => note_port(call),
        }
        return Ok(Reply::Continue);
    }
    let listens = call.step().sockets.made(inode).is_some_and(|made| made.peer.is_none());
    let connecting = refusal == Refusal::OfConnect && !listens;
    Err(if connecting { Errno::ISCONN } else { Errno::INVAL }.into())
}

/// Evidence of a connection to another machine. What the kernel will not understand is none of it.
fn note_contact(call: &Call<'_>) {
    let monitor = &call.step().monitor;
    let Ok(length) = usize::try_from(call.int(2)) else { return };
    let mut bytes = [0; address::MAX];
    let length = length.min(address::MAX);
    if !monitor.gathers_evidence() || call.read(call.arg(1), &mut bytes[..length]).is_err() {
        return;
    }
    if let Some(address) = address::internet(&bytes[..length]) {
        monitor.note_contact(address);
    }
}

/// A port that this host will refuse is told at the end of the step.
fn note_port(call: &Call<'_>) {
    let Ok(length) = usize::try_from(call.int(2)) else { return };
    let mut bytes = [0; address::MAX];
    let length = length.min(address::MAX);
    if call.read(call.arg(1), &mut bytes[..length]).is_ok()
        && let Some(address) = address::internet(&bytes[..length])
    {
        call.step().sockets.ports.wanted(address.port());
    }
}

/// Which call is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    OfBind,
    OfConnect,
}

/// What diagnostics say; `None` for what is no AF_UNIX socket, and where the kernel has no diagnostics.
fn diagnosed(inode: u64) -> Option<diagnostics::Described> {
    diagnostics::describe(inode).unwrap_or_else(|errno| {
        tracing::debug!(%errno, "no socket diagnostics: names and peers of AF_UNIX sockets are the kernel's");
        None
    })
}

/// The address at argument 1 with its length at argument 2.
fn given(call: &Call<'_>) -> Result<Address, Fault> {
    let length = usize::try_from(call.int(2)).map_err(|_| Errno::INVAL)?;
    if length > address::MAX {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = [0; address::MAX];
    call.read(call.arg(1), &mut bytes[..length])?;
    Ok(address::decode(&bytes[..length])?)
}

fn owner(frame: &Frame<'_>) -> Owner {
    let credentials = &frame.state.identity.credentials;
    Owner {
        pid: frame.task.tgid(),
        uid: credentials.uid.effective,
        gid: credentials.gid.effective,
        groups: credentials.groups.clone(),
    }
}

fn real_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

/// bind(fd, address, length).
///
/// # Errors
/// EINVAL if it is bound already, EADDRINUSE, and what the monitor says of the place.
pub(crate) fn bind(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let Some(aim) = aim(call)? else { return native_unless_unix(call, Refusal::OfBind) };
    let address = given(call)?;
    let frame = Frame::of(call)?;
    let sockets = &call.step().sockets;
    if sockets.bound_name(aim.inode).is_some() {
        return Err(Errno::INVAL.into());
    }
    let socket = real_socket(aim.placeholder.kind)?;
    let name = match address {
        Address::Named(name) => name,
        Address::Unnamed => Name::Abstract(sockets.unused_abstract()),
    };
    match &name {
        Name::Abstract(text) => bind_abstract(sockets, &socket, text)?,
        Name::Path(text) => bind_path(&frame, &socket, text)?,
    }
    sockets.bound(aim.inode, socket, name, owner(&frame))?;
    Ok(Reply::Value(0))
}

fn bind_abstract(sockets: &Sockets, socket: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
    let file = sockets.claim_abstract(name)?;
    let bound = rustix::net::SocketAddrUnix::new(file.as_path())
        .and_then(|address| rustix::net::bind(socket, &address));
    if bound.is_err() {
        sockets.release_abstract(name);
    }
    Ok(bound?)
}

fn bind_path(frame: &Frame<'_>, socket: &OwnedFd, text: &[u8]) -> Result<(), Fault> {
    let path = GuestPath::new(text)?;
    let mut make = |directory: std::os::fd::BorrowedFd<'_>, name: &[u8]| {
        frame.step.sockets.bind_in(socket, directory, name)
    };
    let at = At { base: Base::Cwd, path: &path };
    match frame.ask(|monitor, subject| monitor.bind_socket(subject, at, &mut make)) {
        Ok(Outcome::Done(())) => Ok(()),
        Ok(Outcome::View(_) | Outcome::Object(_)) => Err(Errno::ROFS.into()),
        // bind(2) has its own name for a file that is there.
        Err(Fault::Errno(Errno::EXIST)) => Err(Errno::ADDRINUSE.into()),
        Err(fault) => Err(fault),
    }
}

/// listen(fd, backlog): the real socket takes the placeholder's number.
///
/// # Errors
/// EINVAL for a socket without a name.
pub(crate) fn listen(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let Some(aim) = aim(call)? else { return Ok(Reply::Continue) };
    let frame = Frame::of(call)?;
    let sockets = &call.step().sockets;
    let bound = sockets.take_bound(aim.inode).ok_or(Errno::INVAL)?;
    match rustix::net::listen(&bound.socket, call.int(1)) {
        Ok(()) => install(call, &frame, &aim, &bound.socket),
        Err(errno) => {
            sockets.restore_bound(aim.inode, bound);
            Err(errno.into())
        }
    }
}

/// Puts `socket` where the placeholder is, with the placeholder's own flags.
fn install(call: &Call<'_>, frame: &Frame<'_>, aim: &Aim, socket: &OwnedFd) -> Result<Reply, Fault> {
    let flags = DescriptorFlags::of(call)?;
    rustix::io::ioctl_fionbio(socket, flags.nonblocking)?;
    let inherit = if flags.close_on_exec { Inherit::No } else { Inherit::AcrossExec };
    call.still_asked()?;
    call.listener().add_at(call.notice().id, socket.as_fd(), aim.number, inherit)?;
    call.step().sockets.replaced(aim.inode, socket, owner(frame))?;
    Ok(Reply::Value(0))
}

/// The flags of a guest's descriptor.
struct DescriptorFlags {
    nonblocking: bool,
    close_on_exec: bool,
}

impl DescriptorFlags {
    fn of(call: &Call<'_>) -> Result<Self, Fault> {
        let flags = call.task().descriptor_flags(call.int(0))?;
        let has = |flag: u32| flags & u64::from(flag) != 0;
        Ok(Self { nonblocking: has(NONBLOCK), close_on_exec: has(CLOEXEC) })
    }
}

/// connect(fd, address, length).
///
/// # Errors
/// ECONNREFUSED where nobody listens, EAGAIN for a full backlog of a non-blocking socket, and what the monitor says.
pub(crate) fn connect(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let Some(aim) = aim(call)? else { return native_unless_unix(call, Refusal::OfConnect) };
    let Address::Named(name) = given(call)? else { return Err(Errno::INVAL.into()) };
    let frame = Frame::of(call)?;
    let target = target(&frame, &name)?;
    let bound = call.step().sockets.take_bound(aim.inode);
    let socket = match bound {
        Some(Bound { socket, .. }) => socket,
        None => real_socket(aim.placeholder.kind)?,
    };
    match rustix::net::connect(&socket, &address_of(target.as_fd())?) {
        Ok(()) => install(call, &frame, &aim, &socket),
        Err(Errno::AGAIN) if !DescriptorFlags::of(call)?.nonblocking => {
            Ok(Reply::Blocking(Box::new(move |call| {
                let frame = Frame::of(call)?;
                rustix::io::ioctl_fionbio(&socket, false)?;
                rustix::net::connect(&socket, &address_of(target.as_fd())?)?;
                install(call, &frame, &aim, &socket)
            })))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// The socket file a name leads to.
fn target(frame: &Frame<'_>, name: &Name) -> Result<OwnedFd, Fault> {
    match name {
        Name::Abstract(text) => {
            let file = frame.step.sockets.abstract_file(text).ok_or(Errno::CONNREFUSED)?;
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            Ok(rustix::fs::open(file, flags, rustix::fs::Mode::empty())?)
        }
        Name::Path(text) => {
            let path = GuestPath::new(text.as_slice())?;
            let at = At { base: Base::Cwd, path: &path };
            match frame.ask(|monitor, subject| monitor.connect_socket(subject, at))? {
                Outcome::Done(file) => Ok(file),
                Outcome::View(_) | Outcome::Object(_) => Err(Errno::CONNREFUSED.into()),
            }
        }
    }
}

/// [`diagnosed`], without asking while a step has made no socket here: what it has then came in pairs.
fn described(call: &Call<'_>, inode: u64) -> Option<diagnostics::Described> {
    if call.step().sockets.any() { diagnosed(inode) } else { None }
}

/// Writes an address and its length, both truncated as Linux does.
fn answer(call: &Call<'_>, name: Option<&Name>) -> Result<Reply, Fault> {
    let bytes = address::encode(name);
    let room = i32::from_ne_bytes(call.read_array(call.arg(2))?);
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    call.write(call.arg(1), &bytes[..bytes.len().min(room)])?;
    let length = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    call.write(call.arg(2), &length.to_ne_bytes())?;
    Ok(Reply::Value(0))
}

/// getsockname(fd, address, length).
///
/// # Errors
/// EFAULT, EBADF.
pub(crate) fn getsockname(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let inode = inode(call)?;
    let sockets = &call.step().sockets;
    if sockets.placeholder(inode).is_some() {
        return answer(call, sockets.bound_name(inode).as_ref());
    }
    match described(call, inode) {
        None => Ok(Reply::Continue),
        Some(described) => answer(call, known(sockets, &described).as_ref()),
    }
}

/// The guest's name for the address a socket is bound to.
fn known(sockets: &Sockets, described: &diagnostics::Described) -> Option<Name> {
    sockets.known(described.name.as_deref()?).map(|known| known.name)
}

/// getpeername(fd, address, length).
///
/// # Errors
/// ENOTCONN, EFAULT, EBADF.
pub(crate) fn getpeername(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let inode = inode(call)?;
    let sockets = &call.step().sockets;
    if sockets.placeholder(inode).is_some() {
        return Err(Errno::NOTCONN.into());
    }
    if let Some(made) = sockets.made(inode) {
        let peer = made.peer.ok_or(Errno::NOTCONN)?;
        return answer(call, sockets.known(&peer).map(|known| known.name).as_ref());
    }
    let Some(described) = described(call, inode) else { return Ok(Reply::Continue) };
    // Accepted, or one of a pair; a peer that was closed had a name that nobody asks for any more.
    let peer = described.peer.and_then(diagnosed).unwrap_or_default();
    answer(call, known(sockets, &peer).as_ref())
}

/// SO_PEERCRED and SO_PEERGROUPS of linux/socket.h.
const PEERCRED: u32 = 17;
const PEERGROUPS: u32 = 59;

/// getsockopt(fd, SOL_SOCKET, SO_PEERCRED | SO_PEERGROUPS | SO_PEERPIDFD, value, length): the kernel knows only the
/// broker, which connects for everybody.
///
/// # Errors
/// ERANGE where the groups do not fit; ENOPROTOOPT for SO_PEERPIDFD, as before Linux 6.5.
pub(crate) fn peer_option(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let inode = inode(call)?;
    let frame = Frame::of(call)?;
    let sockets = &call.step().sockets;
    let is_placeholder = sockets.placeholder(inode).is_some();
    let described = diagnosed(inode);
    if !is_placeholder && described.is_none() {
        return Ok(Reply::Continue);
    }
    let peer = if is_placeholder { None } else { peer_owner(&frame, sockets, inode, described.as_ref()) };
    match call.uint(2) {
        PEERCRED => {
            let (pid, uid, gid) = peer.map_or((0, u32::MAX, u32::MAX), |peer| (peer.pid, peer.uid, peer.gid));
            let words: Vec<u8> = [pid, uid, gid].into_iter().flat_map(u32::to_ne_bytes).collect();
            answer_option(call, &words, Short::Truncates)
        }
        PEERGROUPS => {
            let groups = peer.map(|peer| peer.groups).ok_or(Errno::NODATA)?;
            let words: Vec<u8> = groups.into_iter().flat_map(u32::to_ne_bytes).collect();
            answer_option(call, &words, Short::Refused)
        }
        _ => Err(Errno::NOPROTOOPT.into()),
    }
}

/// Who is at the other end: the client that connected, or whoever bound the name that was connected to.
fn peer_owner(
    frame: &Frame<'_>,
    sockets: &Sockets,
    inode: u64,
    described: Option<&diagnostics::Described>,
) -> Option<Owner> {
    let known_at = |name: Option<&[u8]>| name.and_then(|name| sockets.known(name));
    if let Some(made) = sockets.made(inode) {
        // A listening socket's peer is the process that made it listen.
        let listener = known_at(made.peer.as_deref()).map(|known| known.owner);
        return Some(listener.unwrap_or(made.owner));
    }
    let Some(peer) = described.and_then(|described| described.peer) else {
        // Accepted from a client that is gone: whoever connected there last.
        return known_at(described?.name.as_deref())?.client;
    };
    if let Some(made) = sockets.made(peer) {
        return Some(made.owner);
    }
    let peer = diagnosed(peer).unwrap_or_default();
    let bound = known_at(peer.name.as_deref()).map(|known| known.owner);
    // A pair: both ends were made by the caller or by whom it inherited them from, as the same user.
    Some(bound.unwrap_or_else(|| owner(frame)))
}

/// What happens to a value that is longer than the guest's buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Short {
    Truncates,
    Refused,
}

fn answer_option(call: &Call<'_>, value: &[u8], short: Short) -> Result<Reply, Fault> {
    let room = i32::from_ne_bytes(call.read_array(call.arg(4))?);
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    let length = value.len().min(room);
    if short == Short::Refused && room < value.len() {
        let needed = u32::try_from(value.len()).map_err(|_| Errno::INVAL)?;
        call.write(call.arg(4), &needed.to_ne_bytes())?;
        return Err(Errno::RANGE.into());
    }
    call.write(call.arg(3), &value[..length])?;
    let written = u32::try_from(length).map_err(|_| Errno::INVAL)?;
    call.write(call.arg(4), &written.to_ne_bytes())?;
    Ok(Reply::Value(0))
}
