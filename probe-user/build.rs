//! Finds the kernel side's object, which `cargo xtask build` makes for its own target.

use std::{env, path::PathBuf, process};

fn main() {
    println!("cargo:rerun-if-env-changed=PINSCOPE_EBPF_OBJECT");
    let object = env::var_os("PINSCOPE_EBPF_OBJECT").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../target/ebpf/pinscope-probes"
            ))
        },
        PathBuf::from,
    );
    println!("cargo:rerun-if-changed={}", object.display());
    let Ok(object) = object.canonicalize() else {
        println!(
            "cargo::error=the kernel side is missing ({}): run `cargo xtask build`, which \
             builds it, or name it in PINSCOPE_EBPF_OBJECT",
            object.display()
        );
        process::exit(1);
    };
    println!("cargo:rustc-env=PINSCOPE_EBPF_OBJECT={}", object.display());
}
