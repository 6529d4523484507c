//! One row an incident: what is known, and what it comes to.

use super::*;
use crate::probe::arrival::Signature;
use crate::probe::provider::{Event, Kind};
use crate::probe::report::{AuthResult, Authentication, Hop, HopFrom, MethodResult, Role, Spam};
use crate::probe::send::{Retry, Taken};
use chrono::{DateTime, TimeDelta, Utc};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// Taken by Brevo, timeout over, both folders clean, nothing asked.
fn absent() -> Evidence {
    let mut evidence = Evidence::new(
        Limits {
            late_after: s(300),
            timeout: s(900),
        },
        s(900),
    );
    evidence.to = "smoke@example.org".to_owned();
    evidence.sender = "brevo `https://api.brevo.com/v3`".to_owned();
    evidence.send_started = Some(s(0));
    evidence.handover = Handover::Taken(Acceptance {
        message_id: Some("<1@smtp-relay.mailin.fr>".to_owned()),
        queue_id: None,
        status: 201,
    });
    evidence.mailbox.looked = vec!["INBOX".to_owned(), "Junk".to_owned()];
    evidence
}

fn events(events: &[(Kind, &str)]) -> Word {
    Word::Events(
        events
            .iter()
            .zip(0..)
            .map(|((kind, reason), seconds)| Event {
                at: Some(noon() + TimeDelta::seconds(seconds)),
                kind: *kind,
                message_id: Some("<1@smtp-relay.mailin.fr>".to_owned()),
                reason: Some((*reason).to_owned()).filter(|reason| !reason.is_empty()),
            })
            .collect(),
    )
}

fn said(list: &[(Kind, &str)]) -> Evidence {
    Evidence {
        provider: events(list),
        ..absent()
    }
}

fn seen(after: u64, folder: &str) -> Evidence {
    Evidence {
        seen: Some(Sighting {
            at: s(after),
            not_before: None,
            folder: folder.to_owned(),
            is_junk: folder == "Junk",
        }),
        at: s(after),
        ..absent()
    }
}

fn hop(by: &str, delay: f64, role: Option<Role>) -> Hop {
    Hop {
        from: HopFrom::default(),
        by: Some(by.to_owned()),
        with: Some("ESMTPS".to_owned()),
        id: Some(format!("ID{by}")),
        tls: None,
        at: Some(noon()),
        delay_seconds: Some(delay),
        skew_seconds: None,
        role,
    }
}

fn with_hops(after: u64, hops: Vec<Hop>) -> Evidence {
    Evidence {
        arrival: Some(Arrival {
            hops,
            ..Arrival::default()
        }),
        ..seen(after, "INBOX")
    }
}

fn cause(code: CauseCode, summary: &str) -> Cause {
    Cause::new(code, Stage::MailboxConnect, summary, "mend it")
}

fn failed(code: CauseCode, summary: &str, taken: Taken) -> Failure {
    Failure {
        cause: cause(code, summary),
        taken,
        retry: Retry::Never,
        status: Some(400),
    }
}

fn refused(code: CauseCode, summary: &str) -> Evidence {
    Evidence {
        handover: Handover::Refused(failed(code, summary, Taken::No)),
        ..absent()
    }
}

fn blind(code: CauseCode, summary: &str) -> Evidence {
    let mut evidence = Evidence {
        handover: Handover::NotBegun,
        ..absent()
    };
    evidence.mailbox.shut = Some(cause(code, summary));
    evidence
}

fn junked() -> Evidence {
    let failed = MethodResult {
        result: AuthResult::Permerror,
        domain: Some("example.org".to_owned()),
        selector: Some("brevo1".to_owned()),
        reason: None,
    };
    let arrival = Arrival {
        spam: Some(Spam {
            score: Some(6.09),
            threshold: Some(6.0),
            action: Some("add header".to_owned()),
            symbols: [
                ("R_DKIM_PERMFAIL", 4.5),
                ("DMARC_POLICY_SOFTFAIL", 1.5),
                ("MIME_GOOD", -0.1),
            ]
            .map(|(name, points)| (name.to_owned(), Some(points)))
            .into(),
        }),
        authentication: Some(Authentication {
            authserv_id: Some("mail.example.org".to_owned()),
            dkim: Some(failed.clone()),
            dkim_signatures: vec![failed],
            ..Authentication::default()
        }),
        signatures: vec![Signature {
            domain: Some("example.org".to_owned()),
            selector: Some("brevo1".to_owned()),
        }],
        ..Arrival::default()
    };
    Evidence {
        arrival: Some(arrival),
        ..seen(1, "Junk")
    }
}

