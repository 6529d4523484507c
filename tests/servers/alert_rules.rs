//! The alert rules, told stories of runs by `promtool test rules`: what fires, when, and above all what does not.

mod story;

use std::process::{Command, Stdio};
use story::Story;

/// What is generated for the example config.
fn generated(arguments: &[&str]) -> String {
    generated_for("old-installation.toml", arguments)
}

/// What is generated for one of the good configs.
fn generated_for(config: &str, arguments: &[&str]) -> String {
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/config/good")
        .join(config);
    let output = Command::new(env!("CARGO_BIN_EXE_mailprobe"))
        .arg("generate")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn tell(story: &Story) {
    story.tell(&generated(&["prometheus-rules"]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn good_runs_alarm_nobody() {
    let mut story = Story::begin();
    for _ in 0..9 {
        story.run("delivered", "none");
    }
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_single_missed_message_alarms_nobody() {
    let mut story = Story::begin();
    story.run("missing", "unknown");
    for _ in 0..5 {
        story.run("delivered", "none");
    }
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_single_skipped_run_alarms_nobody() {
    let mut story = Story::begin();
    story.skip().run("delivered", "none").skip();
    story.run("delivered", "none").run("delivered", "none");
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn every_other_message_missing_is_not_two_in_a_row() {
    let mut story = Story::begin();
    for _ in 0..6 {
        story.run("missing", "unknown").run("delivered", "none");
    }
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_dead_server_is_told_within_46_minutes_and_until_it_is_back() {
    let mut story = Story::begin();
    // The minute of a success is the last in which nothing can be known.
    let died = story.minute() - 1;
    story.run("missing", "deferred").fires(&[]);
    story.overdue().fires(&["MailDeliveryFailing"]);
    // Beside it: a scrape and an evaluation a minute apart, and Alertmanager's `group_wait` of 30 s.
    assert_eq!(story.minute() - 1 - died, 45);
    story.missed("deferred").fires(&["MailDeliveryFailing"]);
    for _ in 0..3 {
        story.run("missing", "deferred");
        story.fires(&["MailDeliveryFailing", "MailProbeStale"]);
    }
    story.run("delivered", "none").fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_bounce_is_told_at_once_and_until_the_next_success() {
    let mut story = Story::begin();
    story
        .run("bounced", "hard_bounced")
        .fires(&["MailDeliveryFailing"]);
    story
        .run("undetermined", "mailbox_unreachable")
        .fires(&["MailDeliveryFailing"]);
    story.run("delivered", "none").fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_junked_message_is_told_at_once_and_a_second_one_is_failing() {
    let mut story = Story::begin();
    story
        .run("junked", "filtered_as_spam")
        .fires(&["MailJunked"]);
    story.run("junked", "filtered_as_spam");
    story.fires(&["MailJunked", "MailDeliveryFailing"]);
    story.run("delivered", "none").fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn late_messages_fail_unless_they_are_accepted() {
    let mut story = Story::begin();
    story.run("late", "delayed_on_the_way").fires(&[]);
    story
        .run("late", "delayed_on_the_way")
        .fires(&["MailDeliveryFailing"]);
    tell(&story);
    let mut accepted = Story::begin();
    for _ in 0..2 {
        accepted.run_that_counts("late", "none", true).fires(&[]);
    }
    accepted
        .run_that_counts("late", "none", true)
        .fires(&["MailArrivesLate"]);
    tell(&accepted);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn messages_that_turn_up_after_their_deadline_are_late_not_lost() {
    let mut story = Story::begin();
    for expected in [&[][..], &[], &["MailArrivesLate"]] {
        story.run("missing", "deferred").run("delivered", "none");
        story
            .set("mailprobe_late_arrivals", 1.0)
            .wait(1)
            .fires(expected);
    }
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_sender_that_fails_once_alarms_nobody_and_one_that_does_not_know_us_at_once() {
    let mut failing = Story::begin();
    failing.run("refused", "sender_failed").fires(&[]);
    failing
        .run("refused", "sender_failed")
        .fires(&["MailProbeSenderRefused"]);
    failing.run("refused", "sender_failed");
    failing.fires(&["MailProbeSenderRefused", "MailProbeStale"]);
    failing.run("delivered", "none").fires(&[]);
    tell(&failing);
    let mut revoked = Story::begin();
    revoked
        .run("refused", "sender_unauthorized")
        .fires(&["MailProbeSenderRefused"]);
    revoked.run("delivered", "none").fires(&[]);
    tell(&revoked);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_probe_that_cannot_look_twice_is_blind_and_mail_is_not_failing() {
    let mut story = Story::begin();
    story.run("undetermined", "mailbox_unreachable").fires(&[]);
    story
        .run("undetermined", "mailbox_unreachable")
        .fires(&["MailProbeBlind"]);
    story.run("undetermined", "mailbox_unreachable");
    story.fires(&["MailProbeBlind", "MailProbeStale"]);
    story.run("delivered", "none").fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_drained_node_pages_nobody() {
    let mut story = Story::begin();
    story.interrupted().run("delivered", "none");
    story
        .interrupted()
        .run("undetermined", "mailbox_unreachable");
    story.run("delivered", "none").run("delivered", "none");
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_probe_that_is_always_interrupted_is_stale() {
    let mut story = Story::begin();
    story.interrupted().interrupted().fires(&[]);
    story.interrupted().fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_dead_probe_whose_last_run_was_a_success_is_told_within_the_hour() {
    let mut story = Story::begin();
    let last = story.minute() - 1;
    story.wait(57).fires(&[]);
    story.wait(3).fires(&["MailProbeStale"]);
    assert!(story.minute() - 1 - last <= 60);
    story.wait(24 * 60).fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_probe_that_dies_in_any_state_is_told_whatever_it_left_behind() {
    let mut waiting = Story::begin();
    waiting.overdue().wait(55).fires(&["MailProbeStale"]);
    tell(&waiting);
    for (verdict, cause) in [
        ("late", "delayed_on_the_way"),
        ("missing", "unknown"),
        ("refused", "sender_failed"),
        ("undetermined", "mailbox_unreachable"),
    ] {
        let mut story = Story::begin();
        story.run(verdict, cause).wait(60);
        tell(story.fires(&["MailProbeStale"]));
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_dead_probe_whose_schedule_is_not_known_is_told_all_the_same() {
    let mut story = Story::begin();
    story.set("mailprobe_next_run_timestamp_seconds", f64::NAN);
    story.wait(70).fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn failures_of_all_kinds_in_turn_are_no_success() {
    let mut story = Story::begin();
    story.run("missing", "unknown");
    story.run("undetermined", "mailbox_unreachable");
    story
        .run("refused", "sender_failed")
        .fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_that_forgot_and_is_told_again_alarms_nobody() {
    let mut story = Story::begin();
    story
        .lose()
        .run("delivered", "none")
        .run("delivered", "none");
    story
        .lose()
        .wait(17)
        .run("missing", "unknown")
        .run("delivered", "none");
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_that_forgot_the_last_success_does_not_hide_that_there_is_none() {
    let mut story = Story::begin();
    story.wait(3 * 60).lose();
    story.run("undetermined", "mailbox_unreachable");
    story.run("missing", "unknown").fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_without_runs_or_without_prometheus_is_told() {
    let mut empty = Story::empty();
    empty
        .wait(39)
        .fires(&[])
        .wait(10)
        .fires(&["MailProbeNeverRan"]);
    tell(&empty);
    let mut forgot = Story::begin();
    forgot.lose().wait(60).fires(&["MailProbeNeverRan"]);
    tell(&forgot);
    let mut cut_off = Story::begin();
    cut_off.cut_off().wait(60).fires(&["MailProbeNeverRan"]);
    tell(&cut_off);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn deliveries_are_slow_by_their_own_standard() {
    let mut story = Story::begin();
    for _ in 0..20 {
        story.run("delivered", "none");
    }
    // One slow message, and a time three times as long that is short all the same.
    story.takes(60.0).run("delivered", "none");
    story.takes(6.0);
    for _ in 0..4 {
        story.run("delivered", "none").fires(&[]);
    }
    story
        .takes(60.0)
        .run("delivered", "none")
        .run("delivered", "none");
    story.fires(&[]);
    story
        .run("delivered", "none")
        .wait(6)
        .fires(&["MailDeliverySlow"]);
    // Frozen while messages are missing: said once, by the alert for that.
    story.run("missing", "unknown").run("missing", "unknown");
    story.fires(&["MailDeliveryFailing"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn authentication_that_fails_twice_is_told_by_its_method() {
    let result = |story: &mut Story, result: &str| {
        story.run("delivered", "none");
        for one in ["pass", "fail", "none"] {
            story.set_series(
                &format!(
                    "mailprobe_authentication{{probe=\"external\",method=\"dkim\",result=\"{one}\"}}"
                ),
                f64::from(u8::from(one == result)),
            );
        }
        story.wait(1);
    };
    let mut story = Story::begin();
    for now in ["pass", "fail", "pass", "none", "fail"] {
        result(&mut story, now);
        story.fires(&[]);
    }
    story.has_fired(&[]);
    for _ in 0..2 {
        result(&mut story, "fail");
    }
    story.fires(&["MailAuthenticationFailing"]);
    result(&mut story, "pass");
    story.fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_block_that_was_lifted_is_told() {
    let mut story = Story::begin();
    story.run("delivered", "none");
    story.set("mailprobe_recipient_unblocked", 1.0);
    story.wait(2).fires(&["RecipientWasBlocked"]);
    for _ in 0..5 {
        story.run("delivered", "none");
    }
    story.fires(&[]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_low_quota_is_told_while_it_is_fresh() {
    let mut story = Story::begin();
    story
        .set("mailprobe_sender_quota_remaining", 18.0)
        .wait(1)
        .fires(&[]);
    story
        .set("mailprobe_sender_quota_remaining", f64::NAN)
        .wait(1)
        .fires(&[]);
    story
        .set("mailprobe_sender_quota_remaining", 17.0)
        .wait(1)
        .fires(&["SenderQuotaLow"]);
    story.wait(90).fires(&["MailProbeStale"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn certificates_and_listeners_are_told_by_their_endpoint() {
    let expiry =
        "mailprobe_certificate_expiry_timestamp_seconds{probe=\"external\",endpoint=\"imap\"}";
    let day = 24.0 * 3600.0;
    let mut story = Story::begin();
    story.set_series(expiry, 15.0 * day).wait(1).fires(&[]);
    story
        .set_series(expiry, 14.0 * day)
        .wait(1)
        .fires(&["CertificateExpiring"]);
    story.set_series(expiry, 90.0 * day);
    let listener = "mailprobe_listener_up{endpoint=\"smtp-outside\"}";
    story.set_series(listener, 1.0).run("delivered", "none");
    story
        .set_series(listener, 0.0)
        .run("delivered", "none")
        .fires(&[]);
    story
        .set_series(listener, 1.0)
        .run("delivered", "none")
        .fires(&[]);
    story.set_series(listener, 0.0).run("delivered", "none");
    story.run("delivered", "none").fires(&["MailListenerDown"]);
    tell(&story);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn listeners_that_nobody_checks_any_more_are_told_though_the_probes_go_on() {
    let last = "mailprobe_last_check_timestamp_seconds{}";
    let mut story = Story::begin();
    story.set_series("mailprobe_listener_up{endpoint=\"smtp-outside\"}", 1.0);
    let checked = |story: &mut Story| {
        let now = (story.minute() * 60) as f64;
        story.set_series(last, now).run("delivered", "none");
    };
    for _ in 0..4 {
        checked(&mut story);
    }
    // One round that is lost is not told.
    story.run("delivered", "none");
    checked(&mut story);
    story.has_fired(&[]);
    for _ in 0..3 {
        story.run("delivered", "none");
    }
    story.fires(&["MailListenerDown"]);
    story.tell(&generated_for("listeners.toml", &["prometheus-rules"]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_month_with_one_message_in_two_hundred_missing_alarms_nobody() {
    let mut story = Story::begin();
    // Not every minute, for the sake of the time that it takes; seven minutes meet a period of 20 at every point.
    story.evaluated_every(7);
    // Park and Miller's generator: the same month every time.
    let mut state: u64 = 20_261_125;
    let mut missed = 0;
    let mut before = true;
    while story.minute() < 30 * 24 * 60 {
        state = state * 48_271 % 2_147_483_647;
        // Single misses: two in a row are the alarm that is wanted.
        before = !before || !state.is_multiple_of(200);
        if before {
            story.run("delivered", "none");
        } else {
            missed += 1;
            story.run("missing", "unknown");
        }
    }
    assert!((5..=20).contains(&missed), "{missed} misses");
    tell(story.has_fired(&[]));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_old_names_are_there_for_who_wants_them() {
    let rules = generated(&["prometheus-rules", "--old-names"]);
    let mut story = Story::begin();
    story
        .run("missing", "unknown")
        .run("missing", "unknown")
        .run("missing", "unknown");
    story.fires(&["EmailRoundtripFailing", "EmailRoundtripStale"]);
    story.lose().wait(100).fires(&["EmailRoundtripNeverRun"]);
    story.tell(&rules);
}
