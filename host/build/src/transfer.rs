//! How transfers are told: one line for each blob that is moved, kept or tried again.

use std::sync::Mutex;

use wbuild_store::{Transfer, TransferKind};

use crate::progress::Running;

/// Tells the transfers of one pull or push as notes of its vertex.
pub(crate) struct Transfers(Mutex<Running>);

impl Transfers {
    pub(crate) fn new(running: Running) -> Self {
        Self(Mutex::new(running))
    }

    pub(crate) fn into_running(self) -> Running {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl wbuild_store::Progress for Transfers {
    fn report(&self, transfer: Transfer) {
        let Transfer { digest, size, kind } = transfer;
        let size = readable(size);
        let text = match kind {
            TransferKind::Started | TransferKind::Progress(_) => return,
            TransferKind::Retrying { reason } => format!("{digest} failed and is tried again: {reason}"),
            TransferKind::Done => format!("{digest} {size} done"),
            TransferKind::Exists => format!("{digest} {size} exists"),
            TransferKind::Mounted { from } => format!("{digest} {size} mounted from {from}"),
        };
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).note(&text);
    }
}

fn readable(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let bytes_shown = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", bytes_shown / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", bytes_shown / 1e6),
        _ => format!("{:.2}GB", bytes_shown / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_readable() {
        assert_eq!(super::readable(999), "999B");
        assert_eq!(super::readable(1_234_567), "1.2MB");
        assert_eq!(super::readable(1 << 30), "1.07GB");
    }
}