fn full(evidence: Evidence) -> Evidence {
    let quota = vec![Quota {
        root: "User quota".to_owned(),
        resource: "STORAGE".to_owned(),
        usage: 10_240,
        limit: 10_240,
    }];
    let mailbox = Mailbox {
        quota,
        ..evidence.mailbox.clone()
    };
    Evidence {
        mailbox,
        ..evidence
    }
}

fn unreadable(evidence: Evidence) -> Evidence {
    let mailbox = Mailbox {
        unreadable: Some(cause(
            CauseCode::MailboxConnectionLost,
            "lost folder `INBOX` on imap `mail:993`: BYE",
        )),
        ..Mailbox::default()
    };
    Evidence {
        mailbox,
        ..evidence
    }
}

/// The incident, what is known of it, the verdict, the cause, and what has to stand in summary, evidence or hint.
type Row = (
    &'static str,
    Evidence,
    Verdict,
    Option<CauseCode>,
    &'static [&'static str],
);

// A table.
#[allow(clippy::too_many_lines)]
fn rows() -> Vec<Row> {
    use CauseCode as C;
    use Verdict as V;
    let mut rows: Vec<Row> = vec![
        ("nothing wrong", seen(1, "INBOX"), V::Delivered, None, &[]),
        (
            "brevo-blocked, by the event",
            said(&[
                (Kind::Blocked, "blocked : due to blacklist user"),
                (Kind::Accepted, ""),
            ]),
            V::Bounced,
            Some(C::RecipientBlocked),
            &[
                "`smoke@example.org`",
                "block list",
                "blocked at 2026",
                "due to blacklist user",
            ],
        ),
        (
            "brevo-blocked, by the list that could not be lifted",
            Evidence {
                blocked: Some(cause(C::RecipientBlocked, "on the list")),
                ..said(&[(Kind::Accepted, "")])
            },
            V::Bounced,
            Some(C::RecipientBlocked),
            &["on the list", "<1@smtp-relay.mailin.fr>"],
        ),
        (
            "junked",
            junked(),
            V::Junked,
            Some(C::FilteredAsSpam),
            &[
                "into `Junk`",
                "score 6.09 of 6.00",
                "R_DKIM_PERMFAIL +4.50",
                "DMARC_POLICY_SOFTFAIL +1.50",
                "dkim=permerror (selector brevo1 of example.org)",
                "brevo1._domainkey.example.org",
            ],
        ),
        (
            "disk-full",
            said(&[
                (Kind::Deferred, "452 4.3.1 Insufficient system storage"),
                (Kind::Accepted, ""),
            ]),
            V::Missing,
            Some(C::Deferred),
            &["452 4.3.1 Insufficient system storage", "disk is full"],
        ),
        (
            "milter-tempfail",
            said(&[(Kind::Deferred, "451 4.3.0 <x>: Temporary lookup failure")]),
            V::Missing,
            Some(C::Deferred),
            &["451 4.3.0", "milter"],
        ),
        (
            "mx-unreachable, still trying",
            said(&[(
                Kind::Deferred,
                "connect to mx.example.org:25: Connection refused",
            )]),
            V::Missing,
            Some(C::Deferred),
            &["cannot hand the message", "Connection refused", "port 25"],
        ),
        (
            "mx-unreachable, given up",
            said(&[
                (Kind::SoftBounce, "timed out"),
                (Kind::Deferred, "connect to mx: Connection timed out"),
            ]),
            V::Bounced,
            Some(C::SoftBounced),
            &["gave the message", "timed out", "Connection timed out"],
        ),
        (
            "a hard bounce",
            said(&[(
                Kind::HardBounce,
                "550 5.1.1 <smoke@example.org>: User unknown",
            )]),
            V::Bounced,
            Some(C::HardBounced),
            &["550 5.1.1", "does not know the recipient", "may block"],
        ),
        (
            "an invalid address",
            said(&[(Kind::Invalid, "invalid")]),
            V::Bounced,
            Some(C::HardBounced),
            &["for invalid", "MX record"],
        ),
        (
            "an error inside the provider",
            said(&[(Kind::Error, "sender not valid")]),
            V::Bounced,
            Some(C::SenderRejectedMessage),
            &["sender not valid", "verified sender"],
        ),
        (
            "stalls, found late",
            with_hops(
                400,
                vec![
                    hop("mail.example.org", 1.0, None),
                    hop("mailserver-0", 395.0, None),
                ],
            ),
            V::Late,
            Some(C::DelayedOnTheWay),
            &[
                "395 s of it between `mail.example.org` and `mailserver-0`",
                "IDmail.example.org",
            ],
        ),
        (
            "stalls before the first hop",
            with_hops(
                400,
                vec![
                    hop("mail.example.org", 398.0, None),
                    hop("mailserver-0", 0.0, None),
                ],
            ),
            V::Late,
            Some(C::DelayedOnTheWay),
            &["398 s of it before `mail.example.org` took it"],
        ),
        (
            "backup-mx",
            with_hops(
                400,
                vec![
                    hop("mx2.example.org", 1.0, Some(Role::BackupMx)),
                    hop("mail.example.org", 390.0, Some(Role::Border)),
                ],
            ),
            V::Late,
            Some(C::ViaBackupMx),
            &["backup MX `mx2.example.org`, which held it for 390 s"],
        ),
        (
            "sieve-discard",
            said(&[
                (Kind::Delivered, "250 2.0.0 Ok: queued as 4F2A0000001"),
                (Kind::Accepted, ""),
            ]),
            V::Missing,
            Some(C::AcceptedByMxNotInMailbox),
            &[
                "as 4F2A0000001",
                "not in `INBOX`, `Junk`",
                "queued as 4F2A0000001",
                "Sieve",
            ],
        ),
        (
            "a delivery without a queue id is quoted with its time and the message id",
            said(&[(Kind::Delivered, "sent")]),
            V::Missing,
            Some(C::AcceptedByMxNotInMailbox),
            &[
                "delivered at 2026-11-18",
                "message id: <1@smtp-relay.mailin.fr>",
            ],
        ),
        (
            "our own server took it from inside",
            Evidence {
                way: Way::Inside,
                handover: Handover::Taken(Acceptance {
                    message_id: None,
                    queue_id: Some("4F2A".to_owned()),
                    status: 250,
                }),
                ..absent()
            },
            V::Missing,
            Some(C::AcceptedByMxNotInMailbox),
            &["as 4F2A", "log for 4F2A", "queue id: 4F2A"],
        ),
        (
            "greylisting",
            Evidence {
                provider: events(&[(Kind::Deferred, "451 4.7.1 Greylisted, try again later")]),
                ..seen(400, "INBOX")
            },
            V::Late,
            Some(C::Deferred),
            &["put it off: 451 4.7.1 Greylisted", "greylisting"],
        ),
        (
            "held at the provider",
            said(&[(Kind::Accepted, "")]),
            V::Missing,
            Some(C::HeldAtProvider),
            &["has had the message", "accepted at"],
        ),
        (
            "nothing is known",
            absent(),
            V::Missing,
            Some(C::Unknown),
            &["<1@smtp-relay.mailin.fr>", "`INBOX`, `Junk`", "900 s"],
        ),
        (
            "a log that does not know the message yet",
            said(&[]),
            V::Missing,
            Some(C::Unknown),
            &["does not know the message, or not yet"],
        ),
        (
            "a log that cannot be read",
            Evidence {
                provider: Word::Unavailable(cause(C::SenderRateLimited, "limit of 300 an hour")),
                ..absent()
            },
            V::Missing,
            Some(C::Unknown),
            &["limit of 300 an hour"],
        ),
        (
            "a full mailbox that the provider knows nothing of",
            full(absent()),
            V::Missing,
            Some(C::MailboxOverQuota),
            &["10240 of 10240 KiB", "raise the mailbox's quota"],
        ),
        (
            "a full mailbox behind a server that took the message",
            full(said(&[(Kind::Delivered, "250 queued as A1")])),
            V::Missing,
            Some(C::MailboxOverQuota),
            &["10240 of 10240 KiB", "message id"],
        ),
        (
            "a full mailbox that the server speaks of",
            full(said(&[(Kind::Deferred, "452 4.2.2 Mailbox full")])),
            V::Missing,
            Some(C::MailboxOverQuota),
            &["10240 of 10240 KiB"],
        ),
        (
            "a full mailbox is not blamed for a milter",
            full(said(&[(Kind::Deferred, "451 4.3.0 try later")])),
            V::Missing,
            Some(C::Deferred),
            &["451 4.3.0"],
        ),
        (
            "a mailbox lost at the end",
            unreadable(said(&[(Kind::Delivered, "250 queued as A1")])),
            V::Undetermined,
            Some(C::MailboxConnectionLost),
            &["BYE"],
        ),
        (
            "a bounce needs no mailbox",
            unreadable(said(&[(Kind::HardBounce, "550 5.1.1 no")])),
            V::Bounced,
            Some(C::HardBounced),
            &["550 5.1.1"],
        ),
        (
            "an answer that was lost, of a message that the log knows",
            Evidence {
                handover: Handover::Unknown(failed(C::SenderFailed, "no answer", Taken::Unknown)),
                ..said(&[(Kind::Deferred, "452 4.3.1 full")])
            },
            V::Missing,
            Some(C::Deferred),
            &["452 4.3.1", "message id: <1@smtp-relay.mailin.fr>"],
        ),
        (
            "an answer that was lost, of a message that nobody knows",
            Evidence {
                handover: Handover::Unknown(failed(C::SenderFailed, "no answer", Taken::Unknown)),
                ..said(&[])
            },
            V::Refused,
            Some(C::SenderFailed),
            &["did not arrive", "does not know the message"],
        ),
        (
            "no time to send",
            Evidence {
                handover: Handover::NotBegun,
                ..absent()
            },
            V::Refused,
            Some(C::Unknown),
            &["raise `timeout`"],
        ),
        (
            "a signal",
            Evidence {
                interrupted: true,
                at: s(12),
                ..said(&[(Kind::Deferred, "452 4.3.1 full")])
            },
            V::Undetermined,
            Some(C::Interrupted),
            &["so far, after 12.0 s", "452 4.3.1"],
        ),
    ];
    for (name, code) in [
        ("imap-down", C::MailboxUnreachable),
        ("imap-hang", C::MailboxUnreachable),
        ("imap-password", C::MailboxLoginRefused),
        ("imap-certificate", C::MailboxTlsInvalid),
    ] {
        rows.push((
            name,
            blind(code, "said the server"),
            V::Undetermined,
            Some(code),
            &["said the server"],
        ));
    }
    for (name, code) in [
        ("brevo-key", C::SenderUnauthorized),
        ("brevo-quota", C::SenderQuotaExhausted),
        ("brevo-rate", C::SenderRateLimited),
        ("brevo-down", C::SenderFailed),
    ] {
        rows.push((
            name,
            refused(code, "said the API"),
            V::Refused,
            Some(code),
            &["said the API"],
        ));
    }
    rows
}

