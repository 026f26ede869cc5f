//! A Dockerfile and its arguments to a graph of steps.
