//! The machine driven by hand: events and times in, actions out.

use super::*;

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn run() -> Run {
    Run::new(Limits {
        late_after: s(300.0),
        timeout: s(900.0),
    })
}

fn cause(code: CauseCode) -> Cause {
    Cause::new(code, Stage::Send, "it failed", "mend it")
}

fn failure(code: CauseCode, taken: Taken, retry: Retry) -> Event {
    Event::AttemptEnded(Err(Failure {
        cause: cause(code),
        taken,
        retry,
        status: Some(500),
    }))
}

fn acceptance() -> Event {
    Event::AttemptEnded(Ok(Acceptance {
        message_id: Some("<1@x>".to_owned()),
        queue_id: None,
        status: 201,
    }))
}

fn seen(at: f64) -> Event {
    Event::Seen(Sighting {
        at: s(at),
        not_before: Some(s(at - 0.01)),
        folder: "INBOX".to_owned(),
        is_junk: false,
    })
}

fn clean_look(folder: &str) -> Event {
    Event::LastLook {
        folder: folder.to_owned(),
        trouble: None,
    }
}

/// A run whose mailbox opened at once, and whose first attempt began at 0.1 s.
fn sending() -> Run {
    let mut run = run();
    assert_eq!(run.next(s(0.0)), Action::Open(s(300.0)));
    run.set_folders(2);
    run.on(Event::MailboxOpen, s(0.05));
    assert_eq!(run.next(s(0.05)), Action::Prepare(PREPARE_LIMIT));
    run.on(Event::Prepared(Preparation::default()), s(0.1));
    assert_eq!(run.next(s(0.1)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(0.1));
    run
}

/// The same, accepted at 0.5 s.
fn waiting() -> Run {
    let mut run = sending();
    run.on(acceptance(), s(0.5));
    run
}

fn outcome(run: Run) -> Outcome {
    run.conclude(s(900.0), |_| ())
}

fn verdict(run: Run) -> (Verdict, Option<CauseCode>) {
    let outcome = outcome(run);
    (outcome.verdict, outcome.cause.map(|cause| cause.code))
}

#[test]
fn a_message_that_is_seen_in_time_is_delivered_and_ends_the_run() {
    let mut run = waiting();
    assert_eq!(run.next(s(0.5)), Action::WaitUntil(s(300.1)));
    run.on(seen(1.2), s(1.2));
    assert_eq!(run.next(s(1.2)), Action::Finish);
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(outcome.cause, None);
    assert_eq!(outcome.send_started, Some(s(0.1)));
    assert_eq!(outcome.warnings, []);
}

#[test]
fn arrival_after_the_limit_is_late_not_delivered() {
    let mut run = waiting();
    assert_eq!(run.next(s(300.1)), Action::ReportOverdue);
    run.on(Event::OverdueReported, s(300.1));
    assert_eq!(run.next(s(300.1)), Action::WaitUntil(s(900.0)));
    run.on(seen(400.0), s(400.0));
    assert_eq!(run.next(s(400.0)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Late, Some(CauseCode::DelayedOnTheWay))
    );
}

#[test]
fn late_after_counts_from_the_start_of_the_send_and_includes_its_last_moment() {
    for (at, expected) in [(300.1, Verdict::Delivered), (300.2, Verdict::Late)] {
        let mut run = waiting();
        run.on(seen(at), s(at));
        assert_eq!(verdict(run).0, expected, "seen at {at}");
    }
}

#[test]
fn a_message_in_the_junk_folder_is_junked_however_fast() {
    let mut run = waiting();
    run.on(
        Event::Seen(Sighting {
            at: s(1.0),
            not_before: None,
            folder: "Junk".to_owned(),
            is_junk: true,
        }),
        s(1.0),
    );
    assert_eq!(
        verdict(run),
        (Verdict::Junked, Some(CauseCode::FilteredAsSpam))
    );
}

#[test]
fn a_message_is_missing_only_after_a_clean_last_look_into_every_folder() {
    let mut run = waiting();
    run.on(Event::OverdueReported, s(300.1));
    assert_eq!(run.next(s(900.0)), Action::LastLook);
    run.on(clean_look("INBOX"), s(900.1));
    assert_eq!(run.next(s(900.1)), Action::WaitUntil(s(907.0)));
    run.on(clean_look("Junk"), s(900.2));
    assert_eq!(run.next(s(900.2)), Action::Finish);
    assert_eq!(verdict(run), (Verdict::Missing, Some(CauseCode::Unknown)));
}

#[test]
fn a_mailbox_that_cannot_be_read_at_the_end_makes_no_missing_message() {
    let mut run = waiting();
    run.on(Event::OverdueReported, s(300.1));
    run.on(
        Event::FolderLost {
            folder: "INBOX".to_owned(),
            cause: cause(CauseCode::MailboxConnectionLost),
        },
        s(500.0),
    );
    assert_eq!(run.next(s(900.0)), Action::LastLook);
    run.on(clean_look("Junk"), s(900.1));
    assert_eq!(run.next(s(907.0)), Action::Finish);
    assert_eq!(
        verdict(run),
        (
            Verdict::Undetermined,
            Some(CauseCode::MailboxConnectionLost)
        )
    );
}

#[test]
fn a_folder_that_was_lost_for_good_is_blamed_with_what_was_said_then() {
    let mut run = waiting();
    run.on(Event::OverdueReported, s(300.1));
    run.on(
        Event::FolderLost {
            folder: "INBOX".to_owned(),
            cause: cause(CauseCode::MailboxLoginRefused),
        },
        s(500.0),
    );
    run.next(s(900.0));
    run.on(clean_look("Junk"), s(900.1));
    run.on(
        Event::LastLook {
            folder: "INBOX".to_owned(),
            trouble: Some(cause(CauseCode::MailboxConnectionLost)),
        },
        s(900.1),
    );
    assert_eq!(run.next(s(900.1)), Action::Finish);
    assert_eq!(verdict(run).1, Some(CauseCode::MailboxLoginRefused));
}

#[test]
fn a_lost_folder_that_stays_out_of_reach_is_a_lost_connection_with_the_last_attempt_as_evidence() {
    let mut run = waiting();
    run.on(Event::OverdueReported, s(300.1));
    for (at, code) in [
        (500.0, CauseCode::MailboxConnectionLost),
        (501.0, CauseCode::MailboxUnreachable),
        (502.0, CauseCode::MailboxUnreachable),
    ] {
        let folder = "INBOX".to_owned();
        let mut cause = cause(code);
        cause.summary = format!("{code} at {at}");
        run.on(Event::FolderLost { folder, cause }, s(at));
    }
    run.next(s(900.0));
    run.on(clean_look("Junk"), s(900.1));
    run.next(s(907.0));
    let cause = outcome(run).cause.unwrap();
    assert_eq!(cause.code, CauseCode::MailboxConnectionLost);
    assert_eq!(cause.summary, "mailbox_connection_lost at 500");
    let attempts: Vec<_> = cause
        .evidence
        .iter()
        .filter(|one| one.starts_with("connecting again"))
        .collect();
    assert_eq!(attempts, ["connecting again: mailbox_unreachable at 502"]);
}

#[test]
fn a_mailbox_lost_during_the_wait_costs_nothing_if_it_comes_back() {
    let mut run = waiting();
    let folder = "INBOX".to_owned();
    run.on(
        Event::FolderLost {
            folder: folder.clone(),
            cause: cause(CauseCode::MailboxConnectionLost),
        },
        s(5.0),
    );
    run.on(Event::FolderBack { folder }, s(9.0));
    run.on(seen(9.1), s(9.1));
    assert_eq!(verdict(run), (Verdict::Delivered, None));
}

#[test]
fn a_message_found_by_the_last_look_is_late_not_missing() {
    let mut run = waiting();
    run.on(Event::OverdueReported, s(300.1));
    assert_eq!(run.next(s(900.0)), Action::LastLook);
    run.on(seen(900.1), s(900.1));
    assert_eq!(run.next(s(900.1)), Action::Finish);
    assert_eq!(verdict(run).0, Verdict::Late);
}

#[test]
fn an_unreadable_mailbox_is_tried_again_until_late_after_and_nothing_is_sent() {
    let mut run = run();
    let mut now = s(0.0);
    let mut opens = 0;
    loop {
        match run.next(now) {
            Action::Open(_) => {
                opens += 1;
                now += s(1.0);
                run.on(
                    Event::MailboxShut {
                        cause: cause(CauseCode::MailboxUnreachable),
                        again: Again::Yes,
                    },
                    now,
                );
            }
            Action::WaitUntil(until) => now = until,
            Action::Finish => break,
            other => panic!("{other:?} before the mailbox is open"),
        }
    }
    assert!(now >= s(300.0), "gave up at {now:?}");
    assert!((10..=20).contains(&opens), "{opens} attempts");
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Undetermined);
    assert_eq!(outcome.send_started, None);
}

