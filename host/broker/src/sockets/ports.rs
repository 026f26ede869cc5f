//! Ports that this host gives to nobody without a privilege: what a user is told whose step wanted one.
//!
//! A step's root has no capability of the host's, so `net.ipv4.ip_unprivileged_port_start` alone decides. Nothing is decided here: the kernel
//! binds or refuses, and what a guest writes meanwhile into its address spoils its own note.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The first port that anybody may have here; `None` where the kernel does not say.
fn first_free() -> Option<u16> {
    static FIRST: OnceLock<Option<u16>> = OnceLock::new();
    *FIRST.get_or_init(|| {
        let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
        let mut text = [0; 16];
        let length = rustix::io::read(&file, &mut text).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    })
}

/// The ports of one step that it could not have.
#[derive(Debug, Default)]
pub struct Ports {
    refused: Mutex<BTreeSet<u16>>,
}

impl Ports {
    fn refused(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody binds this port.
    pub(crate) fn wanted(&self, port: u16) {
        self.wanted_where(port, first_free());
    }

    fn wanted_where(&self, port: u16, first_free: Option<u16>) {
        // 0 is any port.
        if port != 0 && first_free.is_some_and(|first| port < first) {
            self.refused().insert(port);
        }
    }

    /// What the user should hear of them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let note = |port: &u16| {
            format!(
                "port {port} could not be bound: ports below {} need a privilege here that no step has; set the sysctl net.ipv4.ip_unprivileged_port_start=0 where wbuild runs, or listen on a higher one",
                first_free().unwrap_or_default()
            )
        };
        self.refused().iter().map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn each_port_that_is_refused_is_told_once() {
        let ports = Ports::default();
        for port in [80, 443, 80, 0, 1024, 8080] {
            ports.wanted_where(port, Some(1024));
        }
        ports.wanted_where(22, None);
        ports.wanted_where(25, Some(0));
        let notes = ports.notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("port 80 could not be bound") && notes[1].starts_with("port 443 "));
    }
}
