//! The handlers, one file per family.
