//! The `pinscope` binary.

fn main() {}
