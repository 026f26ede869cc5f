//! A file that a guest executes: `#!` lines, ELF headers, wasm.

use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, memfd_create};
use wbuild_broker::exec::{Image, read_image};

use super::{Target, as_it_is};

pub(super) const TARGET: Target = Target { name: "program", seeds, words: WORDS, repair: as_it_is, read };

const WORDS: &[&[u8]] = &[
    b"#!",
    b"#! \t",
    b"/bin/sh",
    b" -e\n",
    b"\x7fELF\x02\x01\x01",
    b"\x03\0\x3e\0",
    b"\x02\0\xb7\0",
    b"\x03\0\0\0\x04\0\0\0",
    b"/lib64/ld.so\0",
    b"\x38\0",
    b"\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0asm\x01\0\0\0",
    b"\0asm\x0d\0\x01\0",
];

/// A program with an interpreter, as small as can be.
fn elf(machine: u8) -> Vec<u8> {
    let mut file = vec![0; 64 + 2 * 56];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[16], file[18], file[32], file[54], file[56]) = (3, machine, 64, 56, 2);
    (file[64], file[120]) = (1, 3);
    (file[120 + 8], file[120 + 32]) = (176, 13);
    file.extend_from_slice(b"/lib64/ld.so\0");
    file
}

fn seeds() -> Vec<Vec<u8>> {
    let long = [b"#!".as_slice(), &[b'x'; 300]].concat();
    vec![elf(62), elf(183), b"#! /bin/sh -e \nx".to_vec(), long, b"\0asm\x01\0\0\0".to_vec()]
}

fn read(input: &[u8]) -> String {
    let Ok(file) = memfd_create(c"fuzz", MemfdFlags::CLOEXEC) else { return String::new() };
    if rustix::io::pwrite(&file, input, 0).is_err() {
        return String::new();
    }
    match read_image(file.as_fd()) {
        Ok(image) => {
            if let Image::Script { interpreter, .. } | Image::Dynamic { interpreter } = &image {
                assert!(interpreter.len() < 4096 && !interpreter.contains(&0), "{image:?}");
            }
            match image {
                Image::Script { argument, .. } => format!("script {}", argument.is_some()),
                Image::Dynamic { interpreter } => {
                    format!("dynamic {}", "i".repeat(interpreter.len().min(40)))
                }
                Image::Static => "static".to_owned(),
                Image::Module(kind) => format!("{kind:?}"),
            }
        }
        Err(errno) => errno.to_string(),
    }
}
