//! How the guest's processors run: emulated, or by the host's.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::qemu::Accel;
use crate::vm::{Spec, run_with};

/// Settles how the processors run: the flag, then `PINSCOPE_ACCEL`, then TCG.
pub(crate) fn settle(spec: &Spec) -> Result<Accel> {
    let wish = match spec.accel {
        Some(wish) => wish,
        None => match std::env::var("PINSCOPE_ACCEL").as_deref() {
            Err(_) | Ok("" | "tcg") => Accel::Tcg,
            Ok("kvm") => Accel::Kvm,
            Ok("auto") => Accel::Auto,
            Ok(other) => bail!("PINSCOPE_ACCEL={other}: it can be tcg, kvm or auto"),
        },
    };
    Ok(match wish {
        Accel::Auto if kvm_boots(spec) => Accel::Kvm,
        Accel::Auto => Accel::Tcg,
        settled => settled,
    })
}

/// With TCG's `-cpu max` the guest sees an AMD processor.
pub(crate) fn host_is_intel() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
}

/// Whether a stock kernel boots by KVM here: tried once, with a short limit.
fn kvm_boots(spec: &Spec) -> bool {
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return false;
    }
    let note = Path::new("target/vm/kvm-boots");
    if let Ok(text) = std::fs::read_to_string(note) {
        return text.trim() == "yes";
    }
    let trial = Spec {
        timeout: Duration::from_secs(20),
        ..Spec::new(spec.kernel.clone(), &["true"])
    };
    let boots = run_with(
        &trial,
        Accel::Kvm,
        Box::new(io::sink()),
        Box::new(io::sink()),
    )
    .is_ok();
    let _ = std::fs::write(note, if boots { "yes\n" } else { "no\n" });
    boots
}
