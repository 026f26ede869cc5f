//! The generated imports of `wit/step.wit`.
#![allow(missing_docs, clippy::all, reason = "generated")]

wit_bindgen::generate!({ path: "wit", world: "tool", generate_all });

pub(crate) use self::wbuild::step::{context, events, image, outputs, secrets};
