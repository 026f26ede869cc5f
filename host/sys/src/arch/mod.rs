//! What differs between architectures: a thread's registers and how to put another call into them.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Registers;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Registers;
