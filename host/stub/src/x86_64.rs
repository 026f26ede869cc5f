//! What only x86_64 has: the entry point, the system call instruction, the numbers, the ELF machine.

use core::arch::{asm, global_asm};

pub const ELF_MACHINE: u16 = 62;

pub const SYS_WRITE: usize = 1;
pub const SYS_CLOSE: usize = 3;
pub const SYS_MMAP: usize = 9;
pub const SYS_MUNMAP: usize = 11;
pub const SYS_PREAD64: usize = 17;
pub const SYS_EXECVE: usize = 59;
pub const SYS_EXIT_GROUP: usize = 231;
pub const SYS_OPENAT: usize = 257;
pub const SYS_PRCTL: usize = 157;

// The kernel enters with argc at the stack pointer. `start` answers where to go on: the new stack pointer in rax,
// the entry point in rdx. The ABI wants rdx zero at a program's entry: else it is registered with atexit.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "mov rsp, rax",
    "mov rcx, rdx",
    "xor edx, edx",
    "jmp rcx",
    start = sym crate::start,
);

/// One system call; the kernel's answer, `-errno` for an error.
///
/// # Safety
/// The arguments must be what the call expects.
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: the caller vouches for the arguments; the instruction changes rcx and r11 only, both declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
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
    // SAFETY: the caller vouches for the range; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte, options(nostack, preserves_flags));
    }
}

/// Copies memory upwards without calling `memcpy`, which is what this implements.
///
/// # Safety
/// `length` bytes must be readable at `from` and writable at `to`; `to` must not lie inside the source.
pub unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
}