#[test]
fn every_incident_gets_its_verdict_its_cause_and_its_evidence() {
    for (name, evidence, verdict, code, words) in rows() {
        let diagnosis = diagnose(&evidence);
        assert_eq!(diagnosis.verdict, verdict, "{name}: {diagnosis:#?}");
        let first = diagnosis.causes.first();
        assert_eq!(first.map(|cause| cause.code), code, "{name}");
        let text = first.map(|cause| format!("{cause:?}")).unwrap_or_default();
        for word in words {
            assert!(text.contains(word), "{name}: no {word:?} in {first:#?}");
        }
    }
}

#[test]
fn the_causes_behind_the_first_are_kept() {
    let diagnosis = diagnose(&full(said(&[(Kind::Deferred, "451 4.3.0 try later")])));
    let codes: Vec<_> = diagnosis.causes.iter().map(|cause| cause.code).collect();
    assert_eq!(codes, [CauseCode::Deferred, CauseCode::MailboxOverQuota]);
}

#[test]
fn a_message_that_came_in_time_through_the_backup_mx_is_told_of() {
    let hops = vec![hop("mx2.example.org", 0.0, Some(Role::BackupMx))];
    let diagnosis = diagnose(&with_hops(2, hops));
    assert_eq!(diagnosis.verdict, Verdict::Delivered);
    assert_eq!(diagnosis.causes[0].code, CauseCode::ViaBackupMx);
}

