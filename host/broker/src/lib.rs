//! The syscall table and its handlers.
