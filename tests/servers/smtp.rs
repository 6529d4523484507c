//! The SMTP sender against real Postfix (postscreen and smtpd) with Dovecot behind it for log-ins and mail.

use crate::common::ways_in::{Settings, WaysIn};
use crate::common::{Outcome, PASSWORD, SECRETS, Site, binary};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const LOGIN: &str =
    "username = \"spam@example.org\"\npassword = { env = \"SUBMISSION_PASSWORD\" }\n";
const SUBMISSION_RULE: &str = "-o smtpd_client_restrictions=permit_sasl_authenticated,reject";

/// One run of a probe that sends through this port.
fn run(ways_in: &WaysIn, port: &str, keys: &str) -> Outcome {
    run_with(ways_in, port, keys, "spam@example.org", "20s")
}

fn run_with(ways_in: &WaysIn, port: &str, keys: &str, to: &str, timeout: &str) -> Outcome {
    write_config(ways_in, port, keys, to, timeout);
    see(
        ways_in,
        &["run", "--output", "json", "--log-level", "trace"],
    )
}

fn write_config(ways_in: &WaysIn, port: &str, keys: &str, to: &str, timeout: &str) {
    let place = ways_in.path().display();
    let (smtp, imaps) = (ways_in.port(port), ways_in.port("imaps"));
    let names = "tls_server_name = \"mail.example.org\"\n";
    let names = if keys.contains("tls_server_name") {
        ""
    } else {
        names
    };
    let text = format!(
        "token_key = \"0123456789abcdef0123456789abcdef\"\n\n\
         [[probe]]\nname = \"internal\"\nsender = \"inside\"\nmailbox = \"spam\"\nto = \"{to}\"\n\
         late_after = \"3s\"\ntimeout = \"{timeout}\"\n\n\
         [sender.inside]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {smtp}\nca_file = \"{place}/ca.pem\"\n\
         from = \"monitoring@example.org\"\nhelo = \"probe.example.org\"\n{names}{keys}\n\
         [mailbox.spam]\ntype = \"imap\"\nhost = \"127.0.0.1\"\nport = {imaps}\nca_file = \"{place}/ca.pem\"\n\
         tls_server_name = \"mail.example.org\"\nusername = \"spam@example.org\"\n\
         password = {{ env = \"EMAIL_MONITOR_IMAP_PASSWORD\" }}\n"
    );
    std::fs::write(ways_in.path().join("smtp.toml"), text).unwrap();
}

/// The program with that config, to its end; it shows no secret.
fn see(ways_in: &WaysIn, arguments: &[&str]) -> Outcome {
    let child = Command::new(binary())
        .args(arguments)
        .arg("--config")
        .arg(ways_in.path().join("smtp.toml"))
        .env_clear()
        .env("SUBMISSION_PASSWORD", PASSWORD)
        .env("EMAIL_MONITOR_IMAP_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let outcome = Outcome::of(child);
    for secret in SECRETS {
        let told = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!told.contains(secret), "{told}");
    }
    outcome
}

