//! Everything that makes one guest: its kernel, its files, the emulator, and the streams out of it.
//!
//! It builds on `host`, and knows nothing of the developer commands.

pub(crate) mod accelerator;
pub(crate) mod channels;
pub(crate) mod cpio;
pub(crate) mod ext4;
pub(crate) mod files;
pub(crate) mod initramfs;
pub(crate) mod kernels;
pub(crate) mod machine;
pub(crate) mod modules;
pub(crate) mod qemu;
pub(crate) mod run_dir;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tools_disk;

use anyhow::Result;

use machine::Machine;
use session::GuestExit;
use stream::Sink;

/// Boots the guest and runs its command. The command's output goes to the sinks as it comes.
pub(crate) fn run(machine: &Machine, stdout: Sink, stderr: Sink) -> Result<GuestExit> {
    let accel = accelerator::settle(machine)?;
    session::run(machine, accel, stdout, stderr)
}
