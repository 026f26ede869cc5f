//! The reference monitor: resolve, permit, act.
