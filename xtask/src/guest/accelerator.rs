//! The choice of accelerator: emulation, or the host's processors.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::guest::machine::{Accel, AccelChoice, Machine};
use crate::guest::session;

/// Settles how the processors run: by the flag, else by `PINSCOPE_ACCEL`, else by TCG.
pub(crate) fn settle(machine: &Machine) -> Result<Accel> {
    let choice = match machine.accel {
        Some(choice) => choice,
        None => match std::env::var("PINSCOPE_ACCEL").as_deref() {
            Err(_) | Ok("" | "tcg") => AccelChoice::Tcg,
            Ok("kvm") => AccelChoice::Kvm,
            Ok("auto") => AccelChoice::Auto,
            Ok(other) => bail!("PINSCOPE_ACCEL={other} is unknown: set it to tcg, kvm or auto"),
        },
    };
    Ok(match choice {
        AccelChoice::Tcg => Accel::Tcg,
        AccelChoice::Icount => Accel::Icount,
        AccelChoice::Kvm => Accel::Kvm,
        AccelChoice::Auto if kvm_boots(machine) => Accel::Kvm,
        AccelChoice::Auto => Accel::Tcg,
    })
}

/// Whether a stock kernel boots with KVM on this machine. Tried once, with a short time limit; the
/// result is kept in `target/vm`.
fn kvm_boots(machine: &Machine) -> bool {
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
    let trial = Machine {
        timeout: Duration::from_secs(20),
        ..Machine::new(machine.kernel.clone(), &["true"])
    };
    let boots = session::run(
        &trial,
        Accel::Kvm,
        Box::new(io::sink()),
        Box::new(io::sink()),
    )
    .is_ok();
    let _ = std::fs::write(note, if boots { "yes\n" } else { "no\n" });
    boots
}
