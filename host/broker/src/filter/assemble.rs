//! A small assembler of classic BPF with forward labels of any distance.
//!
//! Invariant: every conditional jump spans at most its neighbour; distances that do not fit eight bits go through an
//! unconditional jump, whose operand is 32 bits wide.

use super::Instruction;

const LD_ABS_W: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const JMP_JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

/// A place further down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// The program so far.
#[derive(Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label was placed.
    places: Vec<Option<usize>>,
    /// Unconditional jumps to be patched: where, and to what.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    pub(super) fn load(&mut self, offset: u32) {
        self.push(LD_ABS_W, 0, 0, offset);
    }

    pub(super) fn and(&mut self, mask: u32) {
        self.push(ALU_AND_K, 0, 0, mask);
    }

    pub(super) fn answer(&mut self, verdict: u32) {
        self.push(RET_K, 0, 0, verdict);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JMP_JA, 0, 0, 0);
    }

    pub(super) fn jump_if_equal(&mut self, value: u32, to: Label) {
        self.push(JMP_JEQ_K, 0, 1, value);
        self.jump(to);
    }

    pub(super) fn jump_if_at_least(&mut self, value: u32, to: Label) {
        self.push(JMP_JGE_K, 0, 1, value);
        self.jump(to);
    }

    pub(super) fn jump_unless_equal(&mut self, value: u32, to: Label) {
        self.push(JMP_JEQ_K, 1, 0, value);
        self.jump(to);
    }

    pub(super) fn jump_unless_any(&mut self, mask: u32, to: Label) {
        self.push(JMP_JSET_K, 1, 0, mask);
        self.jump(to);
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.instructions.push(Instruction { code, jt, jf, k });
    }

    /// Resolves the labels.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let to =
                self.places[label.0].unwrap_or_else(|| unreachable!("a label that was jumped to is placed"));
            self.instructions[at].k = u32::try_from(to - at - 1).unwrap_or(u32::MAX);
        }
        self.instructions
    }
}
