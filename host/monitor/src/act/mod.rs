//! The operations themselves: one method of [`crate::Monitor`] for each family of calls, whole.
//!
//! Each resolves to descriptors, asks for a permit, and acts on exactly those descriptors. Only this module names rootfs's raw operations
//! with an effect.

mod attributes;
mod look;
mod names;
mod open;
mod place;
mod xattr;

/// The value of an outcome; the caller answers the others.
macro_rules! done {
    ($outcome:expr) => {
        match $outcome {
            $crate::Outcome::Done(value) => value,
            $crate::Outcome::View(place) => return Ok($crate::Outcome::View(place)),
            $crate::Outcome::Object(fd) => return Ok($crate::Outcome::Object(fd)),
        }
    };
}
use done;

use crate::{Fault, Outcome};

/// What an operation answers.
pub(crate) type Answer<T> = Result<Outcome<T>, Fault>;
