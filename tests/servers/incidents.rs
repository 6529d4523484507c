//! The incidents that a mail probe has to name, against real servers: verdict, cause, evidence and the sentence.

use crate::common::policy::{greylist, silent};
use crate::common::postfix::Postfix;
use crate::common::rspamd::Rspamd;
use crate::common::stored::Stored;
use crate::common::{Outcome, Settings, Site, closed_port, wait_until};
use chrono::{DateTime, TimeDelta, Utc};
use mailprobe::demo::brevo::{Behaviour, Blocked, Event, error};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Times that a test can wait for, and Brevo can be asked in.
fn short(settings: &mut Settings) {
    settings.late_after = "3s".to_owned();
    settings.timeout = "6s".to_owned();
}

/// Time for a message that comes late.
fn patient(settings: &mut Settings) {
    settings.late_after = "3s".to_owned();
    settings.timeout = "40s".to_owned();
    settings.more.push_str(
        "\n[path]\nmx = [\"mail.example.org\"]\nbackup_mx = [\"mx2.example.org\"]\nborder = [\"mail.example.org\"]\nauthserv_ids = [\"mail.example.org\"]\n",
    );
}

/// What is said of a cause or a warning: summary, hint and evidence.
fn told(said: &Value) -> String {
    let evidence = said["evidence"].as_array().unwrap();
    let evidence: Vec<_> = evidence.iter().filter_map(Value::as_str).collect();
    format!(
        "{}\n{}\n{}",
        said["summary"].as_str().unwrap(),
        said["hint"].as_str().unwrap(),
        evidence.join("\n")
    )
}

#[track_caller]
fn assert_told(said: &Value, words: &[&str]) {
    let text = told(said);
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}

