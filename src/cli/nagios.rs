//! The one line of a Nagios plugin, and its exit code.

use crate::probe::report::Report;
use crate::probe::verdict::Verdict;
use std::fmt::Write;

const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
/// Also for faults of the config.
pub(super) const UNKNOWN: u8 = 3;

/// `MAILPROBE OK - external: delivered in … | …` and the plugin's exit code.
pub(super) fn line(reports: &[Report]) -> (String, u8) {
    let worst = reports.iter().map(state).max_by_key(|state| match *state {
        CRITICAL => 3,
        WARNING => 2,
        UNKNOWN => 1,
        _ => 0,
    });
    let worst = worst.unwrap_or(UNKNOWN);
    let sentences: Vec<_> = reports
        .iter()
        .map(|report| format!("{}: {}", report.probe, report.sentence()))
        .collect();
    let mut line = format!("MAILPROBE {} - {}", name(worst), fit(&sentences.join("; ")));
    let mut bar = " |";
    for report in reports {
        for (label, value) in [
            ("duration", report.duration_seconds),
            ("delivery", report.delivery_seconds),
        ] {
            if let Some(value) = value {
                let _ = write!(line, "{bar} '{} {label}'={value}s;;;0", report.probe);
                bar = "";
            }
        }
    }
    (line, worst)
}

/// The line for a fault of the config.
pub(super) fn fault(text: &str) -> String {
    format!("MAILPROBE UNKNOWN - {}", fit(&text.replace('\n', "; ")))
}

fn state(report: &Report) -> u8 {
    match report.verdict {
        _ if report.success => OK,
        Verdict::Delivered => OK,
        Verdict::Late | Verdict::Junked => WARNING,
        Verdict::Refused | Verdict::Bounced | Verdict::Missing => CRITICAL,
        Verdict::Undetermined => UNKNOWN,
    }
}

fn name(state: u8) -> &'static str {
    match state {
        OK => "OK",
        WARNING => "WARNING",
        CRITICAL => "CRITICAL",
        _ => "UNKNOWN",
    }
}

/// A bar begins the performance data, so that none may stand before it.
fn fit(text: &str) -> String {
    text.replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::samples;
    use crate::probe::verdict::CauseCode;

    fn of(verdict: Verdict) -> Report {
        Report {
            verdict,
            success: verdict == Verdict::Delivered,
            ..samples::delivered()
        }
    }

    #[test]
    fn the_worst_of_several_probes_is_the_state_of_the_line() {
        use Verdict::{Bounced, Delivered, Junked, Late, Missing, Refused, Undetermined};
        for (verdicts, start, code) in [
            (&[Delivered, Delivered][..], "MAILPROBE OK - ", 0),
            (&[Delivered, Late], "MAILPROBE WARNING - ", 1),
            (&[Junked, Undetermined], "MAILPROBE WARNING - ", 1),
            (&[Delivered, Undetermined], "MAILPROBE UNKNOWN - ", 3),
            (&[Undetermined, Refused], "MAILPROBE CRITICAL - ", 2),
            (&[Late, Bounced], "MAILPROBE CRITICAL - ", 2),
            (&[Missing], "MAILPROBE CRITICAL - ", 2),
        ] {
            let reports: Vec<Report> = verdicts.iter().map(|one| of(*one)).collect();
            let (line, found) = super::line(&reports);
            assert!(line.starts_with(start), "{line}");
            assert_eq!(found, code, "{line}");
        }
    }

    #[test]
    fn what_is_accepted_is_ok_and_a_bar_in_words_begins_no_performance_data() {
        let late = Report {
            success: true,
            ..of(Verdict::Late)
        };
        assert_eq!(super::line(&[late]).1, OK);
        let mut blind = samples::blind(CauseCode::Unknown);
        if let Some(cause) = &mut blind.cause {
            cause.summary = "a|b".to_owned();
        }
        let (line, _) = super::line(&[blind]);
        assert_eq!(line, "MAILPROBE UNKNOWN - external: undetermined: a/b");
    }
}