#[test]
fn an_attempt_that_has_no_time_left_does_not_hide_why_the_mailbox_is_shut() {
    let mut run = run();
    run.next(s(299.5));
    run.on(
        Event::MailboxShut {
            cause: cause(CauseCode::MailboxTlsInvalid),
            again: Again::Yes,
        },
        s(299.6),
    );
    assert_eq!(run.next(s(299.6)), Action::WaitUntil(s(300.0)));
    assert_eq!(run.next(s(299.99)), Action::WaitUntil(s(300.0)));
    assert_eq!(run.next(s(300.0)), Action::Finish);
    let outcome = outcome(run);
    assert_eq!(outcome.cause.unwrap().code, CauseCode::MailboxTlsInvalid);
}

#[test]
fn a_refused_log_in_ends_the_run_at_once() {
    let mut run = run();
    run.next(s(0.0));
    run.on(
        Event::MailboxShut {
            cause: cause(CauseCode::MailboxLoginRefused),
            again: Again::No,
        },
        s(0.2),
    );
    assert_eq!(run.next(s(0.2)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Undetermined, Some(CauseCode::MailboxLoginRefused))
    );
}

#[test]
fn a_log_in_that_hangs_is_repeated_once() {
    let mut run = run();
    for (now, expected) in [(30.0, Action::WaitUntil(s(30.5))), (61.0, Action::Finish)] {
        while !matches!(
            run.next(s(now - 0.1)),
            Action::Open(_) | Action::WaitUntil(_)
        ) {}
        run.on(
            Event::MailboxShut {
                cause: cause(CauseCode::MailboxUnreachable),
                again: Again::Once,
            },
            s(now),
        );
        assert_eq!(run.next(s(now)), expected);
    }
}

