//! Steps of static busybox under the whole chain, as root and as an ordinary user.
//!
//! Guest programs in guests/ run natively first, then under the broker. Nothing here checks a time.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests look at the host directly and fail by panics"
)]

mod bench;
mod dynamic;
mod end;
mod fence;
mod hostile;
mod shell;
mod stress;
