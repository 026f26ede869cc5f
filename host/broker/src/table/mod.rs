//! The syscall table: one row per call, one sentence per row.
//!
//! Invariant: the BPF filter, the dispatch and docs/syscalls.md are derived from these rows and from nothing
//! else; a number that has no row answers ENOSYS. A row's number stands per architecture.
//! This module holds no behaviour: handlers live in calls/<family>.rs and exec/.

mod denied;
mod descriptors;
mod identity;
mod ipc;
mod memory;
mod paths;
mod processes;
mod sockets;

pub(crate) use sockets::INTERNET;

use rustix::io::Errno;

use crate::call::Handler;

/// Every row, family by family.
pub fn all() -> impl Iterator<Item = &'static Row> {
    const FAMILIES: &[&[Row]] = &[
        paths::ROWS,
        descriptors::ROWS,
        processes::ROWS,
        memory::ROWS,
        identity::ROWS,
        sockets::ROWS,
        ipc::ROWS,
        denied::ROWS,
    ];
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// A call's number on each architecture; `None` where it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// x86_64.
    pub x86_64: Option<u32>,
    /// arm64 (the generic table).
    pub aarch64: Option<u32>,
}

/// The number on both architectures.
#[must_use]
pub const fn nr(x86_64: u32, aarch64: u32) -> Numbers {
    Numbers { x86_64: Some(x86_64), aarch64: Some(aarch64) }
}

/// A call that arm64 never had (`open`, `stat`, ..).
#[must_use]
pub const fn x86(x86_64: u32) -> Numbers {
    Numbers { x86_64: Some(x86_64), aarch64: None }
}

