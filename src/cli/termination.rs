//! The termination log: Kubernetes shows this file's text as the reason of a container's end.

use crate::probe::report::Report;
use crate::secret::redact;
use crate::visible::escape_line;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Where Kubernetes puts it into a container (`terminationMessagePath`, by default).
pub(super) const LOG: &str = "/dev/termination-log";

/// Writes how each run ended, a line each, in the place of what stood there. The file is never created: where nobody put
/// one, nobody reads it.
pub(super) fn write(log: &Path, reports: &[Report]) {
    let lines: String = reports
        .iter()
        .map(|report| {
            let line = format!("{}: {}", report.probe, report.sentence());
            format!("{}\n", escape_line(&redact(&line)))
        })
        .collect();
    let file = OpenOptions::new().write(true).truncate(true).open(log);
    // One that cannot be written is no reason to end otherwise: the report has been told elsewhere.
    let _ = file.and_then(|mut file| file.write_all(lines.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::samples;
    use crate::probe::verdict::CauseCode;
    use crate::secret::Secret;

    #[test]
    fn each_run_is_a_line_in_the_place_of_what_stood_there() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("termination-log");
        std::fs::write(
            &log,
            "what an earlier container left, and more of it\n".repeat(9),
        )
        .unwrap();
        let mut blind = samples::blind(CauseCode::MailboxUnreachable);
        blind.probe = "second".to_owned();
        let reports = [samples::delivered(), blind];
        write(&log, &reports);
        let expected = format!(
            "external: {}\nsecond: {}\n",
            reports[0].sentence(),
            reports[1].sentence()
        );
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
        assert!(expected.contains("external: delivered in "), "{expected}");
        assert!(expected.contains("second: undetermined: "), "{expected}");
    }

    #[test]
    fn no_secret_and_nothing_that_steers_a_terminal_is_in_it() {
        let secret = Secret::new("hunter2-termination");
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("termination-log");
        std::fs::write(&log, "").unwrap();
        let mut blind = samples::blind(CauseCode::Unknown);
        if let Some(cause) = &mut blind.cause {
            cause.summary = format!("it says {}\u{1b}[31m\u{202e}", secret.expose());
        }
        write(&log, &[blind]);
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "external: undetermined: it says <secret>\\u001b[31m\\u202e\n"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("termination-log");
        write(&log, &[samples::delivered()]);
        assert!(!log.exists());
    }
}
