//! Machines that cannot run pinscope: a plain sentence, the remedy, and exit status 77.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::{
    support::{Ran, run},
    test, test_unless,
};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("without_btf_it_says_so_and_ends_with_77", || {
            barred("no-btf", &["BTF", "CONFIG_DEBUG_INFO_BTF"])
        }),
        test("without_kallsyms_it_captures_all_the_same", || {
            // BTF names the functions; only the subscribers' names are missing.
            within("no-kallsyms", &["pinscope", "capture", "--duration", "1s"])?.expect_code(0)
        }),
        test("in_a_user_namespace_it_says_so_and_ends_with_77", || {
            barred("user-namespace", &["pinscope doctor"])
        }),
        test("doctor_names_what_bars_it", doctor),
    ]
}

/// The tests that change the guest until it is rebooted, so they run last.
pub(crate) fn last() -> Vec<Trial> {
    let none = (!std::path::Path::new(LOCKDOWN).exists())
        .then_some("this kernel has no lockdown, or securityfs is not mounted");
    vec![test_unless(
        none,
        "zz_under_lockdown_it_says_so_and_ends_with_77",
        || {
            std::fs::write(LOCKDOWN, "confidentiality")?;
            let ran = run(&words(&["pinscope", "capture", "--duration", "1s"]))?;
            ran.expect_refused(&["locked down"])?;
            let ran = run(&words(&["pinscope", "doctor"]))?;
            ran.expect_code(77)?;
            ensure!(ran.stdout.contains("lockdown"), "{}", ran.said());
            Ok(())
        },
    )]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Runs CMD through this program, which hides a part of the machine from it.
fn within(what: &str, cmd: &[&str]) -> Result<Ran> {
    let program = std::env::current_exe()?.display().to_string();
    run(&words(
        &[&[program.as_str(), "--helper", "barred", what][..], cmd].concat(),
    ))
}

fn barred(what: &str, words: &[&str]) -> Result<()> {
    let ran = within(what, &["pinscope", "capture", "--duration", "1s"])?;
    ran.expect_refused(words)
}

fn doctor() -> Result<()> {
    let ran = within("no-btf", &["pinscope", "doctor"])?;
    ran.expect_code(77)?;
    ensure!(ran.stdout.contains("BTF"), "{}", ran.said());
    Ok(())
}
