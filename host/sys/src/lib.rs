//! The kernel interfaces that need unsafe code.
