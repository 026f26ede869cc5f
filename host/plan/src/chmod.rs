//! `--chmod`: an octal mode, or a symbolic change as chmod(1) writes it.
//!
//! Parsed here, so that a wrong one is refused with its line; applied by `build` to each file.

/// How COPY and ADD change modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// The mode itself, up to 0o7777.
    Octal(u32),
    /// Clauses, applied in order to the source's mode.
    Symbolic(Vec<Clause>),
}

/// One clause: `ug+rwX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits of the classes it concerns, as a mask of 0o7777.
    pub who: u32,
    /// What happens to them.
    pub op: Op,
    /// Where the bits come from.
    pub perm: Perm,
}

/// What a clause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Remove,
    /// `=`
    Set,
}

/// The bits of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Perm {
    /// Fixed bits for every class, and whether `X` stands among them.
    Bits {
        /// As if for all classes; masked by `who`.
        bits: u32,
        /// `X`: execute only for directories and what is executable already.
        execute: ConditionalExecute,
    },
    /// The bits that user (2), group (1) or others (0) have now: the shift in units of three bits.
    CopyOf(u32),
}

/// Whether `X` stands in a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalExecute {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What a mode is for; `X` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}
