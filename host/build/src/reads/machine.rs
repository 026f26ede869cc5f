//! What a step may learn of the machine without asking its tree: the kernel, the processors, how many of them it may use.
//!
//! It stands in every weak key. What changes from moment to moment (load, memory, time) does not; nor does the host name, which is given.

use std::io::Read;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};

/// More of /proc/cpuinfo than one processor's part is not looked at.
const MOST: u64 = 64 << 10;

/// The machine in one line of text; read once.
pub(super) fn fingerprint() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let kernel = rustix::system::uname();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let (release, version) = (part(kernel.release()), part(kernel.version()));
        format!("{} {release} {version} {processors} {}", part(kernel.machine()), features())
    })
}

/// The lines of /proc/cpuinfo that say what the first processor is and can; none where there is no such file.
fn features() -> String {
    let opened = rustix::fs::open("/proc/cpuinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut bytes = Vec::new();
    if let Ok(file) = opened
        && std::fs::File::from(file).take(MOST).read_to_end(&mut bytes).is_err()
    {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let first = text.split("\n\n").next().unwrap_or_default();
    let says = |line: &&str| {
        ["vendor_id", "model name", "flags", "Features", "CPU part"].iter().any(|name| line.starts_with(name))
    };
    first.lines().filter(says).collect::<Vec<_>>().join("|")
}
