//! From one input to a slightly different one.

/// Numbers by chance, the same for the same seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`, 0 where that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(drawn).unwrap_or(0) % limit.max(1)
    }

    /// A part of `0..length` that is rarely long.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(8) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(most + 1)
    }
}

/// Bytes and numbers that readers treat in their own way.
const BYTES: &[u8] = b"\0\n\r\t !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xff";
const NUMBERS: &[&str] =
    &["0", "-1", "1", "65536", "4294967295", "9223372036854775807", "18446744073709551616", "1e9"];

/// Nothing grows beyond this many bytes.
const LONGEST: usize = 64 << 10;

/// Changes `input` in one to eight places; `other` is an input to take parts of, `words` are what the format is made of.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], chance: &mut Chance) {
    for _ in 0..=chance.below(8) {
        let at = chance.below(input.len() + 1);
        match chance.below(11) {
            0 if !input.is_empty() => {
                let at = chance.below(input.len());
                input[at] ^= 1 << chance.below(8);
            }
            1 if !input.is_empty() => {
                let at = chance.below(input.len());
                input[at] = BYTES[chance.below(BYTES.len())];
            }
            2 => input.insert(at, BYTES[chance.below(BYTES.len())]),
            3 => drop(input.drain(chance.range(input.len()))),
            4 => {
                let part = input[chance.range(input.len())].to_vec();
                insert(input, at, &part);
            }
            5 => insert(input, at, &other[chance.range(other.len())]),
            6 | 7 if !words.is_empty() => insert(input, at, words[chance.below(words.len())]),
            8 => insert(input, at, NUMBERS[chance.below(NUMBERS.len())].as_bytes()),
            9 => swap_lines(input, chance),
            10 if chance.below(6) == 0 => {
                let part = input[chance.range(input.len())].to_vec();
                (0..chance.below(200)).for_each(|_| insert(input, at, &part));
            }
            _ => input.truncate(at.max(input.len().saturating_sub(32))),
        }
        input.truncate(LONGEST);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    if input.len() + part.len() <= LONGEST {
        input.splice(at..at, part.iter().copied());
    }
}

fn swap_lines(input: &mut Vec<u8>, chance: &mut Chance) {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, two) = (chance.below(lines.len()), chance.below(lines.len()));
    lines.swap(one, two);
    *input = lines.join(&b'\n');
}
