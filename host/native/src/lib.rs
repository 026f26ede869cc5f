//! The spawner of native steps: supervisor, reaper, filter, exec.
