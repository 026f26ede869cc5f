//! What only aarch64 has: the entry point, the system call instruction, the numbers, the ELF machine.

use core::arch::{asm, global_asm};

pub const ELF_MACHINE: u16 = 183;

pub const SYS_OPENAT: usize = 56;
pub const SYS_PRCTL: usize = 167;
pub const SYS_CLOSE: usize = 57;
pub const SYS_WRITE: usize = 64;
pub const SYS_PREAD64: usize = 67;
pub const SYS_EXIT_GROUP: usize = 94;
pub const SYS_MUNMAP: usize = 215;
pub const SYS_EXECVE: usize = 221;
pub const SYS_MMAP: usize = 222;

// The kernel enters with argc at the stack pointer. `start` answers where to go on: the new stack pointer in x0,
// the entry point in x1. The ABI wants x0 zero at a program's entry.
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {start}",
    "mov sp, x0",
    "mov x16, x1",
    "mov x0, xzr",
    "br x16",
    start = sym crate::start,
);

/// One system call; the kernel's answer, `-errno` for an error.
///
/// # Safety
/// The arguments must be what the call expects.
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: the caller vouches for the arguments; the kernel preserves all registers but x0.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => answer,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    answer
}

/// Fills memory without calling `memset`, which is what this implements.
///
/// # Safety
/// `length` bytes at `to` must be writable.
pub unsafe fn fill(to: *mut u8, byte: u8, length: usize) {
    for at in 0..length {
        // SAFETY: within the range the caller vouches for; volatile, or the compiler makes it a call of memset.
        unsafe { to.add(at).write_volatile(byte) };
    }
}

/// Copies memory upwards without calling `memcpy`, which is what this implements.
///
/// # Safety
/// `length` bytes must be readable at `from` and writable at `to`; `to` must not lie inside the source.
pub unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    for at in 0..length {
        // SAFETY: within the ranges the caller vouches for; volatile, or the compiler makes it a call of memcpy.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
}