/// A run that ends so, and what is said of it.
#[track_caller]
fn assert_run(site: &Site, verdict: &str, cause: &str, words: &[&str]) -> Value {
    let code = match verdict {
        "undetermined" => 3,
        _ => 1,
    };
    let report = site.run().assert(verdict, Some(cause), code);
    assert_told(&report["cause"], words);
    // The same sentence goes to Uptime Kuma.
    let sentence = report.pointer("/cause/summary").unwrap().as_str().unwrap();
    let start: String = sentence.chars().take(40).collect();
    assert!(
        site.kuma_text().contains(&start.replace('"', "\\\"")),
        "{start}"
    );
    report
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_full_disk_is_told_by_the_servers_reply() {
    let mut site = Site::start();
    site.with(short);
    // Far more than any disk has.
    let _postfix = site.behind("queue_minfree = 9000000000000000\nmessage_size_limit = 1000000");
    let report = assert_run(
        &site,
        "missing",
        "deferred",
        &[
            "`smoke-test@example.org`",
            "452 4.3.1 Insufficient system storage",
            "disk is full",
        ],
    );
    let id = report
        .pointer("/sender/message_id")
        .unwrap()
        .as_str()
        .unwrap();
    assert_told(&report["cause"], &[&format!("message id: {id}")]);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_milter_that_does_not_answer_is_told_by_the_servers_reply() {
    let mut site = Site::start();
    site.with(short);
    let milter = silent();
    let _postfix = site.behind(&format!(
        "smtpd_milters = inet:127.0.0.1:{milter}\nmilter_connect_timeout = 1s\nmilter_command_timeout = 1s\nmilter_default_action = tempfail"
    ));
    assert_run(
        &site,
        "missing",
        "deferred",
        &[
            "451 4.7.1 Service unavailable - try again later",
            "does not answer",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_rewriting_daemon_that_does_not_answer_is_told_by_the_servers_reply() {
    let mut site = Site::start();
    site.with(short);
    let daemon = silent();
    let _postfix = site.behind(&format!(
        "sender_canonical_maps = socketmap:inet:127.0.0.1:{daemon}:name\nsocketmap_max_reply_size = 1000\nipc_timeout = 1s"
    ));
    assert_run(
        &site,
        "missing",
        "deferred",
        &["451 4.3.0", "does not answer"],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_closed_port_is_told_while_the_provider_still_tries_and_once_it_gave_up() {
    let mut site = Site::start();
    site.with(short);
    site.relay_to(closed_port());
    assert_run(
        &site,
        "missing",
        "deferred",
        &["Connection refused", "port 25"],
    );
    site.brevo.state().patience = Some(1);
    let report = assert_run(
        &site,
        "bounced",
        "soft_bounced",
        &["gave the message", "Connection refused"],
    );
    let waited = report["duration_seconds"].as_f64().unwrap();
    assert!(
        waited < 5.0,
        "a message that was given up on was waited for: {waited} s"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_recipient_that_the_server_does_not_know_bounces_and_is_blocked_from_then_on() {
    let mut site = Site::start();
    site.with(|settings| {
        short(settings);
        settings.sender = "unblock_recipient = false".to_owned();
    });
    let _postfix = site.behind(
        "virtual_alias_maps =\nvirtual_mailbox_maps = inline:{ { somebody@example.org = ok } }\nsmtpd_reject_unlisted_recipient = yes",
    );
    assert_run(
        &site,
        "bounced",
        "hard_bounced",
        &[
            "550 5.1.1 <smoke-test@example.org>",
            "does not know the recipient",
        ],
    );
    assert_run(
        &site,
        "bounced",
        "recipient_blocked",
        &["`smoke-test@example.org`", "block list"],
    );
}

fn block(site: &Site) {
    site.brevo.state().blocked.push(Blocked {
        email: "smoke-test@example.org".to_owned(),
        code: "hardBounce".to_owned(),
    });
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_block_after_one_bounce_is_lifted_and_told() {
    let site = Site::start();
    block(&site);
    let report = site.run().assert("delivered", None, 0);
    assert_eq!(report["warnings"][0]["code"], "recipient_blocked");
    assert_told(
        &report["warnings"][0],
        &["was lifted", "hardBounce", "blocked since"],
    );
    assert!(site.brevo.state().blocked.is_empty());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_block_after_three_bounces_in_a_day_stays_and_is_the_cause() {
    let mut site = Site::start();
    site.with(short);
    block(&site);
    for number in 0..3 {
        site.brevo.state().events.push(Event {
            date: Utc::now(),
            event: "hardBounces".to_owned(),
            email: "smoke-test@example.org".to_owned(),
            subject: "earlier".to_owned(),
            message_id: format!("<{number}@smtp-relay.mailin.fr>"),
            reason: Some("550 5.1.1 unknown".to_owned()),
        });
    }
    let report = site.run().assert("bounced", Some("recipient_blocked"), 1);
    assert_told(
        &report["cause"],
        &["`smoke-test@example.org`", "block list"],
    );
    assert_eq!(site.brevo.state().blocked.len(), 1);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn greylisting_is_told_by_the_servers_reply_although_the_message_came() {
    let mut site = Site::start();
    site.with(patient);
    let policy = greylist(Duration::from_secs(4));
    let _postfix = site.behind(&format!(
        "smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}"
    ));
    assert_run(
        &site,
        "late",
        "deferred",
        &["451 4.7.1", "Greylisted, try again later", "greylisting"],
    );
}

/// A server whose queue does not move until it is told to.
fn with_a_held_queue(site: &Site) -> Postfix {
    site.behind("smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit_mynetworks, reject\nqueue_run_delay = 1s\nminimal_backoff_time = 1s")
}

/// Once the server has it, the message may go on.
fn release(postfix: &Postfix) {
    postfix.command("postsuper", &["-H", "ALL"]);
}

fn is_held(postfix: &Postfix) -> Option<()> {
    let queue = postfix.command("postqueue", &["-p"]);
    queue.contains("spam@example.org").then_some(())
}

fn overdue(site: &Site) -> Option<()> {
    let value = site
        .gateway
        .of_probe("mailprobe_verdict", "verdict=\"overdue\"");
    (value.as_deref() == Some("1")).then_some(())
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_queue_that_drains_late_is_told_by_the_hop_with_the_delay() {
    let mut site = Site::start();
    site.with(patient);
    let postfix = with_a_held_queue(&site);
    let child = site.begin();
    wait_until("the message is held", || is_held(&postfix));
    wait_until("the message is overdue", || overdue(&site));
    release(&postfix);
    let report = Outcome::of(child).assert("late", Some("delayed_on_the_way"), 1);
    assert_told(
        &report["cause"],
        &[
            "`mail.example.org` and",
            "search the log of `mail.example.org`",
            "hop",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_comes_after_its_run_is_a_late_arrival_of_the_next() {
    let mut site = Site::start();
    site.with(short);
    let postfix = with_a_held_queue(&site);
    let report = assert_run(
        &site,
        "missing",
        "accepted_by_mx_not_in_mailbox",
        &["queued as ", "search the mail server's log for"],
    );
    // Stored later than its run waited, to the second.
    let ended: DateTime<Utc> = report["ended_at"].as_str().unwrap().parse().unwrap();
    wait_until("the deadline is past", || {
        (Utc::now() - ended > TimeDelta::seconds(2)).then_some(())
    });
    release(&postfix);
    site.relay_to(site.postfix.port);
    // A message is left alone until a minute after its deadline, and then counted once.
    let begun = Instant::now();
    let next = loop {
        let next = site.run().assert("delivered", None, 0);
        if next["late_arrivals"] != serde_json::json!([]) {
            break next;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{next:#}");
        std::thread::sleep(Duration::from_secs(1));
    };
    assert_eq!(next["late_arrivals"][0]["run"], report["run"]);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_through_the_backup_mx_is_told_by_the_hop_that_shows_it() {
    let mut site = Site::start();
    site.with(patient);
    site.postfix.stop();
    let backup = site.behind(&format!(
        "myhostname = mx2.example.org\nvirtual_mailbox_domains =\nvirtual_alias_maps =\nvirtual_mailbox_maps =\nrelay_domains = example.org\nrelay_recipient_maps =\n\
         transport_maps = inline:{{ {{ example.org = smtp:[127.0.0.1]:{} }} }}\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\nrelay_transport = smtp",
        site.postfix.port
    ));
    let child = site.begin();
    wait_until("the backup MX could not hand it on", || {
        backup.log().contains("status=deferred").then_some(())
    });
    wait_until("the message is overdue", || overdue(&site));
    site.postfix.restart();
    let report = Outcome::of(child).assert("late", Some("via_backup_mx"), 1);
    assert_told(
        &report["cause"],
        &["backup MX `mx2.example.org`", "held it for"],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_sieve_discards_is_told_by_the_queue_id_of_the_server() {
    let mut site = Site::start();
    site.with(short);
    site.dovecot.set_sieve("discard;\n");
    let report = assert_run(
        &site,
        "missing",
        "accepted_by_mx_not_in_mailbox",
        &["250 2.0.0 Ok: queued as ", "`INBOX`, `Junk`", "Sieve"],
    );
    let text = told(&report["cause"]);
    let (_, id) = text.split_once("log for ").unwrap();
    let id = id.split(':').next().unwrap();
    assert!(site.postfix.log().contains(id), "{id} is not in the log");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_rspamd_marks_and_sieve_files_is_told_by_score_symbols_and_selector() {
    let mut site = Site::start();
    site.with(patient);
    let rspamd = Rspamd::start(site.path());
    site.dovecot.set_sieve(
        "require \"fileinto\";\nif header :is \"X-Spam\" \"Yes\" { fileinto \"Junk\"; }\n",
    );
    site.dovecot
        .doveadm(&["mailbox", "status", "-u", "spam@example.org", "all", "Junk"]);
    let stored = Stored::watch(&[site.dovecot.maildir().join(".Junk")]);
    let _postfix = site.behind(&format!(
        "smtpd_milters = inet:127.0.0.1:{}\nmilter_default_action = tempfail",
        rspamd.milter_port
    ));
    let report = assert_run(
        &site,
        "junked",
        "filtered_as_spam",
        &[
            "into `Junk`",
            "R_DKIM_PERMFAIL +4.50",
            "score ",
            "dkim=none (selector brevo1 of example.org",
            "brevo1._domainkey.example.org",
        ],
    );
    assert_eq!(report["folder"], "Junk");
    let seen: DateTime<Utc> = report["seen_at"].as_str().unwrap().parse().unwrap();
    let took = seen - stored.at(report["run"].as_str().unwrap());
    assert!(
        took.num_milliseconds() < 500,
        "recognised {took} after it was stored"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_full_mailbox_is_told_by_its_quota() {
    let mut site = Site::start();
    site.with(short);
    site.dovecot.configure(
        "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}\nprotocol lmtp {\n  mail_plugins = quota sieve\n}\n\
         plugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=20K\n  quota_grace = 0\n  quota_full_tempfail = yes\n}\n",
    );
    site.dovecot.restart();
    let filler = "x".repeat(70) + "\n";
    let filler = format!("Subject: filler\n\n{}", filler.repeat(280));
    site.dovecot.save("INBOX", &filler);
    assert_run(
        &site,
        "missing",
        "mailbox_over_quota",
        &[
            "`smoke-test@example.org`",
            "of 20 KiB",
            "raise the mailbox's quota",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_server_that_says_452_for_a_full_mailbox_is_quoted() {
    let mut site = Site::start();
    site.with(short);
    let _postfix = site.behind(
        "smtpd_recipient_restrictions = check_recipient_access inline:{ { smoke-test@example.org = 452 4.2.2 Mailbox is full } }",
    );
    assert_run(
        &site,
        "missing",
        "deferred",
        &["452 4.2.2", "Mailbox is full", "raise its quota"],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn dovecot_restarted_in_mid_wait_costs_nothing() {
    let mut site = Site::start();
    site.with(|settings| settings.timeout = "60s".to_owned());
    site.brevo.state().hold = Duration::from_secs(3);
    let child = site.begin();
    site.token_of_message(1);
    site.dovecot.crash();
    site.dovecot.restart();
    let outcome = Outcome::of(child);
    outcome.assert("delivered", None, 0);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn dovecot_that_stays_away_is_undetermined_and_says_since_when() {
    let mut site = Site::start();
    site.with(short);
    site.brevo.state().hold = Duration::from_secs(60);
    let child = site.begin();
    site.token_of_message(1);
    site.dovecot.crash();
    let report = Outcome::of(child).report();
    assert_eq!(report["verdict"], "undetermined", "{report:#}");
    assert_eq!(
        report.pointer("/cause/code").unwrap(),
        "mailbox_connection_lost"
    );
    assert_told(
        &report["cause"],
        &[
            "127.0.0.1:",
            "connecting again: ",
            "says nothing about mail delivery",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_mailbox_that_cannot_be_read_is_told_by_what_keeps_us_out() {
    let mut site = Site::start();
    let hanging = silent();
    let closed = closed_port();
    let brief = |settings: &mut Settings| {
        settings.late_after = "2s".to_owned();
        settings.timeout = "4s".to_owned();
    };
    site.with(|settings| {
        brief(settings);
        settings.imap_port = Some(closed);
    });
    assert_run(
        &site,
        "undetermined",
        "mailbox_unreachable",
        &["cannot connect", "refused"],
    );
    site.with(|settings| {
        brief(settings);
        settings.imap_port = Some(hanging);
    });
    assert_run(
        &site,
        "undetermined",
        "mailbox_unreachable",
        &["cannot secure the connection", "no answer within"],
    );
    site.with(|settings| settings.password = "rotated elsewhere".to_owned());
    assert_run(
        &site,
        "undetermined",
        "mailbox_login_refused",
        &[
            "`spam@example.org`",
            "AUTHENTICATIONFAILED",
            "EMAIL_MONITOR_IMAP_PASSWORD",
        ],
    );
    site.with(|settings| settings.tls_server_name = "imap.example.net".to_owned());
    assert_run(
        &site,
        "undetermined",
        "mailbox_tls_invalid",
        &["mail.example.org", "imap.example.net", "tls_server_name"],
    );
    let sent = site
        .brevo
        .state()
        .requests
        .iter()
        .filter(|one| one.method == "POST")
        .count();
    assert_eq!(sent, 0, "something was sent although nobody could look");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_sender_that_refuses_is_told_by_what_it_says() {
    let mut site = Site::start();
    site.with(|settings| settings.api_key = "xkeysib-revoked".to_owned());
    assert_run(
        &site,
        "refused",
        "sender_unauthorized",
        &["HTTP 401", "Key not found", "BREVO_API_KEY"],
    );
    site.with(short);
    for (answer, cause, words) in [
        (
            error(400, "not_enough_credits", "You do not have enough credits")
                .with_header("x-sib-ratelimit-remaining", "0")
                .with_header("x-sib-ratelimit-reset", "31200"),
            "sender_quota_exhausted",
            ["not_enough_credits", "x-sib-ratelimit-reset: 31200"],
        ),
        (
            error(429, "too_many_requests", "slow down")
                .with_header("x-sib-ratelimit-reset", "3600"),
            "sender_rate_limited",
            ["HTTP 429", "wait 3600 s"],
        ),
        (
            error(503, "unavailable", "down for maintenance"),
            "sender_failed",
            ["HTTP 503", "down for maintenance"],
        ),
    ] {
        site.brevo.state().then = Some(Behaviour::Answer(answer));
        assert_run(&site, "refused", cause, &words);
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_answer_that_was_lost_does_not_hide_what_became_of_the_message() {
    let mut site = Site::start();
    site.with(short);
    site.dovecot.set_sieve("discard;\n");
    let lost = mailprobe::demo::http::Response::text(502, "bad gateway");
    site.brevo
        .state()
        .next
        .push_back(Behaviour::TakeAndAnswer(lost.clone()));
    site.brevo.state().then = Some(Behaviour::Answer(lost));
    let report = assert_run(
        &site,
        "missing",
        "accepted_by_mx_not_in_mailbox",
        &["queued as ", "message id: <"],
    );
    assert_eq!(report.pointer("/sender/message_id"), Some(&Value::Null));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_that_is_down_is_told_with_its_address_and_the_attempts() {
    let mut site = Site::start();
    let closed = closed_port();
    site.with(|settings| {
        settings.gateway_port = Some(closed);
        settings.kuma = false;
    });
    let outcome = site.run();
    let report = outcome.assert("delivered", None, 4);
    assert_eq!(report["warnings"][0]["code"], "sink_failed");
    assert_told(
        &report["warnings"][0],
        &[
            &format!("pushgateway http://127.0.0.1:{closed}"),
            "3 attempts",
        ],
    );
}