/// Asserts a delivery whose ids are those of Postfix's log, in which one more thing stands.
#[track_caller]
fn assert_delivered(ways_in: &WaysIn, outcome: &Outcome, in_log: &str) {
    let report = outcome.assert("delivered", None, 0);
    assert_eq!(report["warnings"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["sender"]["type"], "smtp");
    assert_eq!(report["sender"]["status"], 250);
    let log = ways_in.log();
    let (id, queue_id) = (
        &report["sender"]["message_id"],
        &report["sender"]["queue_id"],
    );
    let line = format!(
        "{}: message-id={}",
        queue_id.as_str().unwrap(),
        id.as_str().unwrap()
    );
    assert!(log.contains(&line), "{line} is not in\n{log}");
    assert!(log.contains(in_log), "{in_log} is not in\n{log}");
}

/// Asserts a refusal, its cause, and words of the summary or the hint.
#[track_caller]
fn assert_refused(outcome: &Outcome, cause: &str, words: &[&str]) -> Value {
    let report = outcome.assert("refused", Some(cause), 1);
    let said = format!("{} {}", report["cause"]["summary"], report["cause"]["hint"]);
    for word in words {
        assert!(said.contains(word), "`{word}` is not in {said}");
    }
    report
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn every_way_in_delivers() {
    let ways_in = WaysIn::start(
        Settings::default()
            .with("submission", SUBMISSION_RULE)
            .with("smtps", SUBMISSION_RULE)
            .with("submission-proxy", SUBMISSION_RULE),
    );
    let header = "proxy_source = \"192.0.2.1:4242\"\nproxy_protocol";
    for (port, keys, in_log) in [
        (
            "submission",
            format!("tls = \"starttls\"\n{LOGIN}"),
            "sasl_method=PLAIN, sasl_username=spam@example.org",
        ),
        (
            "smtps",
            format!("{LOGIN}auth = \"login\"\n"),
            "sasl_method=LOGIN, sasl_username=spam@example.org",
        ),
        (
            "smtp",
            "tls = \"none\"\n".to_owned(),
            "ALLOWLISTED [127.0.0.1]",
        ),
        (
            "smtp",
            "tls = \"starttls\"\n".to_owned(),
            "CONNECT from [127.0.0.1]",
        ),
        (
            "submission-proxy",
            format!("tls = \"starttls\"\n{header} = \"v2\"\n{LOGIN}"),
            "client=unknown[192.0.2.1], sasl_method=PLAIN",
        ),
        (
            "smtps-proxy",
            format!("{header} = \"v1\"\n"),
            "client=unknown[192.0.2.1]",
        ),
        (
            "smtp-proxy",
            format!("tls = \"none\"\n{header} = \"v2\"\n"),
            "CONNECT from [192.0.2.1]:4242",
        ),
    ] {
        let outcome = run(&ways_in, port, &keys);
        assert_delivered(&ways_in, &outcome, in_log);
    }
    assert_eq!(ways_in.messages(), Vec::<String>::new());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_port_that_wants_a_proxy_header_and_one_that_takes_none_are_named() {
    let ways_in = WaysIn::start(Settings::default());
    let without = run_with(
        &ways_in,
        "submission-proxy",
        "tls = \"starttls\"\n",
        "spam@example.org",
        "6s",
    );
    assert_refused(
        &without,
        "deferred",
        &["at the greeting: 421 4.3.0", "set `proxy_protocol`"],
    );
    let without = run_with(
        &ways_in,
        "smtp-proxy",
        "tls = \"none\"\n",
        "spam@example.org",
        "6s",
    );
    assert_refused(
        &without,
        "deferred",
        &["at the greeting: 421 4.3.2", "set `proxy_protocol`"],
    );
    let keys = "tls = \"starttls\"\nproxy_protocol = \"v2\"\n";
    let unasked = run_with(&ways_in, "submission", keys, "spam@example.org", "6s");
    assert_refused(
        &unasked,
        "sender_failed",
        &[
            "at EHLO: it talks without being asked: 500 5.5.2",
            "proxy_protocol = \\\"none\\\"",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn what_postfix_refuses_is_told_in_its_words_and_with_what_it_means() {
    let access = "\
smtpd_recipient_restrictions = check_recipient_access inline:{ \
{ full@example.org = 552 5.2.2 mailbox full }, { grey@example.org = 450 4.7.1 Greylisted }, \
{ unknown@example.org = 550 5.1.1 User unknown } }\n\
smtpd_end_of_data_restrictions = check_recipient_access inline:{ \
{ filter@example.org = 554 5.7.1 Spam message rejected } }\n\
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n";
    let ways_in = WaysIn::start(Settings {
        main: access.to_owned(),
        ..Settings::default()
    });
    let plain = "tls = \"none\"\n";
    for (to, cause, words) in [
        (
            "unknown@example.org",
            "hard_bounced",
            "refuses at RCPT TO: 550 5.1.1 <unknown@example.org>: Recipient address rejected: User unknown",
        ),
        (
            "full@example.org",
            "mailbox_over_quota",
            "552 5.2.2 <full@example.org>",
        ),
        (
            "grey@example.org",
            "deferred",
            "puts the message off at RCPT TO: 450 4.7.1 <grey@example.org>: Recipient address rejected: Greylisted",
        ),
        (
            "filter@example.org",
            "sender_rejected_message",
            "refuses at the end of the data: 554 5.7.1",
        ),
        (
            "somebody@elsewhere.example",
            "sender_unauthorized",
            "554 5.7.1 <somebody@elsewhere.example>: Relay access denied",
        ),
    ] {
        let outcome = run_with(&ways_in, "submission", plain, to, "6s");
        let report = assert_refused(&outcome, cause, &[words]);
        assert!(outcome.seconds < 5.0, "{report:#}");
    }
    let outcome = run(
        &ways_in,
        "submission",
        "tls = \"starttls\"\ntls_server_name = \"other.example.net\"\n",
    );
    assert_refused(
        &outcome,
        "sender_tls_invalid",
        &["the certificate is for mail.example.org, not for `other.example.net`"],
    );
    let outcome = run(&ways_in, "submission", "tls = \"implicit\"\n");
    assert_refused(
        &outcome,
        "sender_tls_invalid",
        &["set `tls = \\\"starttls\\\"`"],
    );
    // Last: from then on Dovecot lets this address wait.
    let keys =
        "tls = \"starttls\"\nusername = \"nobody@example.org\"\npassword = \"wrong password\"\n";
    let outcome = run(&ways_in, "submission", keys);
    assert_refused(
        &outcome,
        "sender_unauthorized",
        &[
            "does not log in `nobody@example.org`: 535 5.7.8",
            "the password comes from the config file",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_full_disk_and_a_missing_starttls_are_named() {
    let ways_in = WaysIn::start(
        Settings {
            main: "queue_minfree = 9000000000000000\n".to_owned(),
            ..Settings::default()
        }
        .with("submission", "-o smtpd_tls_security_level=none"),
    );
    let outcome = run_with(&ways_in, "smtps", LOGIN, "spam@example.org", "6s");
    assert_refused(
        &outcome,
        "deferred",
        &["at MAIL FROM: 452 4.3.1 Insufficient system storage"],
    );
    let keys = format!("tls = \"starttls\"\n{LOGIN}");
    let outcome = run(&ways_in, "submission", &keys);
    assert_refused(&outcome, "sender_tls_invalid", &["does not offer STARTTLS"]);
    assert!(!ways_in.log().contains("sasl_"), "{}", ways_in.log());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn check_logs_in_to_the_sender_and_sends_nothing() {
    let ways_in = WaysIn::start(Settings::default().with("submission", SUBMISSION_RULE));
    let finding = |outcome: &Outcome| {
        let lines = outcome.stdout.lines();
        let mut findings = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        findings
            .find(|one| one["part"] == "sender `inside`")
            .unwrap()
    };
    let arguments = ["check", "--output", "json"];
    let to = "spam@example.org";
    let keys = format!("tls = \"starttls\"\n{LOGIN}");
    write_config(&ways_in, "submission", &keys, to, "20s");
    let good = finding(&see(&ways_in, &arguments));
    assert_eq!(good["level"], "ok", "{good:#}");
    assert!(
        good["summary"].as_str().unwrap().ends_with("lets us in"),
        "{good:#}"
    );
    let keys =
        "tls = \"starttls\"\nusername = \"nobody@example.org\"\npassword = \"wrong password\"\n";
    write_config(&ways_in, "submission", keys, to, "20s");
    let outcome = see(&ways_in, &arguments);
    let refused = finding(&outcome);
    assert_eq!(
        (refused["level"].as_str(), outcome.code),
        (Some("fail"), Some(1))
    );
    assert!(
        refused["summary"].as_str().unwrap().contains("535 5.7.8"),
        "{refused:#}"
    );
    assert!(!ways_in.log().contains("message-id="), "{}", ways_in.log());
}

/// A policy server that puts the first mail off and lets the next one pass.
fn greylist() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut actions = ["450 4.7.1 Greylisted, come again"].into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.is_empty())
            {
                let action = actions.next().unwrap_or("DUNNO");
                if write!(stream, "action={action}\n\n").is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn greylisting_costs_a_minute_and_is_named_beside_the_delivery() {
    let policy = greylist();
    let ways_in = WaysIn::start(Settings {
        main: format!(
            "smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}\n"
        ),
        ..Settings::default()
    });
    let outcome = run_with(
        &ways_in,
        "submission",
        "tls = \"starttls\"\n",
        "spam@example.org",
        "90s",
    );
    let report = outcome.assert("delivered", None, 0);
    assert_eq!(outcome.warnings(), ["deferred"]);
    let summary = report["warnings"][0]["summary"].as_str().unwrap();
    assert!(
        summary.contains("450 4.7.1") && summary.contains("Greylisted, come again"),
        "{summary}"
    );
    assert!(
        (60.0..75.0).contains(&outcome.seconds),
        "{}",
        outcome.seconds
    );
    // From the attempt that was accepted on.
    assert!(
        report["duration_seconds"].as_f64().unwrap() < 3.0,
        "{report:#}"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_internal_probe_beside_an_external_one_shares_its_mailbox() {
    let mut site = Site::start();
    let port = site.postfix.port;
    site.with(|settings| {
        settings.top = "token_key = \"0123456789abcdef0123456789abcdef\"\n".to_owned();
        settings.more = format!(
            "\n[[probe]]\nname = \"internal\"\nsender = \"inside\"\nmailbox = \"spam\"\nto = \"smoke-test@example.org\"\n\
             late_after = \"20s\"\ntimeout = \"40s\"\n\n\
             [sender.inside]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
             from = \"monitoring@example.org\"\n"
        );
    });
    let outcome = site.run();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let mut found: Vec<(String, String, String)> = outcome
        .reports()
        .iter()
        .map(|report| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&report["probe"]),
                text(&report["sender"]["type"]),
                text(&report["verdict"]),
            )
        })
        .collect();
    found.sort();
    let expected = [("external", "brevo"), ("internal", "smtp")]
        .map(|(probe, sender)| (probe.to_owned(), sender.to_owned(), "delivered".to_owned()));
    assert_eq!(found, expected);
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
}
