//! The one contract of types between pinscope's kernel side and its user space.
#![no_std]
