//! Runs a plan: stages, steps, commits, outputs.
