//! Who the processes of a step are: ids, capabilities, umask, working directory.
//!
//! The guest's processes all run as one unprivileged user without capabilities; what they believe to be is kept here,
//! as interned immutable [`State`]s. A process carries the index of its state in a resource limit ([`Tag`]), so
//! fork and exec need no help. Not here: checking files against these ids, which is the reference monitor's.

mod capability;
mod credentials;
mod exec;
mod prctl;
mod state;
mod table;
mod tag;

pub use capability::{capability, capability_set};
pub use credentials::{GROUPS_MAX, Identity, SecureBits};
pub use exec::{ExecFile, FileCapabilities, Transition};
pub use prctl::{option as prctl_option, prctl};
pub use state::{Cwd, CwdDir, FakeLimit, PlanId, State};
pub use table::{ChangeError, Identities, Thread};
pub use tag::{Carrier, StepId, Tag, TagError};
