//! The initial stack of a program: argc, arguments, environment, auxiliary vector; and a rewritten copy of it.
//!
//! Invariant: the copy is built below the original and moved as a whole, its strings above its vectors; the
//! kernel's strings stay where they are.

use crate::image::Image;
use crate::kernel;
use crate::plan;

const AT_NULL: usize = 0;
const AT_PHDR: usize = 3;
const AT_PHENT: usize = 4;
const AT_PHNUM: usize = 5;
const AT_BASE: usize = 7;
const AT_ENTRY: usize = 9;
const AT_EXECFN: usize = 31;

/// The plan as it lies in memory.
#[derive(Clone, Copy)]
pub struct Plan(*const u64);

impl Plan {
    /// Maps the plan behind `fd` and checks that it is one.
    pub fn map(fd: usize) -> Self {
        let mut head = [0_u64; 2];
        // SAFETY: the buffer is two words long.
        unsafe { kernel::read_at(fd, head.as_mut_ptr().cast(), 16, 0) };
        if head[0] != plan::MAGIC {
            kernel::fail(b"the sandbox's plan is of another version");
        }
        let length = head[1] as usize;
        // SAFETY: not a fixed mapping.
        let at = unsafe { kernel::map(0, length, kernel::PROT_READ, kernel::MAP_PRIVATE, fd, 0) };
        Self(at as *const u64)
    }

    /// One word of the header.
    pub fn word(self, index: usize) -> usize {
        // SAFETY: the broker writes whole headers, and callers name words of it.
        unsafe { *self.0.add(index) as usize }
    }

    /// Entry `index` of a table of words.
    fn entry(self, table: usize, index: usize) -> usize {
        // SAFETY: tables lie inside the plan, as the broker writes it.
        unsafe { *self.0.byte_add(table).add(index) as usize }
    }

    /// A string of the plan.
    fn string(self, offset: usize) -> *const u8 {
        self.0.cast::<u8>().wrapping_add(offset)
    }

    /// Gives the plan's memory back.
    ///
    /// # Safety
    /// No string of it may be in use.
    pub unsafe fn unmap(self) {
        let length = self.word(plan::WORD_LENGTH);
        // SAFETY: the caller vouches for it.
        unsafe { kernel::unmap(self.0 as usize, length) };
    }
}

/// A stack as the kernel or [`rewrite`] lays it out.
pub struct Stack {
    /// Where argc is.
    pub top: *mut usize,
    arguments: usize,
    environment: usize,
    auxiliary: usize,
}

impl Stack {
    /// Reads the layout at `top`.
    ///
    /// # Safety
    /// `top` must be the stack pointer at the entry of a program.
    pub unsafe fn read(top: *mut usize) -> Self {
        // SAFETY: the kernel ends each vector with a zero word.
        unsafe {
            let arguments = *top;
            let mut environment = 0;
            while *top.add(2 + arguments + environment) != 0 {
                environment += 1;
            }
            let pairs = top.add(3 + arguments + environment);
            let mut auxiliary = 0;
            while *pairs.add(2 * auxiliary) != AT_NULL {
                auxiliary += 1;
            }
            Self { top, arguments, environment, auxiliary }
        }
    }

    /// The NULL-terminated argument vector.
    pub fn argv(&self) -> *mut usize {
        self.top.wrapping_add(1)
    }

    /// The NULL-terminated environment vector.
    pub fn envp(&self) -> *mut usize {
        self.top.wrapping_add(2 + self.arguments)
    }

    fn pairs(&self) -> *mut usize {
        self.top.wrapping_add(3 + self.arguments + self.environment)
    }

    /// Changes the value of `key`, or leaves the vector alone where the kernel did not give it.
    fn set(&self, key: usize, value: usize) {
        for index in 0..self.auxiliary {
            let pair = self.pairs().wrapping_add(2 * index);
            // SAFETY: inside the vector that was counted.
            unsafe {
                if *pair == key {
                    *pair.add(1) = value;
                }
            }
        }
    }

    /// What AT_EXECFN points to.
    pub fn execfn(&self) -> *const u8 {
        for index in 0..self.auxiliary {
            let pair = self.pairs().wrapping_add(2 * index);
            // SAFETY: inside the vector that was counted.
            unsafe {
                if *pair == AT_EXECFN {
                    return *pair.add(1) as *const u8;
                }
            }
        }
        kernel::fail(b"the kernel gave no AT_EXECFN")
    }

    /// Points the program at its interpreter.
    pub fn set_interpreter(&self, interpreter: &Image) {
        self.set(AT_BASE, interpreter.bias);
    }

    /// Describes the program the stub mapped itself.
    pub fn set_program(&self, program: &Image) {
        self.set(AT_PHDR, program.segments);
        self.set(AT_PHENT, program.segment_size);
        self.set(AT_PHNUM, program.segment_count);
        self.set(AT_ENTRY, program.entry);
    }
}

/// Builds below `free` the stack the plan asks for; `old` stays as it is.
///
/// # Safety
/// Everything below `free` must be unused stack.
pub unsafe fn rewrite(old: &Stack, plan: Plan, free: *mut usize) -> Stack {
    let dropped = plan.word(plan::WORD_DROP_ARGUMENTS).min(old.arguments);
    let prepended = plan.word(plan::WORD_PREPEND_COUNT);
    let prepend_table = plan.word(plan::WORD_PREPEND_TABLE);
    let arguments = prepended + old.arguments - dropped;
    let words = 3 + arguments + old.environment + 2 * (old.auxiliary + 1);

    let mut strings = length(plan.string(plan.word(plan::WORD_EXECFN)));
    for index in 0..prepended {
        strings += length(plan.string(plan.entry(prepend_table, index)));
    }
    let mut string_at = free.cast::<u8>().wrapping_sub(strings);
    let top = ((string_at as usize - words * size_of::<usize>()) & !15) as *mut usize;
    let new = Stack { top, arguments, environment: old.environment, auxiliary: old.auxiliary };

    // SAFETY: the range from `top` to `free` was measured for exactly what is written here.
    unsafe {
        let mut keep = |text: *const u8| {
            let length = length(text);
            let at = string_at;
            crate::arch::copy(at, text, length);
            string_at = string_at.wrapping_add(length);
            at as usize
        };
        *top = arguments;
        for index in 0..prepended {
            *new.argv().add(index) = keep(plan.string(plan.entry(prepend_table, index)));
        }
        copy_words(new.argv().add(prepended), old.argv().add(dropped), old.arguments - dropped + 1);
        copy_words(new.envp(), old.envp(), old.environment + 1);
        copy_words(new.pairs(), old.pairs(), 2 * (old.auxiliary + 1));
        new.set(AT_EXECFN, keep(plan.string(plan.word(plan::WORD_EXECFN))));
    }
    let table = plan.word(plan::WORD_AUX_TABLE);
    for index in 0..plan.word(plan::WORD_AUX_COUNT) {
        new.set(plan.entry(table, 2 * index), plan.entry(table, 2 * index + 1));
    }
    new
}

/// Length of a string with its NUL.
fn length(text: *const u8) -> usize {
    let mut length = 1;
    // SAFETY: strings of a plan are NUL-terminated; volatile, or the compiler makes it a call of strlen.
    while unsafe { text.wrapping_add(length - 1).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// # Safety
/// Both ranges of `count` words must be valid and apart.
unsafe fn copy_words(to: *mut usize, from: *const usize, count: usize) {
    // SAFETY: the caller vouches for it.
    unsafe { crate::arch::copy(to.cast(), from.cast(), count * size_of::<usize>()) };
}
