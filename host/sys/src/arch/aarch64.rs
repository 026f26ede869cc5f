//! arm64: the registers of a thread that is stopped on its way out of a system call.
//!
//! Not yet run on hardware: the recipe follows arch/arm64/kernel/{signal,ptrace}.c.

/// The general registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers(libc::user_regs_struct);

/// Length of the `svc` instruction.
const SVC_LENGTH: u64 = 4;
/// The register that holds a call's number.
const NUMBER: usize = 8;

impl Registers {
    pub(crate) fn zeroed() -> Self {
        // SAFETY: the structure is plain integers, for which all zeroes is a value.
        Self(unsafe { std::mem::zeroed() })
    }

    pub(crate) fn io_vec(&mut self) -> libc::iovec {
        libc::iovec { iov_base: (&raw mut self.0).cast(), iov_len: size_of::<libc::user_regs_struct>() }
    }

    /// These registers, but about to make the call `number` again from the instruction that led here.
    /// `after_call` is the address after that instruction, as the notification told it.
    #[must_use]
    pub fn calling(&self, after_call: u64, number: u32, args: [u64; 6]) -> Self {
        let mut next = self.0;
        next.pc = after_call - SVC_LENGTH;
        next.regs[NUMBER] = number.into();
        next.regs[..6].copy_from_slice(&args);
        Self(next)
    }

    /// These registers, but as if the call had just returned `value`.
    #[must_use]
    pub fn returning(&self, after_call: u64, value: i64) -> Self {
        let mut next = self.0;
        next.pc = after_call;
        next.regs[0] = value.cast_unsigned();
        Self(next)
    }

    /// What the last call returned.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.0.regs[0].cast_signed()
    }
}
