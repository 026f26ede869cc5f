//! Tests of files, narrowing and decisions.

mod files;
mod properties;
