//! A mailbox that is not ours alone.

use crate::common::crowd::gather;
use crate::common::{Outcome, Site};
use std::collections::BTreeSet;
use std::time::Duration;

const RUNS: usize = 5;

/// Answers to the message of a run that is under way, all quoting its token. None of them is the message.
fn quotations(token: &str) -> [String; 4] {
    let subject = format!("[E2E Monitor] {token}");
    [
        format!(
            "From: helpful@example.org\r\nTo: monitoring@example.org\r\nSubject: Re: {subject}\r\n\
             In-Reply-To: <1@smtp-relay.mailin.fr>\r\nReferences: <1@smtp-relay.mailin.fr>\r\n\r\n> {token}\r\nWhat is this?\r\n"
        ),
        format!(
            "From: careless@example.org\r\nTo: monitoring@example.org\r\nSubject: {subject}\r\n\
             In-Reply-To: <1@smtp-relay.mailin.fr>\r\nX-Mailprobe-Token: {token}\r\n\r\nWhat is this?\r\n"
        ),
        format!(
            "From: away@example.org\r\nTo: monitoring@example.org\r\nSubject: {subject}\r\n\
             Auto-Submitted: auto-replied\r\nX-Mailprobe-Token: {token}\r\n\r\nI am away.\r\n"
        ),
        format!(
            "From: colleague@example.org\r\nTo: spam@example.org\r\nSubject: {subject}\r\n\
             Resent-From: colleague@example.org\r\nX-Mailprobe-Token: {token}\r\n\r\n{token}\r\n"
        ),
    ]
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_reply_that_arrives_before_the_message_is_not_the_message_and_stays() {
    let site = Site::start();
    site.brevo.state().hold = Duration::from_millis(1500);
    let run = site.begin();
    let token = site.token_of_message(1);
    for raw in quotations(&token) {
        site.postfix.submit("spam@example.org", &raw);
    }
    let report = Outcome::of(run).assert("delivered", None, 0);
    assert!(
        report["delivery_seconds"].as_f64() >= Some(1.4),
        "{report:#}"
    );
    let left = site.dovecot.messages("INBOX");
    assert_eq!(left.len(), 4, "{left:#?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn ten_thousand_foreign_messages_are_exactly_as_before_flags_included() {
    let site = Site::start();
    gather(&site.dovecot, 10_000);
    let before: BTreeSet<_> = site.dovecot.messages("INBOX").into_iter().collect();
    assert_eq!(before.len(), 10_000);
    let deleted = before.iter().filter(|line| line.contains("\\Deleted"));
    assert!(deleted.count() > 1000, "others have marked none");
    for number in 1..=RUNS {
        site.brevo.state().hold = Duration::from_millis(300);
        let run = site.begin();
        let token = site.token_of_message(number);
        let quotation = &quotations(&token)[number % 4];
        site.postfix.submit("spam@example.org", quotation);
        let outcome = Outcome::of(run);
        outcome.assert("delivered", None, 0);
        assert_eq!(outcome.warnings(), Vec::<String>::new(), "{outcome:#?}");
    }
    let after: BTreeSet<_> = site.dovecot.messages("INBOX").into_iter().collect();
    let gone: Vec<_> = before.difference(&after).collect();
    assert_eq!(gone, Vec::<&String>::new());
    // What is new is what the test put there.
    assert_eq!(after.len(), before.len() + RUNS);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn two_probes_in_one_mailbox_at_once_leave_each_others_messages_alone() {
    let mut site = Site::start();
    site.with(|settings| settings.second_probe = true);
    for _ in 0..RUNS {
        let outcome = site.run();
        let verdicts: Vec<_> = outcome
            .reports()
            .iter()
            .map(|report| (report["verdict"].clone(), report["warnings"].clone()))
            .collect();
        let delivered = (serde_json::json!("delivered"), serde_json::json!([]));
        assert_eq!(verdicts, [delivered.clone(), delivered], "{outcome:#?}");
        assert_eq!(outcome.code, Some(0));
    }
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn two_processes_that_run_the_same_probe_at_once_leave_each_others_messages_alone() {
    let site = Site::start();
    for _ in 0..RUNS {
        site.brevo.state().hold = Duration::from_millis(500);
        let first = site.begin();
        site.brevo.state().hold = Duration::ZERO;
        let second = site.begin();
        Outcome::of(second).assert("delivered", None, 0);
        Outcome::of(first).assert("delivered", None, 0);
    }
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
}