fn neighbour(way: Way, same_mailbox: bool, standing: Standing) -> Neighbour {
    Neighbour {
        probe: "internal".to_owned(),
        way,
        same_mailbox,
        standing,
    }
}

#[test]
fn what_other_probes_see_tells_the_way_in_from_the_server_and_from_our_own_network() {
    for (evidence, other, hint) in [
        (
            absent(),
            neighbour(Way::Inside, true, Standing::Arrived),
            "way in from outside",
        ),
        (
            absent(),
            neighbour(Way::Outside, true, Standing::Arrived),
            "this probe's own",
        ),
        (
            absent(),
            neighbour(Way::Inside, true, Standing::Failed(Verdict::Missing)),
            "look at the server itself",
        ),
        (
            absent(),
            neighbour(Way::Inside, true, Standing::Overdue),
            "look at the server itself",
        ),
        (
            absent(),
            neighbour(Way::Inside, false, Standing::Arrived),
            "search the mail server's log",
        ),
        (
            absent(),
            neighbour(Way::Inside, true, Standing::UnderWay),
            "search the mail server's log",
        ),
        (
            blind(CauseCode::MailboxUnreachable, "refused"),
            neighbour(Way::Inside, false, Standing::Blind),
            "network of this machine",
        ),
        (
            blind(CauseCode::MailboxUnreachable, "refused"),
            neighbour(Way::Inside, false, Standing::Arrived),
            "mend it",
        ),
        (
            blind(CauseCode::MailboxUnreachable, "refused"),
            neighbour(Way::Inside, true, Standing::Blind),
            "mend it",
        ),
        (
            blind(CauseCode::MailboxLoginRefused, "NO"),
            neighbour(Way::Inside, false, Standing::Blind),
            "mend it",
        ),
    ] {
        let evidence = Evidence {
            neighbours: vec![other.clone()],
            ..evidence
        };
        let diagnosis = diagnose(&evidence);
        let first = &diagnosis.causes[0];
        assert!(first.hint.contains(hint), "{other:?}: {first:#?}");
    }
}

