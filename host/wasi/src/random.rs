//! The random numbers a module gets: the kernel's, or a sequence that is the same in every run.
//!
//! The seeded sequence (SplitMix64) is no secret: a module that makes keys must be given the real ones by policy.

use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

/// A module's source of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Random {
    /// The kernel's.
    Real,
    /// A sequence from this state.
    Seeded(u64),
}

impl Random {
    /// A sequence that depends on what the program was started with, and on nothing else.
    pub(crate) fn seeded<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Self {
        // FNV-1a, with each argument's end counted in.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = arguments
            .fold(0xcbf2_9ce4_8422_2325, |hash, argument| step(argument.iter().copied().fold(hash, step), 0));
        Self::Seeded(hash)
    }

    /// The next number.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn next(&mut self) -> Result<u64, Errno> {
        match self {
            Self::Real => {
                let mut bytes = [0; 8];
                rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
                Ok(u64::from_le_bytes(bytes))
            }
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                Ok(mixed ^ (mixed >> 31))
            }
        }
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Errno> {
        if let Self::Real = self {
            let mut done = 0;
            while done < bytes.len() {
                done += rustix::rand::getrandom(&mut bytes[done..], GetRandomFlags::empty())?;
            }
            return Ok(());
        }
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_sequence_depends_on_the_arguments_alone() {
        let draw = |arguments: &[&str]| {
            let mut bytes = [0; 33];
            Random::seeded(arguments.iter().map(|text| text.as_bytes())).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(&["a", "b"]), draw(&["a", "b"]));
        assert_ne!(draw(&["a", "b"]), draw(&["ab"]));
        assert_ne!(draw(&["a"])[..16], draw(&["a"])[16..32]);
    }

    #[test]
    fn real_numbers_differ() {
        let mut real = Random::Real;
        assert_ne!(real.next().unwrap(), real.next().unwrap());
    }
}
