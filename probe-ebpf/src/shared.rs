//! Types that cross the border: one definition, with its size asserted, and checked conversions for
//! user space.

/// Defines a type that both sides read, of this size and with an alignment of 8 bytes.
macro_rules! shared {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* } size $size:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        #[cfg_attr(
            feature = "user",
            derive(
                zerocopy::FromBytes,
                zerocopy::IntoBytes,
                zerocopy::Immutable,
                zerocopy::KnownLayout
            )
        )]
        pub struct $name { $($body)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        const _: () = assert!(core::mem::align_of::<$name>() == 8);
    };
}
pub(crate) use shared;
