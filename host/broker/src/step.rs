//! What all calls of one step share.

use wbuild_monitor::Monitor;

use crate::exec::Execs;
use crate::identity::Identities;
use crate::views::StepViews;

/// The step-wide state, shared by every receiver and job thread.
pub struct Step {
    /// The reference monitor over the step's tree and grafts.
    pub monitor: Monitor,
    /// Credentials, umask and cwd of every guest process, by tag.
    pub identities: Identities,
    /// /proc, /dev and /sys.
    pub views: StepViews,
    /// How programs are started.
    pub exec: Execs,
}
