//! `--chmod` applied to one file, as chmod(1) would with a umask of zero.

use wbuild_plan::{Chmod, ConditionalExecute, Op, Perm};

/// The mode that `chmod` makes of `mode`, both up to 0o7777.
pub(super) fn apply(chmod: &Chmod, mode: u32, is_dir: bool) -> u32 {
    match chmod {
        Chmod::Octal(mode) => *mode,
        Chmod::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| {
            let bits = match clause.perm {
                Perm::Bits { bits, execute } => {
                    let runs = is_dir || mode & 0o111 != 0;
                    let conditional = if execute == ConditionalExecute::Yes && runs { 0o111 } else { 0 };
                    bits | conditional
                }
                Perm::CopyOf(shift) => {
                    let class = mode >> (3 * shift) & 7;
                    class << 6 | class << 3 | class
                }
            } & clause.who;
            match clause.op {
                Op::Add => mode | bits,
                Op::Remove => mode & !bits,
                Op::Set => mode & !clause.who | bits,
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use wbuild_plan::Clause;

    use super::*;

    fn clause(who: u32, op: Op, perm: Perm) -> Chmod {
        Chmod::Symbolic(vec![Clause { who, op, perm }])
    }

    const fn bits(bits: u32) -> Perm {
        Perm::Bits { bits, execute: ConditionalExecute::No }
    }

    #[test]
    fn clauses_change_only_their_classes() {
        const U: u32 = 0o4700;
        const GO: u32 = 0o3077;
        assert_eq!(apply(&Chmod::Octal(0o4755), 0o600, false), 0o4755);
        assert_eq!(apply(&clause(U, Op::Add, bits(0o111)), 0o644, false), 0o744);
        assert_eq!(apply(&clause(GO, Op::Remove, bits(0o444)), 0o644, false), 0o600);
        assert_eq!(apply(&clause(GO, Op::Set, bits(0o111)), 0o666, false), 0o611);
        assert_eq!(apply(&clause(0o0007, Op::Set, Perm::CopyOf(2)), 0o750, false), 0o757);
    }

    #[test]
    fn conditional_execute_asks_the_file() {
        let x = clause(0o7777, Op::Add, Perm::Bits { bits: 0, execute: ConditionalExecute::Yes });
        assert_eq!(apply(&x, 0o644, false), 0o644);
        assert_eq!(apply(&x, 0o744, false), 0o755);
        assert_eq!(apply(&x, 0o644, true), 0o755);
    }
}
