//! The BPF program of a step, generated from the table.
//!
//! Invariant: for every number and every argument the program's verdict is [`crate::table::Row`]'s; a test runs both over
//! all numbers. Foreign architectures, x32 and numbers without a row answer ENOSYS.
//! Rows without cases compile to number tests alone, which is what lets the kernel answer native calls from its
//! bitmap without running the program (seccomp_cache_prepare).

mod assemble;
#[cfg(test)]
mod tests;

use rustix::io::Errno;
use wbuild_monitor::Network;

use crate::table::{self, Action, Case, Condition, Row, Test};
use assemble::{Assembler, Label};

/// One instruction of classic BPF (linux/filter.h `sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The longest program the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_ERRNO: u32 = 0x0005_0000;

/// `AUDIT_ARCH_*` of linux/audit.h for the architecture this was built for.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of linux/audit.h for the architecture this was built for.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data` (little-endian).
const DATA_NR: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARGS: u32 = 16;

/// What the filter answers for `action`.
fn verdict(action: Action) -> u32 {
    match action {
        Action::Native => RET_ALLOW,
        Action::Broker(_) | Action::Continuing(_) => RET_USER_NOTIF,
        Action::Deny { errno, .. } => errno_verdict(errno),
    }
}

fn errno_verdict(errno: Errno) -> u32 {
    RET_ERRNO | errno.raw_os_error().unsigned_abs()
}

/// A run of numbers with one treatment.
#[derive(Clone, Copy)]
struct Run {
    first: u32,
    row: Option<&'static Row>,
}

/// The program for one step; `cookie` is the step's own random exec cookie.
///
/// # Panics
/// Never for the shipped table: a test compiles it.
#[must_use]
pub fn program(cookie: u64, network: Network) -> Vec<Instruction> {
    program_without(cookie, network, &|_| Fate::AsTheTableSays)
}

/// What becomes of a row, or of the foreign architectures (`None`), where a test takes fences down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is taken down.
    AsTheTableSays,
    /// The kernel runs it unseen.
    Native,
}

/// [`program`] with fences down, for the controls of the attacks in tests/escape: an attack that is held by a row succeeds where the
/// row's `fate` is [`Fate::Native`]. A step that users run always gets [`program`].
///
/// # Panics
/// Never for the shipped table: a test compiles it.
#[must_use]
pub fn program_without(
    cookie: u64,
    network: Network,
    fate: &dyn Fn(Option<&Row>) -> Fate,
) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.load(DATA_ARCH);
    let ours = asm.label();
    asm.jump_if_equal(ARCHITECTURE, ours);
    asm.answer(match fate(None) {
        Fate::AsTheTableSays => errno_verdict(Errno::NOSYS),
        Fate::Native => RET_ALLOW,
    });
    asm.place(ours);
    asm.load(DATA_NR);
    let socket = table::all().find(|row| row.name == "socket");
    match network {
        _ if fate(socket) == Fate::Native => {}
        Network::Open => {}
        Network::None => gate_internet(&mut asm, errno_verdict(Errno::AFNOSUPPORT)),
        Network::Asked => gate_internet(&mut asm, RET_USER_NOTIF),
    }
    search(&mut asm, &runs(fate), cookie);
    asm.finish()
}

/// What every row becomes whose fate is [`Fate::Native`].
static UNSEEN: Row = table::native("", table::nr(0, 0));

/// `RUN --network=none`, or a policy: no socket of the internet families is made without `verdict`, so there is nothing to connect, bind or send with.
/// The number is loaded.
fn gate_internet(asm: &mut Assembler, verdict: u32) {
    let Some(number) = table::all().find(|row| row.name == "socket").and_then(|row| row.numbers.here())
    else {
        return;
    };
    let (other, internet) = (asm.label(), asm.label());
    asm.jump_unless_equal(number, other);
    asm.load(DATA_ARGS);
    for family in table::INTERNET {
        asm.jump_if_equal(family, internet);
    }
    asm.load(DATA_NR);
    asm.jump(other);
    asm.place(internet);
    asm.answer(verdict);
    asm.place(other);
}

/// All numbers from 0 up, in runs: neighbours with the same verdict and no cases are one.
fn runs(fate: &dyn Fn(Option<&Row>) -> Fate) -> Vec<Run> {
    let treated = |row: &'static Row| match fate(Some(row)) {
        Fate::AsTheTableSays => row,
        Fate::Native => &UNSEEN,
    };
    let mut rows: Vec<(u32, &'static Row)> =
        table::all().filter_map(|row| row.numbers.here().map(|number| (number, treated(row)))).collect();
    rows.sort_by_key(|(number, _)| *number);
    let mut runs: Vec<Run> = Vec::new();
    let mut push = |first: u32, row: Option<&'static Row>| {
        if !runs.last().is_some_and(|last| same(last.row, row)) {
            runs.push(Run { first, row });
        }
    };
    let mut next = 0;
    for (number, row) in rows {
        if number > next {
            push(next, None);
        }
        push(number, Some(row));
        next = number + 1;
    }
    // Everything above, x32's bit 30 included.
    push(next, None);
    runs
}

fn same(a: Option<&'static Row>, b: Option<&'static Row>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.cases.is_empty() && b.cases.is_empty() && verdict(a.action) == verdict(b.action)
        }
        _ => false,
    }
}

fn search(asm: &mut Assembler, runs: &[Run], cookie: u64) {
    let [single] = runs else {
        let (low, high) = runs.split_at(runs.len() / 2);
        let upper = asm.label();
        asm.jump_if_at_least(high[0].first, upper);
        search(asm, low, cookie);
        asm.place(upper);
        search(asm, high, cookie);
        return;
    };
    match single.row {
        None => asm.answer(errno_verdict(Errno::NOSYS)),
        Some(row) => {
            for case in row.cases {
                case_of(asm, case, cookie);
            }
            asm.answer(verdict(row.action));
        }
    }
}

fn case_of(asm: &mut Assembler, case: &Case, cookie: u64) {
    let next = asm.label();
    for condition in case.when {
        condition_of(asm, condition, cookie, next);
    }
    asm.answer(verdict(case.then));
    asm.place(next);
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of the cookie")]
fn condition_of(asm: &mut Assembler, condition: &Condition, cookie: u64, otherwise: Label) {
    let low = DATA_ARGS + 8 * u32::from(condition.arg);
    match condition.test {
        Test::Int { mask, value } => {
            asm.load(low);
            if mask != u32::MAX {
                asm.and(mask);
            }
            asm.jump_unless_equal(value, otherwise);
        }
        Test::IntAny { mask } => {
            asm.load(low);
            asm.jump_unless_any(mask, otherwise);
        }
        Test::IntAmong(values) => {
            asm.load(low);
            let found = asm.label();
            for value in values {
                asm.jump_if_equal(*value, found);
            }
            asm.jump(otherwise);
            asm.place(found);
        }
        Test::Cookie => {
            asm.load(low);
            asm.jump_unless_equal(cookie as u32, otherwise);
            asm.load(low + 4);
            asm.jump_unless_equal((cookie >> 32) as u32, otherwise);
        }
    }
}
