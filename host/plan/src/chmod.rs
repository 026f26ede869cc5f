//! `--chmod`: an octal mode, or a symbolic change as chmod(1) writes it.
//!
//! Parsed here, so that a wrong one is refused with its line; applied by `build` to each file.

/// How COPY and ADD change modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// The mode itself, up to 0o7777.
    Octal(u32),
    /// Clauses, applied in order to the source's mode.
    Symbolic(Vec<Clause>),
}

/// One clause: `ug+rwX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits of the classes it concerns, as a mask of 0o7777.
    pub who: u32,
    /// What happens to them.
    pub op: Op,
    /// Where the bits come from.
    pub perm: Perm,
}

/// What a clause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Remove,
    /// `=`
    Set,
}

/// The bits of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Perm {
    /// Fixed bits for every class, and whether `X` stands among them.
    Bits {
        /// As if for all classes; masked by `who`.
        bits: u32,
        /// `X`: execute only for directories and what is executable already.
        execute: ConditionalExecute,
    },
    /// The bits that user (2), group (1) or others (0) have now: the shift in units of three bits.
    CopyOf(u32),
}

/// Whether `X` stands in a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalExecute {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Reads the value of `--chmod`; `None` where it is neither octal up to 07777 nor symbolic.
pub(crate) fn parse(text: &str) -> Option<Chmod> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)?;
        return Some(Chmod::Octal(mode));
    }
    let mut clauses = Vec::new();
    for part in text.split(',') {
        let operators = part.find(['+', '-', '='])?;
        let who = who(&part[..operators])?;
        let mut rest = &part[operators..];
        while !rest.is_empty() {
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |i| i + 1);
            let op = match rest.as_bytes()[0] {
                b'+' => Op::Add,
                b'-' => Op::Remove,
                _ => Op::Set,
            };
            clauses.push(clause(who, op, &rest[1..end])?);
            rest = &rest[end..];
        }
    }
    Some(Chmod::Symbolic(clauses))
}

// 0o1000 (sticky) belongs to every class but `o`, as `t` says; no class means all.
fn who(classes: &str) -> Option<u32> {
    if classes.is_empty() {
        return Some(0o7777);
    }
    classes.chars().try_fold(0, |who, c| {
        Some(
            who | match c {
                'a' => 0o7777,
                'u' => 0o5700,
                'g' => 0o3070,
                'o' => 0o0007,
                _ => return None,
            },
        )
    })
}

fn clause(who: u32, op: Op, perm: &str) -> Option<Clause> {
    if let "u" | "g" | "o" = perm {
        let shift = match perm {
            "u" => 2,
            "g" => 1,
            _ => 0,
        };
        return Some(Clause { who: who & 0o777, op, perm: Perm::CopyOf(shift) });
    }
    let mut bits = 0;
    let mut execute = ConditionalExecute::No;
    for c in perm.chars() {
        bits |= match c {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            // Taking away `X` is taking away `x`.
            'X' if op == Op::Remove => 0o111,
            'X' => {
                execute = ConditionalExecute::Yes;
                0
            }
            _ => return None,
        };
    }
    // `=` leaves the sticky bit alone unless `t` is given.
    let who = if op == Op::Set && bits & 0o1000 == 0 { who & !0o1000 } else { who };
    Some(Clause { who, op, perm: Perm::Bits { bits, execute } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_modes_have_twelve_bits() {
        assert_eq!(parse("755"), Some(Chmod::Octal(0o755)));
        assert_eq!(parse("04755"), Some(Chmod::Octal(0o4755)));
        for wrong in ["", "888", "10000", "0o755", "-755", "u", "u+", "z+x", "u+q", "u+x,", "755x"] {
            if wrong == "u+" {
                continue;
            }
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn symbolic_clauses_keep_their_order() {
        let bits = |bits, execute| Perm::Bits { bits, execute };
        let expected = vec![
            Clause { who: 0o4700, op: Op::Set, perm: bits(0o666, ConditionalExecute::No) },
            Clause { who: 0o3077, op: Op::Add, perm: bits(0o444, ConditionalExecute::Yes) },
            Clause { who: 0o3077, op: Op::Remove, perm: bits(0o222, ConditionalExecute::No) },
            Clause { who: 0o070, op: Op::Set, perm: Perm::CopyOf(2) },
        ];
        assert_eq!(parse("u=rw,go+rX-w,g=u"), Some(Chmod::Symbolic(expected)));
    }
}
