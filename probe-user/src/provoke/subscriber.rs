//! A subscriber to this process's MMU notifiers.

use kvm_ioctls::{Kvm, VmFd};

/// An empty KVM virtual machine, which has no memory and never runs. Until it is dropped, KVM
/// subscribes to every change of this process's page tables.
#[derive(Debug)]
pub struct KvmSubscriber {
    _vm: VmFd,
}

impl KvmSubscriber {
    /// Makes one, or returns the reason in words why this machine cannot.
    pub fn open() -> Result<Self, String> {
        let kvm = Kvm::new().map_err(|error| {
            format!("/dev/kvm cannot be opened ({error}): load kvm_intel or kvm_amd, or run as a member of group kvm")
        })?;
        let vm = kvm.create_vm().map_err(|error| {
            format!(
                "KVM cannot make a virtual machine ({error}): enable virtualisation in the firmware"
            )
        })?;
        Ok(Self { _vm: vm })
    }
}
