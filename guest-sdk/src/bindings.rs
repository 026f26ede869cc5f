//! The generated imports of `wit/step.wit`.

wit_bindgen::generate!({ path: "wit", world: "tool", generate_all });

pub(crate) use self::wbuild::step::{context, events, image, outputs, secrets};
