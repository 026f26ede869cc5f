//! What the end-to-end tests, the demo and the benches need: the restricted pod, base images, registries, oracles.
//!
//! Nothing here uses a crate of wbuild: the images that wbuild makes are judged by other people's tools and by code
//! that shares nothing with it. Whatever is missing on the machine is an error that names it; nothing is skipped.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "works on the machine's own files, not on a captured tree")]

pub mod base;
pub mod command;
pub mod demo;
pub mod git;
pub mod guest;
pub mod image;
pub mod job;
pub mod layout;
pub mod oracle;
pub mod oracles;
pub mod pod;
pub mod project;
pub mod proxy;
pub mod registry;
pub mod seccomp;
pub mod session;
pub mod tls;
pub mod tokens;
pub mod tree;
pub mod workspace;
