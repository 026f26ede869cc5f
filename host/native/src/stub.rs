//! The loader stub's bytes, and the paths where an image that holds wbuild plants it.
//!
//! The kernel resolves `PT_INTERP` in our own root; where the stub stands at that path, a dynamic program of a
//! captured rootfs starts without a second mapping of the program (design: sandbox.md section 4).

/// The stub, a static position-independent executable without relocations.
pub static STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub"));

/// The interpreter paths that the C libraries of this architecture put into programs.
#[cfg(target_arch = "x86_64")]
pub const INTERPRETERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"];

/// The interpreter paths that the C libraries of this architecture put into programs.
#[cfg(target_arch = "aarch64")]
pub const INTERPRETERS: [&str; 2] = ["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"];

#[cfg(test)]
mod tests {
    use super::*;

    fn word(at: usize) -> usize {
        usize::from_le_bytes(STUB[at..at + 8].try_into().unwrap())
    }

    /// Nobody relocates the stub and nobody loads an interpreter for it.
    #[test]
    fn the_stub_needs_no_relocation_and_no_interpreter() {
        const PT_DYNAMIC: u32 = 2;
        const PT_INTERP: u32 = 3;
        const DT_RELA: usize = 7;
        assert_eq!(&STUB[..4], b"\x7fELF");
        let (table, count) = (word(32), usize::from(u16::from_le_bytes([STUB[56], STUB[57]])));
        assert!(count > 0);
        for header in (0..count).map(|index| table + index * 56) {
            let kind = u32::from_le_bytes(STUB[header..header + 4].try_into().unwrap());
            assert_ne!(kind, PT_INTERP, "the stub names an interpreter");
            if kind == PT_DYNAMIC {
                let (offset, size) = (word(header + 8), word(header + 32));
                let tags = (0..size / 16).map(|index| word(offset + index * 16));
                assert!(
                    !tags.take_while(|tag| *tag != 0).any(|tag| tag == DT_RELA),
                    "the stub has relocations"
                );
            }
        }
    }

    #[test]
    fn the_stub_stays_small() {
        assert!(STUB.len() < 32 * 1024, "{} bytes", STUB.len());
    }
}
