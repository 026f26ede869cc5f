//! Images built end to end: each test builds with the real binary and judges the result by another tool.

#![forbid(unsafe_code)]

mod bases;
mod job;
