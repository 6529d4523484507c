//! What happens while a run waits.

use crate::common::process::signal;
use crate::common::{Outcome, Site};
use std::time::Duration;

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_server_that_is_restarted_in_mid_wait_costs_nothing() {
    let mut site = Site::start();
    site.brevo.state().hold = Duration::from_secs(3);
    let run = site.begin();
    site.token_of_message(1);
    site.dovecot.restart();
    let outcome = Outcome::of(run);
    let report = outcome.assert("delivered", None, 0);
    assert!(
        report["delivery_seconds"].as_f64() < Some(5.0),
        "{report:#}"
    );
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_server_that_goes_away_in_mid_wait_and_stays_away_leaves_the_run_undetermined() {
    let mut site = Site::start();
    site.with(|settings| {
        settings.late_after = "2s".to_owned();
        settings.timeout = "4s".to_owned();
    });
    site.brevo.state().hold = Duration::from_secs(3600);
    let run = site.begin();
    site.token_of_message(1);
    site.dovecot.stop();
    let outcome = Outcome::of(run);
    let report = outcome.assert("undetermined", Some("mailbox_connection_lost"), 3);
    let told = report.to_string();
    assert!(
        told.contains("lost folder `INBOX` on imap `127.0.0.1:"),
        "{told}"
    );
    assert!(!told.contains("docs.rs"), "{told}");
}

/// A run that a signal ends in mid-wait, after one that was delivered.
fn interrupted(name: &str, code: i32) {
    let site = Site::start();
    site.run().assert("delivered", None, 0);
    let told = site.kuma.requests().len();
    site.brevo.state().hold = Duration::from_secs(3600);
    let run = site.begin();
    site.token_of_message(2);
    signal(run.id(), name);
    let outcome = Outcome::of(run);
    outcome.assert("undetermined", Some("interrupted"), code);
    // 25 s at the most; here, where everything answers, at once.
    assert!(outcome.seconds < 5.0, "{outcome:#?}");
    let gauge = |name, label| site.gateway.of_probe(name, label);
    let one = Some("1".to_owned());
    assert_eq!(gauge("mailprobe_verdict", "verdict=\"undetermined\""), one);
    assert_eq!(gauge("mailprobe_cause", "cause=\"interrupted\""), one);
    // A drained node pages nobody.
    assert_eq!(gauge("email_roundtrip_success", ""), one);
    assert_eq!(site.kuma.requests().len(), told);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn sigterm_in_mid_wait_pushes_the_report_and_ends_with_143() {
    interrupted("TERM", 143);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn sigint_in_mid_wait_pushes_the_report_and_ends_with_130() {
    interrupted("INT", 130);
}
