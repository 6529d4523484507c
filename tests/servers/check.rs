//! `check` against real servers and the stand-ins: every part is looked at, and nothing is sent.

use crate::common::{Outcome, Site};
use mailprobe::demo::brevo::Blocked;
use serde_json::Value;

fn findings(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The finding whose summary has these words.
#[track_caller]
fn with<'f>(findings: &'f [Value], words: &str) -> &'f Value {
    findings
        .iter()
        .find(|one| one["summary"].as_str().unwrap().contains(words))
        .unwrap_or_else(|| panic!("nothing says `{words}`: {findings:#?}"))
}

/// How often Uptime Kuma was told something.
fn pushes(site: &Site) -> usize {
    let requests = site.kuma.requests().into_iter();
    requests
        .filter(|one| one.path.starts_with("/api/push/"))
        .count()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_site_that_is_well_passes_and_no_mail_is_sent() {
    let site = Site::start();
    let outcome = site.see(&["check", "--output", "json"]);
    let findings = findings(&outcome);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for words in [
        "secrets read from variable `BREVO_API_KEY`",
        "takes the key; plan free, 300 messages left",
        "the domain of `monitoring@example.org` is authenticated",
        "`smoke-test@example.org` is not on the block list",
        "logged in; watches INBOX, Junk",
        "messages are deleted by UID EXPUNGE",
        "set the monitor's heartbeat interval to",
    ] {
        assert_eq!(with(&findings, words)["level"], "ok");
    }
    let sent = |state: &mailprobe::demo::brevo::State| {
        state
            .requests
            .iter()
            .filter(|one| one.method != "GET")
            .count()
    };
    assert_eq!(sent(&site.brevo.state()), 0);
    assert_eq!(pushes(&site), 0);
    assert!(site.dovecot.messages("INBOX").is_empty());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn with_write_the_clock_is_measured_by_a_message_that_is_gone_and_kuma_gets_a_push() {
    let site = Site::start();
    site.dovecot
        .save("INBOX", "Subject: somebody's\r\n\r\nmail\r\n");
    let outcome = site.see(&["check", "--write", "--output", "json"]);
    let findings = findings(&outcome);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(with(&findings, "its clock agrees with ours")["level"], "ok");
    assert_eq!(with(&findings, "took a test push")["level"], "ok");
    let left = site.dovecot.messages("INBOX");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0].starts_with("1\t") && left[0].ends_with("somebody's"),
        "{left:?}"
    );
    assert_eq!(pushes(&site), 1);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn what_keeps_mail_from_going_out_is_found_before_a_run_meets_it() {
    let mut site = Site::start();
    site.brevo.state().credits = 0;
    site.brevo.state().blocked = vec![Blocked {
        email: "smoke-test@example.org".to_owned(),
        code: "hardBounce".to_owned(),
    }];
    site.with(|settings| {
        settings.sender = "unblock_recipient = false\ndaily_limit = 50\n".to_owned();
        settings.password = "wrong".to_owned();
        settings.probe = "schedule = \"*/20 * * * *\"\n".to_owned();
    });
    let outcome = site.see(&["check", "--output", "json"]);
    let findings = findings(&outcome);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for (words, level) in [
        ("the account has no messages left", "fail"),
        ("has `smoke-test@example.org` on its block list", "fail"),
        ("send 72 of `daily_limit` 50 messages a day", "warn"),
        ("AUTHENTICATIONFAILED", "fail"),
    ] {
        let found = with(&findings, words);
        assert_eq!(found["level"], level, "{found:#}");
        assert!(found["hint"].is_string(), "{found:#}");
    }
    // Told apart from what a run mends by itself.
    site.with(|_| ());
    let outcome = site.see(&["check", "--output", "json"]);
    let found = with(&self::findings(&outcome), "on its block list").clone();
    assert_eq!(found["level"], "warn", "{found:#}");
}
