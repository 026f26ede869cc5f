//! Extended attributes in all spellings: man 7 xattr, man 2 setxattr; the *xattrat calls of Linux 6.13.

use rustix::io::Errno;
use wbuild_monitor::{Fault, LastLink, Outcome, XattrWrite};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, at_flag, no_follow};
use super::{done, view};
use crate::call::{Call, Reply};
use crate::identity::FileCapabilities;

/// `XATTR_NAME_MAX` of linux/limits.h.
const NAME_MAX: usize = 255;
/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of linux/limits.h.
const SIZE_MAX: u64 = 65536;
const CREATE: u32 = 1;
const REPLACE: u32 = 2;

/// How the first argument names the file.
#[derive(Clone, Copy)]
enum Spelling {
    Path(LastLink),
    Descriptor,
}

const FOLLOW: Spelling = Spelling::Path(LastLink::Follow);
const NO_FOLLOW: Spelling = Spelling::Path(LastLink::NoFollow);

macro_rules! spellings {
    ($($family:ident: $follow:ident $no_follow:ident $descriptor:ident;)*) => {$(
        /// See the module; follows a last link.
        ///
        /// # Errors
        /// What the guest gets.
        pub fn $follow(call: &mut Call<'_>) -> Result<Reply, Fault> {
            $family(call, FOLLOW)
        }

        /// See the module; means a last link itself.
        ///
        /// # Errors
        /// What the guest gets.
        pub fn $no_follow(call: &mut Call<'_>) -> Result<Reply, Fault> {
            $family(call, NO_FOLLOW)
        }

        /// See the module; by descriptor.
        ///
        /// # Errors
        /// What the guest gets.
        pub fn $descriptor(call: &mut Call<'_>) -> Result<Reply, Fault> {
            $family(call, Spelling::Descriptor)
        }
    )*};
}

spellings! {
    set_plain: setxattr lsetxattr fsetxattr;
    get_plain: getxattr lgetxattr fgetxattr;
    list_plain: listxattr llistxattr flistxattr;
    remove_plain: removexattr lremovexattr fremovexattr;
}

/// (file, name, value, size, flags)
fn set_plain(call: &Call<'_>, spelling: Spelling) -> Result<Reply, Fault> {
    let write = Write { value: call.arg(2), size: call.arg(3), flags: call.uint(4) };
    set(call, call.arg(1), &write, |frame| aim(call, frame, spelling))
}

/// (file, name, value, size)
fn get_plain(call: &Call<'_>, spelling: Spelling) -> Result<Reply, Fault> {
    let room = Room { address: call.arg(2), size: call.arg(3) };
    get(call, call.arg(1), room, |frame| aim(call, frame, spelling))
}

/// (file, list, size)
fn list_plain(call: &Call<'_>, spelling: Spelling) -> Result<Reply, Fault> {
    let room = Room { address: call.arg(1), size: call.arg(2) };
    list(call, room, |frame| aim(call, frame, spelling))
}

/// (file, name)
fn remove_plain(call: &Call<'_>, spelling: Spelling) -> Result<Reply, Fault> {
    remove(call, call.arg(1), |frame| aim(call, frame, spelling))
}

/// setxattrat(dirfd, path, at_flags, name, args, size).
///
/// # Errors
/// What the guest gets.
pub fn setxattrat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let write = arguments(call)?;
    set(call, call.arg(3), &write, |frame| aim_at(call, frame))
}

/// getxattrat(dirfd, path, at_flags, name, args, size).
///
/// # Errors
/// What the guest gets.
pub fn getxattrat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let asked = arguments(call)?;
    if asked.flags != 0 {
        return Err(Errno::INVAL.into());
    }
    get(call, call.arg(3), Room { address: asked.value, size: asked.size }, |frame| aim_at(call, frame))
}

/// listxattrat(dirfd, path, at_flags, list, size).
///
/// # Errors
/// What the guest gets.
pub fn listxattrat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    list(call, Room { address: call.arg(3), size: call.arg(4) }, |frame| aim_at(call, frame))
}

/// removexattrat(dirfd, path, at_flags, name).
///
/// # Errors
/// What the guest gets.
pub fn removexattrat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    remove(call, call.arg(3), |frame| aim_at(call, frame))
}

/// What set* takes besides file and name; `struct xattr_args` of linux/xattr.h.
struct Write {
    value: u64,
    size: u64,
    flags: u32,
}

/// A guest's buffer.
#[derive(Clone, Copy)]
struct Room {
    address: u64,
    size: u64,
}

/// `struct xattr_args` at argument 4, its size at 5: a pointer, then two 32-bit words.
fn arguments(call: &Call<'_>) -> Result<Write, Fault> {
    let [value, rest] = super::extensible(call, call.arg(4), call.arg(5))?;
    let [size, flags] = halves(rest);
    Ok(Write { value, size: size.into(), flags })
}

/// The two 32-bit words in the order in which they lie in memory.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn aim(call: &Call<'_>, frame: &Frame<'_>, spelling: Spelling) -> Result<Aim, Fault> {
    match spelling {
        Spelling::Path(last) => frame.aim(AT_FDCWD, call.path(0)?, last, EmptyPath::Refused),
        Spelling::Descriptor => frame.aim_open_fd(call.int(0)),
    }
}

