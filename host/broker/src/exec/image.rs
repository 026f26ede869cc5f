//! What the kernel reads of a program before it runs it: a `#!` line, or ELF headers; and what it knows nothing of, a wasm module.
//!
//! Pure on bytes but for the reads; mirrors fs/binfmt_script.c and fs/binfmt_elf.c.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use wbuild_monitor::ModuleKind;

/// `BINPRM_BUF_SIZE`: how much of a file decides what it is.
const HEAD: usize = 256;
const ELF_HEADER: usize = 64;
const SEGMENT: usize = 56;
/// The kernel refuses program header tables above a page.
const MAX_SEGMENTS: usize = 4096 / SEGMENT;
const PATH_MAX: usize = 4096;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// What a file is to exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A `#!` line: the interpreter and at most one argument.
    Script {
        /// Its path.
        interpreter: Vec<u8>,
        /// What follows it, without the blanks around it.
        argument: Option<Vec<u8>>,
    },
    /// An ELF program that needs no interpreter.
    Static,
    /// An ELF program with this interpreter.
    Dynamic {
        /// Its path.
        interpreter: Vec<u8>,
    },
    /// A wasm module.
    Module(ModuleKind),
}

/// Reads what `file` is.
///
/// # Errors
/// ENOEXEC for anything the kernel would not run.
pub fn read(file: BorrowedFd<'_>) -> Result<Image, Errno> {
    let mut head = [0; HEAD];
    let length = read_up_to(file, &mut head, 0)?;
    if head.starts_with(b"#!") {
        return script(&head[2..length.max(2)], length == HEAD);
    }
    if head.starts_with(b"\0asm") {
        return ModuleKind::of(&head[..length]).map(Image::Module).ok_or(Errno::NOEXEC);
    }
    elf(file, &head[..length])
}

fn read_up_to(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file.as_fd(), &mut buffer[done..], offset + done as u64)? {
            0 => break,
            some => done += some,
        }
    }
    Ok(done)
}

/// The rest of a `#!` line; `cut` where the file goes on behind it.
fn script(rest: &[u8], cut: bool) -> Result<Image, Errno> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
    let line = &rest[..end.unwrap_or(rest.len())];
    let start = line.iter().position(|byte| !is_blank(byte)).ok_or(Errno::NOEXEC)?;
    let line = &line[start..];
    // A name that may go on behind the buffer would be a wrong name.
    if end.is_none() && cut && !line.iter().any(is_blank) {
        return Err(Errno::NOEXEC);
    }
    let name_end = line.iter().position(is_blank).unwrap_or(line.len());
    let (name, argument) = line.split_at(name_end);
    let first = argument.iter().position(|byte| !is_blank(byte));
    let last = argument.iter().rposition(|byte| !is_blank(byte));
    let argument = first.zip(last).map(|(first, last)| argument[first..=last].to_vec());
    Ok(Image::Script { interpreter: name.to_vec(), argument })
}

fn elf(file: BorrowedFd<'_>, head: &[u8]) -> Result<Image, Errno> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const EXECUTABLE: u16 = 2;
    const SHARED: u16 = 3;
    const INTERPRETER: u32 = 3;
    if head.len() < ELF_HEADER
        || !head.starts_with(b"\x7fELF")
        || head[4] != CLASS_64
        || head[5] != LITTLE_ENDIAN
    {
        return Err(Errno::NOEXEC);
    }
    let (kind, machine) = (u16_at(head, 16), u16_at(head, 18));
    let (segment_size, segments) = (usize::from(u16_at(head, 54)), usize::from(u16_at(head, 56)));
    let fits = segment_size == SEGMENT && (1..=MAX_SEGMENTS).contains(&segments);
    if machine != MACHINE || !(kind == EXECUTABLE || kind == SHARED) || !fits {
        return Err(Errno::NOEXEC);
    }
    let mut table = vec![0; segments * SEGMENT];
    if read_up_to(file, &mut table, u64_at(head, 32))? != table.len() {
        return Err(Errno::NOEXEC);
    }
    let Some(segment) = table.chunks_exact(SEGMENT).find(|segment| u32_at(segment, 0) == INTERPRETER) else {
        return Ok(Image::Static);
    };
    let size = usize::try_from(u64_at(segment, 32)).map_err(|_| Errno::NOEXEC)?;
    if !(2..=PATH_MAX).contains(&size) {
        return Err(Errno::NOEXEC);
    }
    let mut path = vec![0; size];
    if read_up_to(file, &mut path, u64_at(segment, 8))? != size || path.pop() != Some(0) {
        return Err(Errno::NOEXEC);
    }
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    path.truncate(end);
    Ok(Image::Dynamic { interpreter: path })
}

/// Checks that an interpreter is one the stub can map.
///
/// # Errors
/// ELIBBAD, as the kernel answers it.
pub(super) fn check_interpreter(file: BorrowedFd<'_>) -> Result<(), Errno> {
    match read(file) {
        Ok(Image::Static | Image::Dynamic { .. }) => Ok(()),
        _ => Err(Errno::LIBBAD),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8]) -> Result<Image, Errno> {
        script(&line[2..], line.len() == HEAD)
    }

    fn image(interpreter: &[u8], argument: Option<&[u8]>) -> Result<Image, Errno> {
        Ok(Image::Script { interpreter: interpreter.to_vec(), argument: argument.map(<[u8]>::to_vec) })
    }

    #[test]
    fn script_lines_split_as_the_kernel_splits_them() {
        assert_eq!(parse(b"#!/bin/sh\necho"), image(b"/bin/sh", None));
        assert_eq!(parse(b"#! \t/bin/sh -e  \n"), image(b"/bin/sh", Some(b"-e")));
        assert_eq!(parse(b"#!/usr/bin/env python3 -I\n"), image(b"/usr/bin/env", Some(b"python3 -I")));
        assert_eq!(parse(b"#!/bin/sh"), image(b"/bin/sh", None));
        assert_eq!(parse(b"#!\n"), Err(Errno::NOEXEC));
        assert_eq!(parse(b"#!   \n/bin/sh"), Err(Errno::NOEXEC));
    }

    #[test]
    fn a_name_cut_by_the_buffer_is_no_name() {
        let mut line = b"#!/".to_vec();
        line.resize(HEAD, b'x');
        assert_eq!(parse(&line), Err(Errno::NOEXEC));
        line[100] = b' ';
        assert!(matches!(parse(&line), Ok(Image::Script { argument: Some(_), .. })));
    }

    #[test]
    fn this_test_is_dynamic_or_static_and_text_is_neither() {
        let exe = rustix::fs::open("/proc/self/exe", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
            .unwrap();
        assert!(matches!(read(exe.as_fd()), Ok(Image::Dynamic { .. } | Image::Static)));
        let text =
            rustix::fs::open("/proc/self/status", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
                .unwrap();
        assert_eq!(read(text.as_fd()), Err(Errno::NOEXEC));
    }
}
