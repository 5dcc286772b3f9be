//! The name of the calling thread: what the kernel calls comm.

/// Names the calling thread, cut to the 15 bytes the kernel keeps.
pub fn set_comm(comm: &str) {
    let short: Vec<u8> = comm.bytes().filter(|&byte| byte != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(short) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Returns the calling thread's name.
pub(crate) fn own_comm() -> String {
    // nix's get_name returns an empty buffer in optimised builds.
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    comm.trim_end_matches('\n').to_owned()
}
