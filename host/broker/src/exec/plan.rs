//! What a stub asks for before it runs a program: the plan of the exec that started it.
//!
//! Invariant: a plan is given once, to the process whose exec made it. Its format is the stub's own file, compiled
//! into both.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use wbuild_monitor::Fault;
use wbuild_sys::notify::Inherit;

use super::module;
use super::program::Way;
use crate::call::{Call, FdFlags, Reply};
use crate::identity::Transition;

#[expect(unreachable_pub, reason = "the file is the stub's too, where it is a whole interface")]
#[path = "../../../stub/src/plan.rs"]
mod format;

/// The directory descriptor by which a stub's openat asks for its plan, as the filter compares it.
pub const DIRFD: u32 = format::PLAN_DIRFD.cast_unsigned();

/// One exec's plan, until its stub fetches it.
pub(super) struct Plan {
    pub(super) way: Way,
    pub(super) program: Option<OwnedFd>,
    pub(super) interpreter: Option<OwnedFd>,
    pub(super) name: Vec<u8>,
    pub(super) prefix: Vec<Vec<u8>>,
    pub(super) credentials: Option<AuxCredentials>,
}

/// What the auxiliary vector says of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuxCredentials {
    uid: [u32; 2],
    gid: [u32; 2],
    secure: bool,
}

impl From<&Transition> for AuxCredentials {
    fn from(transition: &Transition) -> Self {
        let credentials = &transition.identity.credentials;
        Self {
            uid: [credentials.uid.real, credentials.uid.effective],
            gid: [credentials.gid.real, credentials.gid.effective],
            secure: transition.secure,
        }
    }
}

impl AuxCredentials {
    /// (type, value) pairs: AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE.
    fn pairs(self) -> [(u64, u64); 5] {
        [
            (11, self.uid[0].into()),
            (12, self.uid[1].into()),
            (13, self.gid[0].into()),
            (14, self.gid[1].into()),
            (23, self.secure.into()),
        ]
    }
}

/// openat(DIRFD, "", O_CLOEXEC): installs the plan's descriptors and answers with a memfd that holds the plan.
///
/// # Errors
/// EBADF where no exec of this process has a plan, as for any directory descriptor nobody has.
pub fn deliver(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let plan = call.step().exec.take(call.task().tgid()).ok_or(Errno::BADF)?;
    if let Way::Module(kind) = plan.way {
        return Ok(Reply::Blocking(Box::new(move |call| module::deliver(call, plan, kind))));
    }
    let install = |fd: &Option<OwnedFd>| -> Result<u64, Errno> {
        fd.as_ref()
            .map_or(Ok(0), |fd| call.listener().add(call.notice().id, fd.as_fd(), Inherit::No).map(u64::from))
    };
    let (program, interpreter) = (install(&plan.program)?, install(&plan.interpreter)?);
    answer(&encode(&plan, program, interpreter))
}

/// A memfd with these bytes, for the process that asked.
pub(super) fn answer(bytes: &[u8]) -> Result<Reply, Fault> {
    let file = rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    Ok(Reply::Fd(file, FdFlags::CloseOnExec))
}

/// The plan as the stub reads it.
fn encode(plan: &Plan, program: u64, interpreter: u64) -> Vec<u8> {
    const WORD: usize = 8;
    let aux: Vec<(u64, u64)> = plan.credentials.map(|c| c.pairs().to_vec()).unwrap_or_default();
    let prepend_table = format::HEADER_WORDS * WORD;
    let aux_table = prepend_table + plan.prefix.len() * WORD;
    let mut strings_at = aux_table + 2 * aux.len() * WORD;
    let mut strings = Vec::new();
    let mut place = |text: &[u8]| {
        let at = strings_at as u64;
        strings.extend_from_slice(text);
        strings.push(0);
        strings_at += text.len() + 1;
        at
    };
    let name = place(&plan.name);
    let prefix: Vec<u64> = plan.prefix.iter().map(|text| place(text)).collect();

    let mut header = [0_u64; format::HEADER_WORDS];
    header[format::WORD_MAGIC] = format::MAGIC;
    header[format::WORD_LENGTH] = strings_at as u64;
    header[format::WORD_MODE] = match plan.way {
        Way::Planted | Way::Direct | Way::Module(_) => format::MODE_INTERPRETER,
        Way::Loader => format::MODE_LOADER,
        Way::Reexec => format::MODE_REEXEC,
    };
    header[format::WORD_PROGRAM_FD] = program;
    header[format::WORD_INTERPRETER_FD] = interpreter;
    header[format::WORD_EXECFN] = name;
    header[format::WORD_DROP_ARGUMENTS] = u64::from(!plan.prefix.is_empty());
    header[format::WORD_PREPEND_COUNT] = plan.prefix.len() as u64;
    header[format::WORD_PREPEND_TABLE] = prepend_table as u64;
    header[format::WORD_AUX_COUNT] = aux.len() as u64;
    header[format::WORD_AUX_TABLE] = aux_table as u64;
    header[format::WORD_RESERVED] = 0;

    let words = header.into_iter().chain(prefix).chain(aux.into_iter().flat_map(|(key, value)| [key, value]));
    words.flat_map(u64::to_ne_bytes).chain(strings).collect()
}
