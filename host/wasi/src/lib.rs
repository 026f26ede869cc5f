//! WASI programs as steps: wasmtime, and WASI over the calls that the broker answers.

#![deny(unsafe_code)]
