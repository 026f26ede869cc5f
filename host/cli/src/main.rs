//! The binary `wbuild`.

fn main() {}
