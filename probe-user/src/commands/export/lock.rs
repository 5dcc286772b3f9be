//! Locks the exporter's memory: under memory pressure, which is when its counts matter, it must not
//! wait for its own pages.

use nix::sys::{
    mman::{MlockAllFlags, mlock, mlockall},
    resource::{RLIM_INFINITY, Resource, getrlimit},
};
use procfs::process::{MMPermissions, MMapPath, Process};

use crate::kernel::privileges::lift_memlock_limit;

/// Reads the program's own code in and locks it, and locks everything else as it is used.
///
/// # Errors
/// What is not locked, and the remedy. Whatever could be locked stays so.
pub(super) fn lock_memory() -> Result<(), String> {
    const REMEDY: &str = "raise RLIMIT_MEMLOCK to unlimited (LimitMEMLOCK=infinity in systemd, \
                          memlock in a container runtime), or give it CAP_SYS_RESOURCE";
    lift_memlock_limit();
    lock_program().map_err(|why| format!("{why}: {REMEDY}"))?;
    // Below a limit, a later allocation would fail instead of waiting.
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|e| e.to_string())?;
    if limit != RLIM_INFINITY {
        return Err(format!(
            "only the program itself is locked, because RLIMIT_MEMLOCK is {limit} bytes: {REMEDY}"
        ));
    }
    // On a fault: unused parts of stacks and of the heap take no memory.
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault;
    mlockall(flags).map_err(|e| format!("{e}: {REMEDY}"))
}

/// Locks the mappings of the executable, which reads them in.
fn lock_program() -> Result<(), String> {
    let me = Process::myself().map_err(|e| e.to_string())?;
    let program = me.exe().map_err(|e| e.to_string())?;
    let maps = me.maps().map_err(|e| e.to_string())?;
    for map in maps {
        let (start, end) = map.address;
        let ours = matches!(&map.pathname, MMapPath::Path(path) if *path == program);
        if !ours || !map.perms.contains(MMPermissions::READ) {
            continue;
        }
        let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(end - start)) else {
            continue;
        };
        let Some(start) = std::ptr::NonNull::new(start as *mut std::ffi::c_void) else {
            continue;
        };
        // SAFETY: mlock changes neither contents nor permissions of memory, and the kernel checks
        // the range.
        #[allow(unsafe_code)]
        unsafe { mlock(start, length) }.map_err(|e| e.to_string())?;
    }
    Ok(())
}
