//! What the build knows of the step.
//!
//! Arguments, the environment (an `ARG` and an `ENV` are variables) and the working directory are the process's own:
//! [`std::env`].

/// A mount of the `RUN` instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is, an absolute path.
    pub path: String,
    /// Whether files in it can be written.
    pub writable: bool,
}

/// The name of the stage: its `AS` name, else its number.
pub fn stage() -> String {
    #[cfg(target_family = "wasm")]
    return crate::bindings::context::stage();
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.stage.clone())
}

/// The platform of the image, as `linux/arm64/v8`.
pub fn target_platform() -> String {
    #[cfg(target_family = "wasm")]
    return crate::bindings::context::target_platform();
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.target_platform.clone())
}

/// The platform that builds it.
pub fn build_platform() -> String {
    #[cfg(target_family = "wasm")]
    return crate::bindings::context::build_platform();
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.build_platform.clone())
}

/// The mounts of the `RUN` instruction, in its order.
pub fn mounts() -> Vec<Mount> {
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::context::{self, Access};
        let mount = |mount: context::Mount| Mount {
            path: mount.path,
            writable: matches!(mount.access, Access::ReadWrite),
        };
        context::mounts().into_iter().map(mount).collect()
    }
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.mounts.clone())
}
