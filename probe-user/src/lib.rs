//! pinscope's library: everything behind the `pinscope` binary.

pub mod faces;
pub mod model;
pub mod provoke;
pub mod source;
