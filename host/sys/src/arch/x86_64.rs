//! x86_64: the registers of a thread that is stopped on its way out of a system call.

/// The general registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers(libc::user_regs_struct);

/// Length of the `syscall` instruction.
const SYSCALL_LENGTH: u64 = 2;

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
        next.rip = after_call - SYSCALL_LENGTH;
        next.rax = number.into();
        // Not in a call any more: the kernel must not restart the one that was answered.
        next.orig_rax = u64::MAX;
        [next.rdi, next.rsi, next.rdx, next.r10, next.r8, next.r9] = args;
        Self(next)
    }

    /// These registers, but as if the call had just returned `value`.
    #[must_use]
    pub fn returning(&self, after_call: u64, value: i64) -> Self {
        let mut next = self.0;
        next.rip = after_call;
        next.rax = value.cast_unsigned();
        next.orig_rax = u64::MAX;
        Self(next)
    }

    /// What the last call returned.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.0.rax.cast_signed()
    }
}
