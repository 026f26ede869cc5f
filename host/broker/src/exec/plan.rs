//! What a stub asks for before it runs a program: the plan of the exec that started it.

use rustix::io::Errno;
use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// The prctl option by which a stub asks for its plan ("WBUI"): prctl is a call every outer profile allows.
pub const PRCTL: u32 = 0x4942_5557;

/// prctl(PRCTL, buffer, size): writes the plan and installs its descriptors.
///
/// # Errors
/// What the guest gets.
pub fn deliver(_call: &mut Call<'_>) -> Result<Reply, Fault> {
    Err(Fault::Errno(Errno::INVAL))
}
