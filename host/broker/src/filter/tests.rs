//! The generated program against the table, by an interpreter of classic BPF.

use super::*;

const COOKIE: u64 = 0x0123_4567_89ab_cdef;

struct Data {
    nr: u32,
    arch: u32,
    args: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        let mut bytes = Vec::new();
        bytes.extend(self.nr.to_le_bytes());
        bytes.extend(self.arch.to_le_bytes());
        bytes.extend(0x7fff_dead_beef_u64.to_le_bytes());
        bytes.extend(self.args.iter().flat_map(|arg| arg.to_le_bytes()));
        let at = offset as usize;
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }
}

/// Runs a program as bpf(4) says; panics on what the kernel would reject.
fn run(program: &[Instruction], data: &Data) -> u32 {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let branch = |condition: bool| usize::from(if condition { jt } else { jf });
        match code {
            0x20 => accumulator = data.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x35 => at += branch(accumulator >= k),
            0x45 => at += branch(accumulator & k != 0),
            0x06 => return k,
            other => panic!("operation {other:#x}"),
        }
    }
}

/// The table's own answer, without BPF.
fn expected(data: &Data) -> u32 {
    if data.arch != ARCHITECTURE {
        return errno_verdict(Errno::NOSYS);
    }
    let Some(row) = table::all().find(|row| row.numbers.here() == Some(data.nr)) else {
        return errno_verdict(Errno::NOSYS);
    };
    verdict(row.action_for(&data.args, COOKIE))
}

