//! The text of `pinscope doctor`.

use probe_ebpf::Hook;

use super::page::{Column, Ink, Page, Span, Style};
use crate::{
    model::{DoctorReport, measured::depends_on},
    snapshot::{Attach, HookState, HookStatus},
};

/// Renders doctor's report as text.
pub fn report(report: &DoctorReport, style: &Style) -> String {
    let mut page = Page::new(*style);
    page.line(&[
        Span::new(Ink::Bold, "pinscope doctor"),
        Span::plain(format!(" · Linux {}", report.kernel)),
    ]);
    page.blank();
    if report.can_run {
        page.wrapped("", "", Ink::Good, verdict(report));
    } else {
        page.wrapped(
            "",
            "",
            Ink::Bad,
            "pinscope cannot run here. See the checks marked FAIL.",
        );
    }
    checks(&mut page, report);
    hooks(&mut page, report);
    page.finish()
}

fn verdict(report: &DoctorReport) -> &'static str {
    let lacks = |row: &HookStatus| {
        let usually_absent = Hook::named(&row.name).and_then(|h| h.entry().usually_absent);
        usually_absent.is_none() && matches!(row.state, HookState::Failed | HookState::Unsupported)
    };
    if report.hooks.iter().any(lacks) {
        "pinscope can run here; some answers will be missing or weaker."
    } else {
        "pinscope can run here."
    }
}

fn checks(page: &mut Page, report: &DoctorReport) {
    if report.checks.is_empty() {
        return;
    }
    page.heading("Checks", "");
    for check in &report.checks {
        let (ink, sign, word) = if check.ok {
            (Ink::Good, "✓", "ok  ")
        } else {
            (Ink::Bad, "✗", "FAIL")
        };
        page.line(&[
            Span::plain("  "),
            Span::new(ink, format!("{sign} {word}")),
            Span::plain("  "),
            Span::new(Ink::Bold, check.name.as_str()),
        ]);
        if !check.detail.is_empty() {
            page.wrapped("          ", "          ", Ink::Plain, &check.detail);
        }
        if let Some(remedy) = check.remedy.as_ref().filter(|_| !check.ok) {
            page.wrapped("        → ", "          ", Ink::Plain, remedy);
        }
    }
}

fn state(row: &HookStatus) -> Span {
    match row.state {
        HookState::Active => Span::new(Ink::Good, "✓ active"),
        HookState::Unsupported => Span::new(Ink::Warn, "✗ unsupported"),
        HookState::Disabled => Span::new(Ink::Dim, "✗ disabled"),
        HookState::Failed => Span::new(Ink::Bad, "✗ FAILED"),
    }
}

fn attach(row: &HookStatus) -> &'static str {
    match row.attach {
        Some(Attach::Kprobe) => "kprobe",
        Some(Attach::Fentry) => "fentry",
        Some(Attach::RawTracepoint) => "raw tp",
        None => "-",
    }
}

fn hooks(page: &mut Page, report: &DoctorReport) {
    if report.hooks.is_empty() {
        return;
    }
    let (active, all) = HookStatus::active_of_all(&report.hooks);
    page.heading("Hooks", &format!("{active} of {all} active"));
    let rows: Vec<Vec<Span>> = report
        .hooks
        .iter()
        .map(|row| {
            vec![
                Span::plain(row.name.as_str()),
                state(row),
                Span::plain(attach(row)),
                Span::plain(row.symbol.as_str()),
            ]
        })
        .collect();
    page.table(
        &[
            Column::text("hook"),
            Column::left("state"),
            Column::left("attach"),
            Column::text("symbol"),
        ],
        &rows,
    );
    page.heading("What depends on them", "");
    for row in &report.hooks {
        let needed = depends_on(&row.name);
        let mut text = row.name.clone();
        if !needed.is_empty() {
            text.push_str(&format!(": {needed}"));
        }
        page.wrapped("  ", "    ", Ink::Plain, &text);
        if let Some(reason) = &row.reason {
            page.wrapped("    → ", "      ", Ink::Plain, reason);
        }
    }
}