impl Numbers {
    /// The number on the architecture this was built for.
    #[must_use]
    pub const fn here(self) -> Option<u32> {
        #[cfg(target_arch = "x86_64")]
        return self.x86_64;
        #[cfg(target_arch = "aarch64")]
        return self.aarch64;
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) const EXECVEAT: u32 = 322;
#[cfg(target_arch = "x86_64")]
pub(crate) const CLOSE: u32 = 3;
#[cfg(target_arch = "aarch64")]
pub(crate) const EXECVEAT: u32 = 281;
#[cfg(target_arch = "aarch64")]
pub(crate) const CLOSE: u32 = 57;

/// One call: its name, its numbers and what happens to it.
#[derive(Clone, Copy)]
pub struct Row {
    /// The kernel's name for it.
    pub name: &'static str,
    /// Its number per architecture.
    pub numbers: Numbers,
    /// What happens where no case applies.
    pub action: Action,
    /// Conditions on arguments, first match wins.
    pub cases: &'static [Case],
}

impl Row {
    /// What happens to a call with these arguments; the filter's program says the same.
    #[must_use]
    pub fn action_for(&self, args: &[u64; 6], cookie: u64) -> Action {
        let applies = |case: &&Case| case.when.iter().all(|condition| condition.holds(args, cookie));
        self.cases.iter().find(applies).map_or(self.action, |case| case.then)
    }
}

impl Row {
    /// True if a call with these arguments asks for a socket that reaches other machines. Where a policy says who may have one, the filter
    /// asks about it, whatever the row says.
    #[expect(clippy::cast_possible_truncation, reason = "an int argument is the low half of its register")]
    pub(crate) fn asks_for_the_internet(&self, args: &[u64; 6]) -> bool {
        self.name == "socket" && INTERNET.contains(&(args[0] as u32))
    }
}

impl Condition {
    #[expect(clippy::cast_possible_truncation, reason = "an int argument is the low half of its register")]
    fn holds(&self, args: &[u64; 6], cookie: u64) -> bool {
        let arg = args[usize::from(self.arg)];
        let low = arg as u32;
        match self.test {
            Test::Int { mask, value } => low & mask == value,
            Test::IntAny { mask } => low & mask != 0,
            Test::IntAmong(values) => values.contains(&low),
            Test::Cookie => arg == cookie,
        }
    }
}

/// What happens to a call.
#[derive(Clone, Copy)]
pub enum Action {
    /// The kernel runs it; the broker never hears of it.
    Native,
    /// The broker answers it.
    Broker(Handler),
    /// The broker looks at it and the kernel may then run it; never for a call that names a path.
    Continuing(Handler),
    /// The kernel answers this errno; the broker never hears of it.
    Deny {
        /// The answer.
        errno: Errno,
        /// Why, for docs/syscalls.md.
        reason: &'static str,
    },
}

/// An exception within a row: when all conditions hold, this action instead.
#[derive(Clone, Copy)]
pub struct Case {
    /// All must hold.
    pub when: &'static [Condition],
    /// What happens then.
    pub then: Action,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The argument, 0..=5.
    pub arg: u8,
    /// The test.
    pub test: Test,
}

/// A test of an argument's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// The low 32 bits under `mask` equal `value` (C `int` arguments: the kernel ignores the high half).
    Int {
        /// The bits looked at.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// Some bit of `mask` is set in the low 32 bits.
    IntAny {
        /// The bits looked at.
        mask: u32,
    },
    /// The low 32 bits are one of these values.
    IntAmong(&'static [u32]),
    /// All 64 bits equal the step's random exec cookie.
    Cookie,
}

/// The `int` argument `arg` equals `value`.
#[must_use]
pub const fn int(arg: u8, value: u32) -> Condition {
    Condition { arg, test: Test::Int { mask: u32::MAX, value } }
}

/// The bits `mask` of the `int` argument `arg` equal `value`.
#[must_use]
pub const fn int_bits(arg: u8, mask: u32, value: u32) -> Condition {
    Condition { arg, test: Test::Int { mask, value } }
}

/// Some bit of `mask` is set in the `int` argument `arg`.
#[must_use]
pub const fn int_any(arg: u8, mask: u32) -> Condition {
    Condition { arg, test: Test::IntAny { mask } }
}

/// The `int` argument `arg` is one of `values`.
#[must_use]
pub const fn int_among(arg: u8, values: &'static [u32]) -> Condition {
    Condition { arg, test: Test::IntAmong(values) }
}

/// The argument `arg` holds the step's exec cookie.
#[must_use]
pub const fn cookie(arg: u8) -> Condition {
    Condition { arg, test: Test::Cookie }
}

/// A case of a gate.
#[must_use]
pub const fn when(when: &'static [Condition], then: Action) -> Case {
    Case { when, then }
}

/// `broker("openat", nr(257, 56), open::openat)`: the broker answers.
#[must_use]
pub const fn broker(name: &'static str, numbers: Numbers, handler: Handler) -> Row {
    Row { name, numbers, action: Action::Broker(handler), cases: &[] }
}

/// `native("read", nr(0, 63))`: the kernel runs it, without asking.
#[must_use]
pub const fn native(name: &'static str, numbers: Numbers) -> Row {
    Row { name, numbers, action: Action::Native, cases: &[] }
}

/// `continuing(..)`: the handler looks at registers only and may answer `Reply::Continue`.
#[must_use]
pub const fn continuing(name: &'static str, numbers: Numbers, handler: Handler) -> Row {
    Row { name, numbers, action: Action::Continuing(handler), cases: &[] }
}

/// `deny("mount", nr(165, 40), Errno::PERM, "the root is fixed for the life of a step")`.
#[must_use]
pub const fn deny(name: &'static str, numbers: Numbers, errno: Errno, reason: &'static str) -> Row {
    Row { name, numbers, action: Action::Deny { errno, reason }, cases: &[] }
}

/// `gate("clone", nr(56, 220), &[when(&[..], Action::..)], Action::Native)`: arguments decide.
#[must_use]
pub const fn gate(name: &'static str, numbers: Numbers, cases: &'static [Case], otherwise: Action) -> Row {
    Row { name, numbers, action: otherwise, cases }
}

/// The action of a case or a gate that refuses.
#[must_use]
pub const fn deny_with(errno: Errno, reason: &'static str) -> Action {
    Action::Deny { errno, reason }
}