/// Argument values near every condition of the row, both halves disturbed.
fn interesting(row: &Row) -> Vec<u64> {
    let mut values = vec![0, 1, 2, u64::MAX, u64::from(u32::MAX), COOKIE, COOKIE ^ 1, COOKIE ^ 1 << 40];
    for condition in row.cases.iter().flat_map(|case| case.when) {
        match condition.test {
            Test::Int { value, .. } => {
                values.extend([value.into(), u64::from(value) | 1 << 35, u64::from(value) ^ 0x80])
            }
            Test::IntAny { mask } => values.extend((0..32).map(|bit| u64::from(mask) & 1 << bit)),
            Test::IntAmong(list) => {
                values.extend(list.iter().flat_map(|value| [u64::from(*value), u64::from(*value) ^ 4]))
            }
            Test::Cookie => {}
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn program_fits_the_kernel() {
    let program = program(COOKIE, Network::Open);
    assert!(program.len() <= MAX_INSTRUCTIONS, "{} instructions", program.len());
    for (at, instruction) in program.iter().enumerate() {
        let furthest = match instruction.code {
            0x05 => instruction.k as usize,
            0x15 | 0x35 | 0x45 => usize::from(instruction.jt.max(instruction.jf)),
            _ => 0,
        };
        assert!(at + 1 + furthest < program.len() || instruction.code == 0x06, "jump out at {at}");
    }
}

#[test]
fn every_number_gets_the_tables_verdict() {
    let program = program(COOKIE, Network::Open);
    let numbers = (0..700).chain([0x4000_0000, 0x4000_0001, 0x4000_0000 + 257, u32::MAX, u32::MAX - 1]);
    for nr in numbers {
        let data = Data { nr, arch: ARCHITECTURE, args: [0; 6] };
        assert_eq!(run(&program, &data), expected(&data), "number {nr}");
    }
}

#[test]
fn arguments_get_the_tables_verdict() {
    let program = program(COOKIE, Network::Open);
    let mut compared = 0;
    for row in table::all().filter(|row| !row.cases.is_empty()) {
        let Some(nr) = row.numbers.here() else { continue };
        let values = interesting(row);
        let used: Vec<usize> = (0..6)
            .filter(|arg| row.cases.iter().flat_map(|case| case.when).any(|c| usize::from(c.arg) == *arg))
            .collect();
        let total = values.len().pow(u32::try_from(used.len()).unwrap());
        for mut choice in 0..total {
            let mut args = [0; 6];
            for arg in &used {
                args[*arg] = values[choice % values.len()];
                choice /= values.len();
            }
            let data = Data { nr, arch: ARCHITECTURE, args };
            assert_eq!(run(&program, &data), expected(&data), "{} {args:x?}", row.name);
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn foreign_architectures_have_no_calls() {
    let program = program(COOKIE, Network::Open);
    for arch in [0x4000_0003, 0xc000_00b8, 0] {
        for nr in [0, 1, 59, 257] {
            assert_eq!(run(&program, &Data { nr, arch, args: [0; 6] }), errno_verdict(Errno::NOSYS));
        }
    }
}

#[test]
fn what_must_be_closed_is_closed() {
    let program = program(COOKIE, Network::Open);
    let verdict_of = |name: &str, args: [u64; 6]| {
        let row = table::all().find(|row| row.name == name).unwrap();
        run(&program, &Data { nr: row.numbers.here().unwrap(), arch: ARCHITECTURE, args })
    };
    for name in [
        "io_uring_setup",
        "io_uring_enter",
        "userfaultfd",
        "bpf",
        "keyctl",
        "unshare",
        "setns",
        "mount",
        "clone3",
        "ptrace",
    ] {
        assert_eq!(verdict_of(name, [0; 6]) & 0xffff_0000, RET_ERRNO, "{name}");
    }
    // TIOCSTI, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_ENABLE_VERITY, with a disturbed high half.
    for command in [0x5412, 0x4008_6602, 0x401c_5820, 0x4080_6685, 0x5412 | 1 << 32] {
        assert_eq!(
            verdict_of("ioctl", [0, command, 0, 0, 0, 0]),
            errno_verdict(Errno::NOTTY),
            "{command:#x}"
        );
    }
    for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(verdict_of("clone", [flag | 17, 0, 0, 0, 0, 0]), errno_verdict(Errno::PERM), "{flag:#x}");
    }
    // Another process's limits are the broker's to give: else a guest starves its supervisor.
    assert_eq!(verdict_of("prlimit64", [77, 7, 0, 0, 0, 0]), RET_USER_NOTIF);
    assert_eq!(verdict_of("prlimit64", [0, 7, 0, 0, 0, 0]), RET_ALLOW);
    assert_eq!(verdict_of("clone", [0x003d_0f00, 0, 0, 0, 0, 0]), RET_ALLOW);
    assert_eq!(verdict_of("execveat", [0, 0, 0, 0, 0x1000, COOKIE]), RET_ALLOW);
    assert_eq!(verdict_of("execveat", [0, 0, 0, 0, 0x1000, COOKIE + 1]), RET_USER_NOTIF);
    assert_eq!(verdict_of("execveat", [0, 0, 0, 0, 0, COOKIE]), RET_USER_NOTIF);
}

#[test]
fn the_table_knows_each_number_once_and_all_of_them() {
    for of in [|row: &Row| row.numbers.x86_64, |row: &Row| row.numbers.aarch64] {
        let mut numbers: Vec<u32> = table::all().filter_map(of).collect();
        numbers.sort_unstable();
        let before = numbers.len();
        numbers.dedup();
        assert_eq!(before, numbers.len(), "a number stands twice");
    }
    let known: Vec<u32> = table::all().filter_map(|row| row.numbers.x86_64).collect();
    for number in (0..335).chain(424..464) {
        assert!(known.contains(&number), "x86_64 number {number} has no row");
    }
}

#[test]
fn without_a_network_no_internet_socket_is_made() {
    let (open, closed) = (program(COOKIE, Network::Open), program(COOKIE, Network::None));
    let asked = program(COOKIE, Network::Asked);
    let socket = table::all().find(|row| row.name == "socket").and_then(|row| row.numbers.here()).unwrap();
    let call = |nr, args| Data { nr, arch: ARCHITECTURE, args };
    for family in table::INTERNET {
        for kind in [1, 2, 1 | 0o2_000_000] {
            // The upper half of an int argument is noise.
            let data = call(socket, [u64::from(family) | 1 << 40, kind, 0, 0, 0, 0]);
            assert_eq!(run(&open, &data), RET_ALLOW);
            assert_eq!(run(&closed, &data), errno_verdict(Errno::AFNOSUPPORT));
            assert_eq!(run(&asked, &data), RET_USER_NOTIF);
        }
    }
    for nr in 0..600 {
        for family in [1, 16, 17] {
            let data = call(nr, [family, 1, 0, 0, 0, 0]);
            assert_eq!(run(&open, &data), run(&closed, &data), "{nr} {family}");
            assert_eq!(run(&open, &data), run(&asked, &data), "{nr} {family}");
        }
    }
}
