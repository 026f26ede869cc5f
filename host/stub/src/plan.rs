//! The exec plan: what the broker tells the stub about the program it is to start.
//!
//! This file is compiled twice, into the stub and (by `#[path]`) into the broker, so that both agree by
//! construction. A plan is the whole content of a memfd: [`HEADER_WORDS`] native-endian `u64` words, then tables
//! of words and NUL-terminated strings, all named by byte offsets from the start of the plan.
//! It holds numbers and bytes only; what they mean is the stub's work, what they are is the broker's.

/// The directory descriptor whose `openat` asks the broker for the plan of the current exec. No process has it.
pub const PLAN_DIRFD: i32 = -0x7762_0001;

/// First word of a plan.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"wbplan01");

/// Length of the header in words.
pub const HEADER_WORDS: usize = 12;

/// Word: [`MAGIC`].
pub const WORD_MAGIC: usize = 0;
/// Word: length of the plan in bytes.
pub const WORD_LENGTH: usize = 1;
/// Word: one of the `MODE_` constants.
pub const WORD_MODE: usize = 2;
/// Word: descriptor of the program's ELF file ([`MODE_LOADER`] only; closed by the stub).
pub const WORD_PROGRAM_FD: usize = 3;
/// Word: descriptor of the program's interpreter, the real ld.so; closed by the stub.
pub const WORD_INTERPRETER_FD: usize = 4;
/// Word: offset of the string AT_EXECFN shall point to; in [`MODE_REEXEC`] the path to execute.
pub const WORD_EXECFN: usize = 5;
/// Word: how many leading arguments are dropped.
pub const WORD_DROP_ARGUMENTS: usize = 6;
/// Word: how many arguments are put in front after that.
pub const WORD_PREPEND_COUNT: usize = 7;
/// Word: offset of the table of the offsets of those arguments.
pub const WORD_PREPEND_TABLE: usize = 8;
/// Word: how many entries of the auxiliary vector are overridden.
pub const WORD_AUX_COUNT: usize = 9;
/// Word: offset of the table of (type, value) pairs.
pub const WORD_AUX_TABLE: usize = 10;
/// Word: zero.
pub const WORD_RESERVED: usize = 11;

/// The kernel mapped the program and started the stub as its interpreter: map the real interpreter and jump.
pub const MODE_INTERPRETER: u64 = 1;
/// The kernel started the stub itself: map program and interpreter and jump.
pub const MODE_LOADER: u64 = 2;
/// Start [`WORD_EXECFN`] by an ordinary execve with the rewritten arguments (a #! line whose interpreter is static).
pub const MODE_REEXEC: u64 = 3;
