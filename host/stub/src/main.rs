//! The loader stub: starts a dynamic program of a captured rootfs under the broker.
//!
//! The kernel resolves the interpreter a program names (`PT_INTERP`) in wbuild's own root, not in the captured one.
//! The same file serves in two places. Planted at the interpreter's path in wbuild's image, it is the interpreter:
//! it maps the rootfs's own ld.so and jumps there. Elsewhere the broker executes it instead of the program: then it
//! maps the program as well. What to do is in the plan (plan.rs) that it asks the broker for.
//! Invariants: no allocation, no relocation (the build checks), no path call of its own; nothing of it stays but its
//! few pages. It decides nothing: the broker has resolved and permitted everything the plan names.

#![no_std]
#![no_main]

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;
mod image;
mod kernel;
#[expect(dead_code, reason = "the broker's side uses the rest of the shared file")]
mod plan;
mod stack;

use stack::{Plan, Stack};

/// Where the entry code goes on: two registers.
#[repr(C)]
pub struct Next {
    stack: *mut usize,
    entry: usize,
}

/// Called by the entry code with the initial stack pointer.
///
/// # Safety
/// Only the entry code may call it, with the stack pointer the kernel gave.
unsafe extern "C" fn start(top: *mut usize) -> Next {
    let plan_fd = kernel::open_plan();
    let plan = Plan::map(plan_fd);
    kernel::close(plan_fd);
    // SAFETY: the entry code passes the kernel's stack pointer; nothing below this function's frames is in use, and
    // they and those of what it calls fit into the gap.
    unsafe {
        let new = stack::rewrite(&Stack::read(top), plan, top.wrapping_byte_sub(FRAMES));
        match plan.word(plan::WORD_MODE) as u64 {
            plan::MODE_REEXEC => kernel::execve(new.execfn(), new.argv(), new.envp()),
            plan::MODE_LOADER => new.set_program(&map_and_close(plan.word(plan::WORD_PROGRAM_FD))),
            plan::MODE_INTERPRETER => {}
            _ => kernel::fail(b"the sandbox's plan has an unknown mode"),
        }
        kernel::set_name(new.execfn());
        let interpreter = map_and_close(plan.word(plan::WORD_INTERPRETER_FD));
        new.set_interpreter(&interpreter);
        plan.unmap();
        Next { stack: new.top, entry: interpreter.entry }
    }
}

/// Room for the stub's own stack frames, above the stack it builds; the largest is a table of 64 program headers.
const FRAMES: usize = 16 * 1024;

fn map_and_close(fd: usize) -> image::Image {
    let image = image::map(fd);
    kernel::close(fd);
    image
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kernel::fail(b"the sandbox's loader failed")
}

/// The compiler calls these by name for large copies and fills.
mod compiler_calls {
    /// # Safety
    /// As C's memcpy.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        // SAFETY: the same contract.
        unsafe { crate::arch::copy(to, from, length) };
        to
    }

    /// # Safety
    /// As C's memset.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
        // SAFETY: the same contract.
        unsafe { crate::arch::fill(to, byte as u8, length) };
        to
    }
}