fn aim_at(call: &Call<'_>, frame: &Frame<'_>) -> Result<Aim, Fault> {
    let flags = call.uint(2);
    if flags & !(at_flag::SYMLINK_NOFOLLOW | at_flag::EMPTY_PATH) != 0 {
        return Err(Errno::INVAL.into());
    }
    let (dirfd, path, empty) = (call.int(0), call.path(1)?, EmptyPath::from_flags(flags));
    if path.is_empty() && empty == EmptyPath::Allowed && dirfd != AT_FDCWD {
        // Unlike the other *at calls these refuse `O_PATH` descriptors.
        return frame.aim_open_fd(dirfd);
    }
    frame.aim(dirfd, path, no_follow(flags), empty)
}

/// The attribute's name: ERANGE for an empty or too long one, as the kernel has it.
fn name(call: &Call<'_>, address: u64) -> Result<Vec<u8>, Fault> {
    let name = call.string(address, NAME_MAX + 1)?.ok_or(Errno::RANGE)?;
    if name.is_empty() { Err(Errno::RANGE.into()) } else { Ok(name) }
}

fn set(
    call: &Call<'_>,
    name_at: u64,
    write: &Write,
    aim: impl FnOnce(&Frame<'_>) -> Result<Aim, Fault>,
) -> Result<Reply, Fault> {
    let how = match write.flags {
        0 => XattrWrite::Set,
        CREATE => XattrWrite::Create,
        REPLACE => XattrWrite::Replace,
        _ => return Err(Errno::INVAL.into()),
    };
    let name = name(call, name_at)?;
    if write.size > SIZE_MAX {
        return Err(Errno::TOOBIG.into());
    }
    let mut value = vec![0; usize::try_from(write.size).map_err(|_| Errno::TOOBIG)?];
    call.read(write.value, &mut value)?;
    // `cap_convert_nscap`: looked at before anybody's rights.
    if name == b"security.capability" && !FileCapabilities::may_be_set(&value) {
        return Err(Errno::INVAL.into());
    }
    let frame = Frame::of(call)?;
    let aim = aim(&frame)?;
    let outcome = frame
        .ask_about(&aim, |monitor, subject, target| monitor.set_xattr(subject, target, &name, &value, how))?;
    match outcome {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) => Err(view::refuse_attributes(&place)),
        Outcome::Object(_) => Err(Errno::OPNOTSUPP.into()),
    }
}

fn get(
    call: &Call<'_>,
    name_at: u64,
    room: Room,
    aim: impl FnOnce(&Frame<'_>) -> Result<Aim, Fault>,
) -> Result<Reply, Fault> {
    let name = name(call, name_at)?;
    let frame = Frame::of(call)?;
    let aim = aim(&frame)?;
    let outcome =
        frame.ask_about(&aim, |monitor, subject, target| monitor.get_xattr(subject, target, &name))?;
    match outcome {
        Outcome::Done(value) => fill(call, room, &value),
        Outcome::View(_) => Err(Errno::NODATA.into()),
        Outcome::Object(_) => Err(Errno::OPNOTSUPP.into()),
    }
}

fn list(
    call: &Call<'_>,
    room: Room,
    aim: impl FnOnce(&Frame<'_>) -> Result<Aim, Fault>,
) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let aim = aim(&frame)?;
    let outcome = frame.ask_about(&aim, |monitor, subject, target| monitor.list_xattrs(subject, target))?;
    let names = match outcome {
        Outcome::Done(names) => names,
        Outcome::View(_) | Outcome::Object(_) => Vec::new(),
    };
    let mut list = Vec::new();
    for name in names {
        list.extend_from_slice(&name);
        list.push(0);
    }
    fill(call, room, &list)
}

fn remove(
    call: &Call<'_>,
    name_at: u64,
    aim: impl FnOnce(&Frame<'_>) -> Result<Aim, Fault>,
) -> Result<Reply, Fault> {
    let name = name(call, name_at)?;
    let frame = Frame::of(call)?;
    let aim = aim(&frame)?;
    let outcome =
        frame.ask_about(&aim, |monitor, subject, target| monitor.remove_xattr(subject, target, &name))?;
    match outcome {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) => Err(view::refuse_attributes(&place)),
        Outcome::Object(_) => Err(Errno::OPNOTSUPP.into()),
    }
}

/// Answers the length, and writes `bytes` unless the guest only asks how long they are.
fn fill(call: &Call<'_>, room: Room, bytes: &[u8]) -> Result<Reply, Fault> {
    if room.size != 0 {
        if bytes.len() as u64 > room.size {
            return Err(Errno::RANGE.into());
        }
        call.write(room.address, bytes)?;
    }
    Ok(Reply::Value(bytes.len() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_xattr_args_are_size_and_flags() {
        let mut memory = [0; 8];
        memory[..4].copy_from_slice(&77_u32.to_ne_bytes());
        memory[4..].copy_from_slice(&2_u32.to_ne_bytes());
        assert_eq!(halves(u64::from_ne_bytes(memory)), [77, 2]);
    }
}
