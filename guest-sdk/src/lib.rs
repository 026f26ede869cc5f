//! Build steps for wbuild in Rust.
//!
//! A tool is an ordinary program: it reads its arguments by [`std::env::args`], its files by [`std::fs`], and prints. Compiled for
//! `wasm32-wasip2` and copied into an image, it is a command that a `RUN` instruction executes, on any CPU, without a shell, in
//! a sandbox that shows it the image's files and nothing else. This crate is for what a plain program cannot say:
//!
//! | | |
//! |---|---|
//! | [`context`] | what the build knows of the step: stage, platforms, mounts |
//! | [`secrets`] | what `RUN --mount=type=secret` gives |
//! | [`events`] | lines, progress and diagnostics for the user |
//! | [`outputs`] | owner, mode, time and extended attributes of files |
//! | [`image`] | environment, labels, entry point and more of the image |
//!
//! ```no_run
//! use wbuild_step::{events, image, outputs, Result};
//!
//! fn main() -> Result {
//!     let page = std::fs::read_to_string("index.md")?;
//!     std::fs::write("/srv/index.html", format!("<pre>{page}</pre>"))?;
//!     outputs::set_owner("/srv/index.html", 33, 33)?;
//!     image::set_label("org.example.pages", "1")?;
//!     events::info("1 page");
//!     Ok(())
//! }
//! ```
//!
//! # Tests
//!
//! On any other target the same functions work on a *mock*: what a tool asks is answered from what a test sets, what it says is
//! kept. So `cargo test` tests a tool without WebAssembly; see [`mock`].
//!
//! # Errors
//!
//! `fn main() -> wbuild_step::Result` prints the error in one line and exits with 1, which fails the step.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod context;
mod error;
pub mod events;
pub mod image;
pub mod outputs;
pub mod secrets;

#[cfg(not(target_family = "wasm"))]
pub mod mock;

#[cfg(target_family = "wasm")]
mod bindings;

pub use error::{Error, Result};