#[test]
fn a_known_cause_keeps_its_remedy_and_gains_the_neighbours_as_evidence() {
    let evidence = Evidence {
        neighbours: vec![neighbour(Way::Inside, true, Standing::Arrived)],
        listeners: vec![Listener {
            name: "smtp-outside".to_owned(),
            trouble: Some("connection refused".to_owned()),
        }],
        ..said(&[(Kind::Deferred, "452 4.3.1 full")])
    };
    let first = &diagnose(&evidence).causes[0];
    assert!(first.hint.contains("disk is full"), "{first:#?}");
    let evidence = first.evidence.join("\n");
    assert!(
        evidence.contains("mail from inside arrives (`internal`)"),
        "{evidence}"
    );
    assert!(
        evidence.contains("listener `smtp-outside`: connection refused"),
        "{evidence}"
    );
}

#[test]
fn the_word_for_an_overdue_message_says_what_is_known_by_then() {
    let known = so_far(&said(&[(Kind::Deferred, "452 4.3.1 full")]));
    assert_eq!(known.code, CauseCode::Deferred);
    assert!(known.summary.contains("452 4.3.1"), "{known:?}");
    let mut lost = absent();
    lost.mailbox.gaps.push(Gap {
        folder: "INBOX".to_owned(),
        from: s(4),
        to: None,
        why: "BYE".to_owned(),
    });
    let known = so_far(&lost);
    assert!(
        known
            .evidence
            .contains(&"`INBOX` could not be read from 4.0 s on: BYE".to_owned()),
        "{known:?}"
    );
}
