//! The client against registries: Debian's docker-registry with skopeo as the witness, and a server that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod docker_registry;
mod hostile;
mod images;
mod misbehaviour;
mod real;
mod tls;
mod tokens;