#[test]
fn a_mailbox_that_never_answers_is_unreachable_and_no_refusal() {
    let mut run = run();
    assert_eq!(run.next(s(0.0)), Action::Open(s(300.0)));
    assert_eq!(run.next(s(300.0)), Action::WaitUntil(s(301.0)));
    assert_eq!(run.next(s(301.0)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Undetermined, Some(CauseCode::MailboxUnreachable))
    );
}

#[test]
fn a_wait_of_absurd_length_is_beyond_the_timeout_and_nothing_overflows() {
    let mut run = sending();
    let wait = Retry::After(Duration::MAX);
    run.on(
        failure(CauseCode::SenderRateLimited, Taken::No, wait),
        s(0.5),
    );
    assert_eq!(run.next(s(0.5)), Action::Finish);
}

#[test]
fn a_definite_no_ends_the_run_as_refused() {
    let mut run = sending();
    run.on(
        failure(CauseCode::SenderUnauthorized, Taken::No, Retry::Never),
        s(0.5),
    );
    assert_eq!(run.next(s(0.5)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Refused, Some(CauseCode::SenderUnauthorized))
    );
}

#[test]
fn a_service_that_fails_gets_three_attempts_with_pauses() {
    let mut run = sending();
    let fails = || failure(CauseCode::SenderFailed, Taken::No, Retry::Soon);
    run.on(fails(), s(0.5));
    assert_eq!(run.next(s(0.5)), Action::WaitUntil(s(1.5)));
    assert_eq!(run.next(s(1.5)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(1.5));
    run.on(fails(), s(2.0));
    assert_eq!(run.next(s(2.0)), Action::WaitUntil(s(5.0)));
    assert_eq!(run.next(s(5.0)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(5.0));
    run.on(fails(), s(5.5));
    assert_eq!(run.next(s(5.5)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Refused, Some(CauseCode::SenderFailed))
    );
}

#[test]
fn attempts_end_within_sixty_seconds() {
    let mut run = sending();
    let hangs = || failure(CauseCode::SenderFailed, Taken::No, Retry::Soon);
    run.on(hangs(), s(20.1));
    run.next(s(21.1));
    run.on(Event::AttemptBegun, s(21.1));
    run.on(hangs(), s(41.1));
    assert_eq!(run.next(s(44.1)), Action::Attempt(s(16.0)));
}

#[test]
fn the_start_of_the_send_is_that_of_the_attempt_that_was_accepted() {
    let mut run = sending();
    run.on(
        failure(CauseCode::SenderFailed, Taken::No, Retry::Soon),
        s(0.5),
    );
    run.next(s(1.5));
    run.on(Event::AttemptBegun, s(1.5));
    run.on(acceptance(), s(1.9));
    run.on(seen(2.5), s(2.5));
    let outcome = outcome(run);
    assert_eq!(outcome.send_started, Some(s(1.5)));
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(
        outcome.warnings.first().map(|one| one.code),
        Some(CauseCode::SenderFailed)
    );
}

#[test]
fn where_the_answer_was_lost_the_mailbox_decides_from_the_first_attempt_on() {
    let lose = || {
        let mut run = sending();
        run.on(
            failure(CauseCode::SenderFailed, Taken::Unknown, Retry::Soon),
            s(0.5),
        );
        run.next(s(1.5));
        run.on(Event::AttemptBegun, s(1.5));
        run.on(
            failure(CauseCode::SenderUnreachable, Taken::No, Retry::Never),
            s(1.6),
        );
        run
    };
    let mut arrived = lose();
    arrived.on(seen(3.0), s(3.0));
    let outcome = outcome(arrived);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(outcome.send_started, Some(s(0.1)));
    assert_eq!(
        outcome.warnings.first().map(|one| one.code),
        Some(CauseCode::SenderFailed)
    );

    let mut gone = lose();
    gone.on(Event::OverdueReported, s(300.1));
    assert_eq!(gone.next(s(900.0)), Action::LastLook);
    gone.on(clean_look("INBOX"), s(900.1));
    gone.on(clean_look("Junk"), s(900.1));
    assert_eq!(gone.next(s(900.1)), Action::Finish);
    assert_eq!(
        verdict(gone),
        (Verdict::Refused, Some(CauseCode::SenderFailed))
    );
}

#[test]
fn a_wait_that_the_sender_asks_for_is_outside_the_sixty_seconds_and_inside_the_timeout() {
    let limited = |wait: f64| {
        let mut run = sending();
        run.on(
            failure(
                CauseCode::SenderRateLimited,
                Taken::No,
                Retry::After(s(wait)),
            ),
            s(0.5),
        );
        run
    };
    let mut fits = limited(120.0);
    assert_eq!(fits.next(s(0.5)), Action::WaitUntil(s(120.5)));
    assert_eq!(fits.next(s(120.5)), Action::Attempt(ATTEMPT_LIMIT));
    fits.on(Event::AttemptBegun, s(120.5));
    fits.on(acceptance(), s(121.0));
    fits.on(seen(122.0), s(122.0));
    let outcome = outcome(fits);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(outcome.send_started, Some(s(120.5)));
    assert_eq!(
        outcome.warnings.first().map(|one| one.code),
        Some(CauseCode::SenderRateLimited)
    );

    let mut beyond = limited(1000.0);
    assert_eq!(beyond.next(s(0.5)), Action::Finish);
    assert_eq!(
        verdict(beyond),
        (Verdict::Refused, Some(CauseCode::SenderRateLimited))
    );
}

#[test]
fn a_message_that_overtakes_the_answer_waits_a_moment_for_it() {
    let mut run = sending();
    run.on(seen(0.4), s(0.4));
    assert!(matches!(run.next(s(0.4)), Action::WaitUntil(_)));
    assert_eq!(run.settles_at(), Some(s(2.4)));
    run.on(acceptance(), s(0.6));
    assert_eq!(run.next(s(0.6)), Action::Finish);
    assert!(outcome(run).accepted.is_some());
}

#[test]
fn a_message_without_an_answer_is_delivered_with_a_warning() {
    let mut run = sending();
    run.on(seen(0.4), s(0.4));
    assert_eq!(run.next(s(2.4)), Action::Finish);
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(outcome.send_started, Some(s(0.1)));
    assert_eq!(
        outcome.warnings.first().map(|one| one.code),
        Some(CauseCode::SenderFailed)
    );
}

#[test]
fn an_interrupted_run_says_nothing_about_the_mail_path() {
    let mut run = waiting();
    run.on(Event::Interrupted, s(4.0));
    assert_eq!(run.next(s(4.0)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Undetermined, Some(CauseCode::Interrupted))
    );
}

#[test]
fn an_interruption_after_the_message_was_seen_takes_nothing_back() {
    let mut run = waiting();
    run.on(seen(1.0), s(1.0));
    run.on(Event::Interrupted, s(1.0));
    assert_eq!(verdict(run), (Verdict::Delivered, None));
}

#[test]
fn a_block_that_stays_is_the_cause_of_a_message_that_does_not_arrive() {
    let mut run = run();
    run.next(s(0.0));
    run.set_folders(1);
    run.on(Event::MailboxOpen, s(0.0));
    run.next(s(0.0));
    run.on(
        Event::Prepared(Preparation {
            blocked: Some(cause(CauseCode::RecipientBlocked)),
            ..Preparation::default()
        }),
        s(0.1),
    );
    run.next(s(0.1));
    run.on(Event::AttemptBegun, s(0.1));
    run.on(acceptance(), s(0.2));
    run.on(Event::OverdueReported, s(300.1));
    run.next(s(900.0));
    run.on(clean_look("INBOX"), s(900.1));
    run.next(s(900.1));
    assert_eq!(
        verdict(run),
        (Verdict::Bounced, Some(CauseCode::RecipientBlocked))
    );
}

#[test]
fn what_quoted_the_token_is_evidence_for_a_missing_message() {
    let mut run = waiting();
    run.on(Event::Quoted("a reply".to_owned()), s(2.0));
    run.on(Event::OverdueReported, s(300.1));
    run.next(s(900.0));
    run.on(clean_look("INBOX"), s(900.1));
    run.on(clean_look("Junk"), s(900.1));
    let evidence = outcome(run).cause.unwrap().evidence;
    assert!(evidence.contains(&"a reply".to_owned()), "{evidence:?}");
}

#[test]
fn the_first_of_two_copies_counts() {
    let mut run = waiting();
    run.on(seen(2.0), s(2.0));
    run.on(seen(1.5), s(2.1));
    run.on(seen(1.9), s(2.2));
    let seen = outcome(run).seen;
    assert_eq!(seen.map(|seen| seen.at), Some(s(1.5)));
}

#[test]
fn a_server_that_says_later_is_asked_again_after_1_2_and_4_minutes_and_then_every_4() {
    let mut run = sending();
    let mut at = 0.1;
    for pause in [60.0, 120.0, 240.0, 240.0] {
        run.on(
            failure(CauseCode::Deferred, Taken::No, Retry::Later),
            s(at + 0.5),
        );
        assert_eq!(
            run.next(s(at + 0.5)),
            Action::WaitUntil(s(at + 0.5 + pause))
        );
        at += 0.5 + pause;
        assert_eq!(run.next(s(at)), Action::Attempt(ATTEMPT_LIMIT), "at {at}");
        run.on(Event::AttemptBegun, s(at));
    }
    // The next would be beyond the timeout of 900 s.
    run.on(
        failure(CauseCode::Deferred, Taken::No, Retry::Later),
        s(at + 0.5),
    );
    assert_eq!(run.next(s(at + 0.5)), Action::Finish);
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Refused);
    let cause = outcome.cause.unwrap();
    assert_eq!(cause.code, CauseCode::Deferred);
    assert_eq!(
        cause.evidence,
        ["put off 5 time(s) in 662 s, as greylisting does"]
    );
}

#[test]
fn a_delivery_after_greylisting_is_delivered_with_a_warning_that_names_it() {
    let mut run = sending();
    run.on(
        failure(CauseCode::Deferred, Taken::No, Retry::Later),
        s(0.5),
    );
    assert_eq!(run.next(s(60.5)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(60.5));
    run.on(acceptance(), s(61.0));
    run.on(seen(62.0), s(62.0));
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(outcome.send_started, Some(s(60.5)));
    let codes: Vec<_> = outcome.warnings.iter().map(|one| one.code).collect();
    assert_eq!(codes, [CauseCode::Deferred]);
}

#[test]
fn a_late_message_that_was_put_off_first_says_so_in_its_cause() {
    let mut run = sending();
    run.on(
        failure(CauseCode::Deferred, Taken::No, Retry::Later),
        s(0.5),
    );
    assert_eq!(run.next(s(60.5)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(60.5));
    run.on(acceptance(), s(61.0));
    run.on(seen(500.0), s(500.0));
    let outcome = outcome(run);
    assert_eq!(outcome.verdict, Verdict::Late);
    assert_eq!(
        outcome.cause.unwrap().evidence,
        ["put off 1 time(s) in 0 s, as greylisting does"]
    );
}

#[test]
fn attempts_after_a_deferral_count_anew() {
    let mut run = sending();
    for at in [0.5, 1.6] {
        run.on(
            failure(CauseCode::SenderUnreachable, Taken::No, Retry::Soon),
            s(at),
        );
        assert!(matches!(run.next(s(at + 5.0)), Action::Attempt(_)));
        run.on(Event::AttemptBegun, s(at + 5.0));
    }
    run.on(
        failure(CauseCode::Deferred, Taken::No, Retry::Later),
        s(7.0),
    );
    assert_eq!(run.next(s(67.0)), Action::Attempt(ATTEMPT_LIMIT));
    run.on(Event::AttemptBegun, s(67.0));
    run.on(
        failure(CauseCode::SenderUnreachable, Taken::No, Retry::Soon),
        s(67.5),
    );
    assert_eq!(run.next(s(67.5)), Action::WaitUntil(s(68.5)));
}

#[test]
fn a_sender_with_a_longer_limit_gets_one_long_attempt_and_no_second_after_it() {
    let mut run = run();
    run.set_attempt_limit(s(120.0));
    run.next(s(0.0));
    run.on(Event::MailboxOpen, s(0.05));
    run.next(s(0.05));
    run.on(Event::Prepared(Preparation::default()), s(0.1));
    assert_eq!(run.next(s(0.1)), Action::Attempt(s(120.0)));
    run.on(Event::AttemptBegun, s(0.1));
    run.on(
        failure(CauseCode::SenderFailed, Taken::No, Retry::Soon),
        s(120.1),
    );
    assert_eq!(run.next(s(120.1)), Action::Finish);
}

fn event(kind: crate::probe::provider::Kind) -> Event {
    Event::ProviderSaid(Word::Events(vec![crate::probe::provider::Event {
        at: None,
        kind,
        message_id: None,
        reason: Some("452 4.3.1 full".to_owned()),
    }]))
}

/// A run that waits, and whose provider can be asked.
fn asking(how: Asking) -> Run {
    let mut run = sending();
    run.set_asking(how);
    run.on(acceptance(), s(0.5));
    run
}

#[test]
fn the_provider_is_asked_when_the_message_is_overdue_and_at_the_end_and_before_the_interim_word() {
    use crate::probe::provider::Kind;
    let mut run = asking(Asking::WhenOverdue);
    assert_eq!(run.next(s(0.5)), Action::WaitUntil(s(300.1)));
    assert_eq!(run.next(s(300.1)), Action::AskProvider(ASK_LIMIT));
    assert_eq!(run.next(s(300.1)), Action::WaitUntil(s(900.0)));
    run.on(event(Kind::Deferred), s(300.4));
    assert_eq!(run.next(s(300.4)), Action::ReportOverdue);
    run.on(Event::OverdueReported, s(300.4));
    assert_eq!(run.next(s(300.4)), Action::WaitUntil(s(900.0)));
    assert_eq!(run.next(s(900.0)), Action::LastLook);
    assert_eq!(run.next(s(900.0)), Action::AskProvider(LAST_ASK_LIMIT));
    run.on(clean_look("INBOX"), s(900.1));
    run.on(clean_look("Junk"), s(900.1));
    // The answer is still out.
    assert_eq!(run.next(s(900.1)), Action::WaitUntil(s(907.0)));
    run.on(event(Kind::Deferred), s(900.2));
    assert_eq!(run.next(s(900.2)), Action::Finish);
    assert_eq!(verdict(run), (Verdict::Missing, Some(CauseCode::Deferred)));
}

#[test]
fn a_message_that_was_given_up_on_ends_the_run_after_a_last_look() {
    use crate::probe::provider::Kind;
    let mut run = asking(Asking::WhenOverdue);
    assert_eq!(run.next(s(300.1)), Action::AskProvider(ASK_LIMIT));
    run.on(event(Kind::SoftBounce), s(300.3));
    assert_eq!(run.next(s(300.3)), Action::LastLook);
    run.on(clean_look("INBOX"), s(300.4));
    assert_eq!(run.next(s(300.4)), Action::WaitUntil(s(307.3)));
    run.on(clean_look("Junk"), s(300.4));
    assert_eq!(run.next(s(300.4)), Action::Finish);
    assert_eq!(
        verdict(run),
        (Verdict::Bounced, Some(CauseCode::SoftBounced))
    );
}

#[test]
fn where_somebody_waits_the_provider_is_asked_after_10_30_and_60_seconds_too() {
    use crate::probe::provider::Kind;
    let mut run = asking(Asking::Eagerly);
    for at in [10.1, 30.1, 60.1, 300.1] {
        assert_eq!(run.next(s(at - 0.5)), Action::WaitUntil(s(at)));
        assert_eq!(run.next(s(at)), Action::AskProvider(ASK_LIMIT));
        run.on(event(Kind::Accepted), s(at + 0.1));
    }
    assert_eq!(run.next(s(300.2)), Action::ReportOverdue);
}

#[test]
fn a_question_that_fails_takes_nothing_back_that_was_known() {
    use crate::probe::provider::Kind;
    let mut run = asking(Asking::WhenOverdue);
    run.next(s(300.1));
    run.on(event(Kind::Deferred), s(300.3));
    run.on(Event::OverdueReported, s(300.3));
    run.next(s(900.0));
    run.next(s(900.0));
    let why = cause(CauseCode::SenderRateLimited);
    run.on(Event::ProviderSaid(Word::Unavailable(why)), s(900.1));
    run.on(clean_look("INBOX"), s(900.1));
    run.on(clean_look("Junk"), s(900.1));
    assert_eq!(run.next(s(900.1)), Action::Finish);
    assert_eq!(verdict(run), (Verdict::Missing, Some(CauseCode::Deferred)));
}

#[test]
fn a_time_in_which_a_folder_could_not_be_read_is_remembered() {
    let mut run = waiting();
    let folder = || "INBOX".to_owned();
    for at in [5.0, 6.0] {
        let cause = cause(CauseCode::MailboxConnectionLost);
        let folder = folder();
        run.on(Event::FolderLost { folder, cause }, s(at));
    }
    run.on(Event::FolderBack { folder: folder() }, s(9.0));
    let gaps = run.evidence(s(10.0)).mailbox.gaps;
    let times: Vec<_> = gaps.iter().map(|gap| (gap.from, gap.to)).collect();
    assert_eq!(times, [(s(5.0), Some(s(9.0)))]);
}
