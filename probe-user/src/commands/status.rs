//! Exit statuses beyond 0, 1 and 2.

/// The exit status for a machine, or privileges, with which pinscope cannot run.
pub const CANNOT_RUN: u8 = 77;
/// The exit status if the duration ended CMD, the same as timeout(1).
pub const TIMED_OUT: u8 = 124;
