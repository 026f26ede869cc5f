//! What a native step and the engine of wasm modules know of each other: who gives compiled code, and what a module is told.
//!
//! A module runs in a process of the step like any other, so its calls on names are the broker's. Its code is compiled
//! outside the step: what a step writes never becomes code of another one.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::ToolContext;

/// What a file that starts with `\0asm` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModuleKind {
    /// A core module, which is given WASI preview 1.
    Core,
    /// A component, which is given WASI 0.2.
    Component,
}

impl ModuleKind {
    /// From the first bytes of a file: the preamble of the binary format. `None` for what is no module of a version that
    /// is known.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        match head.first_chunk::<8>()? {
            b"\0asm\x01\0\0\0" => Some(Self::Core),
            b"\0asm\x0d\0\x01\0" => Some(Self::Component),
            _ => None,
        }
    }
}

/// Where a module's time or random numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Determinism {
    /// The same in every run.
    #[default]
    Fixed,
    /// The machine's.
    Real,
}

/// What a policy says of modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRules {
    /// Units of work (about one for each instruction) after which a module is stopped.
    pub fuel: Option<u64>,
    /// Bytes of all its memories together.
    pub memory: Option<u64>,
    /// `wasm.clock`
    pub clock: Determinism,
    /// `wasm.random`
    pub random: Determinism,
}

/// What the process that runs a module is told; the bytes of this are the content of a memfd (postcard).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulePlan {
    /// The descriptor of its compiled code, or why there is none.
    pub code: Result<u32, String>,
    /// What it is.
    pub kind: ModuleKind,
    /// The name it was executed by.
    pub name: Vec<u8>,
    /// Arguments in place of the first, where it is the interpreter of a script.
    pub prefix: Vec<Vec<u8>>,
    /// What it may have.
    pub rules: ModuleRules,
    /// What it may ask about its step.
    pub tool: ToolContext,
    /// The descriptor of a component's channel to wbuild, for [`crate::ImageChange`].
    pub channel: Option<u32>,
}

/// A module whose compiled code is wanted.
pub struct ModuleRequest<'a> {
    /// Its file.
    pub module: BorrowedFd<'a>,
    /// What it is.
    pub kind: ModuleKind,
    /// The name it was executed by, for messages.
    pub name: &'a str,
    /// Whether its code counts fuel.
    pub metered: Metered,
    /// Takes a line for the user.
    pub tell: &'a dyn Fn(&str),
    /// True once nobody waits for the code any more.
    pub abandoned: &'a dyn Fn() -> bool,
}

/// Whether code counts what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metered {
    /// It runs as fast as it can.
    No,
    /// It counts fuel, for a limit that is the same in every run.
    Fuel,
}

impl ModuleRules {
    /// Whether these need code that counts.
    #[must_use]
    pub fn metered(&self) -> Metered {
        if self.fuel.is_some() { Metered::Fuel } else { Metered::No }
    }
}

/// Gives the compiled code of modules. Blocking.
pub trait ModuleCompiler: std::fmt::Debug + Send + Sync {
    /// A read-only descriptor of the code.
    ///
    /// # Errors
    /// What is wrong with the module, or with the place where code is kept: a line for the user.
    fn code(&self, request: &ModuleRequest<'_>) -> Result<OwnedFd, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preambles_are_told_apart() {
        assert_eq!(ModuleKind::of(b"\0asm\x01\0\0\0\x01"), Some(ModuleKind::Core));
        assert_eq!(ModuleKind::of(b"\0asm\x0d\0\x01\0"), Some(ModuleKind::Component));
        assert_eq!(ModuleKind::of(b"\0asm\x02\0\0\0"), None);
        assert_eq!(ModuleKind::of(b"\0asm"), None);
    }
}
