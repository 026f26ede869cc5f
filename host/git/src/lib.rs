//! Git repositories as sources: a reference to a commit, and the files of a commit into the store, without a git program.
//!
//! A server is not trusted: a commit's files are what its id names, hash by hash; names that lead elsewhere are refused; a pack
//! is measured before anything of it is decoded. Requests are made by whoever implements [`Http`]: credentials, certificates,
//! redirects and repetitions are its, and no credential is ever here. Pushing, history and merging are no part of this.

#![forbid(unsafe_code)]

mod checkout;
mod dotgit;
mod error;
mod http;
mod limits;
mod measure;
mod pack;
mod remote;
mod submodules;
mod tarball;
mod wire;

pub use checkout::{Checkout, checkout};
pub use error::GitError;
pub use http::{Answer, Http, HttpFailure};
pub use limits::Limits;
pub use remote::find;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes repositories with git and std")]
mod tests;
