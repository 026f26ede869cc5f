//! Damaged input for everything of wbuild that reads what strangers wrote.
//!
//! Each target takes bytes, reads them as wbuild would, and panics on what must not be: a panic of the reader, a result that is not
//! what a second reader says, an input that takes seconds. Inputs are made by mutation of a small corpus (`corpus/NAME/` and the seeds in
//! code); one whose outcome has a shape not seen before joins the corpus of that run. There is no instrumentation, so any stable
//! compiler will do; the numbers come from a seed that is printed.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the runs tell their developers what they do")]
#![expect(clippy::disallowed_methods, reason = "works on the developer's checkout, not on a captured tree")]

mod mutate;
mod run;
mod targets;

pub use run::{Finding, Report, run};
pub use targets::{TARGETS, Target};
