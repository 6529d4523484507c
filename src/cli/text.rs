//! A report for people.

use super::output::{Colour, Line};
use crate::probe::report::Report;
use crate::probe::verdict::Verdict;

/// The report in lines: the verdict in a sentence, then cause, evidence, remedy and warnings.
pub(super) fn report(report: &Report) -> Vec<Line> {
    let colour = match report.verdict {
        _ if report.success => Colour::Green,
        Verdict::Undetermined => Colour::Yellow,
        _ => Colour::Red,
    };
    let sentence = report.sentence();
    let rest = sentence
        .strip_prefix(report.verdict.name())
        .unwrap_or_default();
    let headline = Line::from(format!("{}: ", report.probe))
        .coloured(report.verdict.name(), colour)
        .plain(rest);
    let mut lines = vec![headline];
    lines.extend(details(report).iter().map(Line::from));
    lines
}

fn details(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(cause) = &report.cause {
        lines.push(format!("  cause: {}", cause.code));
        lines.extend(
            cause
                .evidence
                .iter()
                .map(|one| format!("  evidence: {one}")),
        );
        lines.push(format!("  hint: {}", cause.hint));
    }
    for warning in &report.warnings {
        lines.push(format!("  warning: {} ({})", warning.summary, warning.code));
        lines.extend(
            warning
                .evidence
                .iter()
                .map(|one| format!("    evidence: {one}")),
        );
        if !warning.hint.is_empty() {
            lines.push(format!("    hint: {}", warning.hint));
        }
    }
    for late in &report.late_arrivals {
        lines.push(format!(
            "  late arrival: {} of probe `{}` took {:.0} s to `{}`",
            late.run, late.probe, late.delivery_seconds, late.folder
        ));
    }
    let id = report.sender.message_id.as_deref();
    let id = id
        .map(|id| format!(", message id {id}"))
        .unwrap_or_default();
    lines.push(format!("  run: {}{id}", report.run));
    lines
}
