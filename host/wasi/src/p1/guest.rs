//! A call's view of the module: its memory and its host side. Every address is checked, and arithmetic on it cannot wrap.

use crate::host::Host;
use crate::p1::errno::Errno;

/// The module that makes a call.
pub(super) struct Guest<'a> {
    pub(super) memory: &'a mut [u8],
    pub(super) host: &'a mut Host,
}

/// What a call answers: nothing, or an error number. Results go through memory.
pub(super) type Answer = Result<(), Errno>;

fn range(at: u32, length: u32) -> std::ops::Range<usize> {
    let (at, length) = (at as usize, length as usize);
    at..at.saturating_add(length)
}

/// `length` bytes at `at`.
pub(super) fn slice(memory: &[u8], at: u32, length: u32) -> Result<&[u8], Errno> {
    memory.get(range(at, length)).ok_or(Errno::FAULT)
}

/// `length` bytes at `at`, to be written.
pub(super) fn slice_mut(memory: &mut [u8], at: u32, length: u32) -> Result<&mut [u8], Errno> {
    memory.get_mut(range(at, length)).ok_or(Errno::FAULT)
}

fn array<const N: usize>(memory: &[u8], at: u32) -> Result<[u8; N], Errno> {
    let bytes = memory.get(at as usize..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or(Errno::FAULT)
}

impl Guest<'_> {
    pub(super) fn put(&mut self, at: u32, bytes: &[u8]) -> Answer {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        slice_mut(self.memory, at, length)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_u32(&mut self, at: u32, value: u32) -> Answer {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn put_u64(&mut self, at: u32, value: u64) -> Answer {
        self.put(at, &value.to_le_bytes())
    }

    /// A count of bytes, which no module's memory makes larger than 32 bits.
    pub(super) fn put_size(&mut self, at: u32, value: usize) -> Answer {
        self.put_u32(at, u32::try_from(value).map_err(|_| Errno::OVERFLOW)?)
    }

    pub(super) fn u16(&self, at: u32) -> Result<u16, Errno> {
        array(self.memory, at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: u32) -> Result<u32, Errno> {
        array(self.memory, at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: u32) -> Result<u64, Errno> {
        array(self.memory, at).map(u64::from_le_bytes)
    }

    /// A path, copied: the host's own tables are borrowed while it is used.
    pub(super) fn path(&self, at: u32, length: u32) -> Result<Vec<u8>, Errno> {
        const MOST: u32 = 4096;
        if length >= MOST {
            return Err(Errno::NAMETOOLONG);
        }
        slice(self.memory, at, length).map(<[u8]>::to_vec)
    }

    /// The (address, length) pairs of an array of buffers, at most as many as Linux takes at once.
    pub(super) fn buffers(&self, at: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
        const MOST: u32 = 1024;
        const SIZE: u32 = 8;
        if count > MOST {
            return Err(Errno::INVAL);
        }
        (0..count)
            .map(|index| {
                let entry = at.checked_add(index * SIZE).ok_or(Errno::FAULT)?;
                Ok((self.u32(entry)?, self.u32(entry.checked_add(4).ok_or(Errno::FAULT)?)?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_leaves_the_memory() {
        let mut memory = [7; 16];
        assert_eq!(slice(&memory, 12, 4), Ok(&[7; 4][..]));
        for (at, length) in [(13, 4), (16, 1), (u32::MAX, 1), (u32::MAX, u32::MAX), (0, 17)] {
            assert_eq!(slice(&memory, at, length), Err(Errno::FAULT));
            assert_eq!(slice_mut(&mut memory, at, length), Err(Errno::FAULT));
        }
        assert_eq!(array::<8>(&memory, 9), Err(Errno::FAULT));
        assert_eq!(array::<8>(&memory, 8), Ok([7; 8]));
    }
}
