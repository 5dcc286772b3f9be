//! A subscriber to this process's MMU notifiers: an empty KVM virtual machine.

use kvm_ioctls::{Kvm, VmFd};

/// An empty virtual machine. While it lives, KVM is told of every change of this process's
/// page tables; it has no memory and never runs. Gone when dropped.
#[derive(Debug)]
pub struct Subscriber {
    _vm: VmFd,
}

impl Subscriber {
    /// Makes one where this machine can, or says in words why it can't.
    pub fn open() -> Result<Self, String> {
        let kvm = Kvm::new().map_err(|error| {
            format!("/dev/kvm can't be opened ({error}): load kvm_intel or kvm_amd, or run as a member of group kvm")
        })?;
        let vm = kvm.create_vm().map_err(|error| {
            format!(
                "KVM makes no virtual machine ({error}): is virtualisation enabled in the firmware?"
            )
        })?;
        Ok(Self { _vm: vm })
    }
}
