//! Whatever is known, in whatever combination: the diagnosis says nothing that the evidence does not bear.

use super::tests::noon;
use super::*;
use crate::probe::provider::{Event, Kind};
use crate::probe::report::{Hop, HopFrom, Role, Spam};
use crate::probe::send::{Retry, Taken};
use proptest::prelude::*;

fn cause(code: CauseCode) -> Cause {
    Cause::new(code, Stage::Send, format!("it is {code}"), "mend it")
}

fn any_cause(codes: &'static [CauseCode]) -> impl Strategy<Value = Cause> {
    prop::sample::select(codes).prop_map(cause)
}

fn mailbox_cause() -> impl Strategy<Value = Cause> {
    any_cause(&[
        CauseCode::MailboxUnreachable,
        CauseCode::MailboxTlsInvalid,
        CauseCode::MailboxLoginRefused,
        CauseCode::MailboxConnectionLost,
    ])
}

fn failure(taken: Taken) -> impl Strategy<Value = Failure> {
    any_cause(&[
        CauseCode::SenderFailed,
        CauseCode::SenderUnauthorized,
        CauseCode::SenderQuotaExhausted,
        CauseCode::SenderUnreachable,
    ])
    .prop_map(move |cause| Failure {
        cause,
        taken,
        retry: Retry::Never,
        status: None,
    })
}

fn handover() -> impl Strategy<Value = Handover> {
    prop_oneof![
        Just(Handover::NotBegun),
        Just(Handover::UnderWay),
        failure(Taken::No).prop_map(Handover::Refused),
        failure(Taken::Unknown).prop_map(Handover::Unknown),
        prop::option::of("<[a-z]{3}@x>").prop_map(|message_id| {
            Handover::Taken(Acceptance {
                message_id,
                queue_id: None,
                status: 201,
            })
        }),
    ]
}

fn word() -> impl Strategy<Value = Word> {
    let event = (
        prop::sample::select(&Kind::ALL[..]),
        prop::option::of(0..1000_i64),
        prop::option::of(prop_oneof![
            Just("452 4.3.1 Insufficient system storage".to_owned()),
            Just("452 4.2.2 Mailbox full".to_owned()),
            Just("550 5.1.1 unknown".to_owned()),
            Just("250 2.0.0 Ok: queued as A1".to_owned()),
            "\\PC{0,30}",
        ]),
    )
        .prop_map(|(kind, at, reason)| Event {
            at: at.map(|seconds| noon() + chrono::TimeDelta::seconds(seconds)),
            kind,
            message_id: None,
            reason,
        });
    prop_oneof![
        Just(Word::None),
        Just(Word::Unavailable(cause(CauseCode::SenderRateLimited))),
        prop::collection::vec(event, 0..5).prop_map(Word::Events),
    ]
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (0..1000_u64, any::<bool>()).prop_map(|(at, is_junk)| Sighting {
        at: Duration::from_secs(at),
        not_before: None,
        folder: if is_junk { "Junk" } else { "INBOX" }.to_owned(),
        is_junk,
    })
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let hop = (
        prop::option::of("[a-z]{1,5}"),
        prop::option::of(0.0..500.0_f64),
        prop::option::of(prop::sample::select(vec![
            Role::Outside,
            Role::BackupMx,
            Role::Border,
        ])),
    )
        .prop_map(|(by, delay_seconds, role)| Hop {
            from: HopFrom::default(),
            by,
            with: None,
            id: None,
            tls: None,
            at: None,
            delay_seconds,
            skew_seconds: None,
            role,
        });
    let spam = prop::option::of(prop::option::of(-5.0..20.0_f64).prop_map(|score| Spam {
        score,
        ..Spam::default()
    }));
    (prop::collection::vec(hop, 0..4), spam).prop_map(|(hops, spam)| Arrival {
        hops,
        spam,
        ..Arrival::default()
    })
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    let quota = (0..100_u64, 0..100_u64).prop_map(|(usage, limit)| Quota {
        root: "all".to_owned(),
        resource: "STORAGE".to_owned(),
        usage,
        limit,
    });
    (
        prop::option::of(mailbox_cause()),
        prop::option::of(mailbox_cause()),
        prop::collection::vec(quota, 0..2),
    )
        .prop_map(|(shut, unreadable, quota)| Mailbox {
            shut,
            unreadable,
            quota,
            ..Mailbox::default()
        })
}

fn neighbours() -> impl Strategy<Value = Vec<Neighbour>> {
    let one = (
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(vec![
            Standing::UnderWay,
            Standing::Blind,
            Standing::Overdue,
            Standing::Arrived,
            Standing::Failed(Verdict::Missing),
            Standing::Failed(Verdict::Undetermined),
        ]),
    )
        .prop_map(|(outside, same_mailbox, standing)| Neighbour {
            probe: "other".to_owned(),
            way: if outside { Way::Outside } else { Way::Inside },
            same_mailbox,
            standing,
        });
    prop::collection::vec(one, 0..3)
}

prop_compose! {
    fn evidence()(
        handover in handover(),
        provider in word(),
        seen in prop::option::of(sighting()),
        arrival in prop::option::of(arrival()),
        mailbox in mailbox(),
        blocked in prop::option::of(Just(cause(CauseCode::RecipientBlocked))),
        neighbours in neighbours(),
        send_started in prop::option::of(0..100_u64),
        interrupted in any::<bool>(),
        inside in any::<bool>(),
    ) -> Evidence {
        let limits = Limits { late_after: Duration::from_secs(300), timeout: Duration::from_secs(900) };
        let mut evidence = Evidence::new(limits, Duration::from_secs(900));
        evidence.to = "smoke@example.org".to_owned();
        evidence.sender = "brevo `https://x`".to_owned();
        evidence.handover = handover;
        evidence.provider = provider;
        evidence.arrival = arrival.filter(|_| seen.is_some());
        evidence.seen = seen;
        evidence.mailbox = mailbox;
        evidence.blocked = blocked;
        evidence.neighbours = neighbours;
        evidence.send_started = send_started.map(Duration::from_secs);
        evidence.interrupted = interrupted;
        evidence.way = if inside { Way::Inside } else { Way::Outside };
        evidence
    }
}

fn said(evidence: &Evidence, kind: Kind) -> bool {
    matches!(&evidence.provider, Word::Events(events) if events.iter().any(|event| event.kind == kind))
}

/// Whether a cause with this code can be claimed at all.
fn is_borne(code: CauseCode, evidence: &Evidence) -> bool {
    let of_mailbox = || {
        let Mailbox {
            shut, unreadable, ..
        } = &evidence.mailbox;
        shut.iter().chain(unreadable).any(|one| one.code == code)
    };
    match code {
        CauseCode::HardBounced => said(evidence, Kind::HardBounce) || said(evidence, Kind::Invalid),
        CauseCode::SoftBounced => said(evidence, Kind::SoftBounce),
        CauseCode::Deferred => said(evidence, Kind::Deferred),
        CauseCode::HeldAtProvider => {
            said(evidence, Kind::Accepted) && !said(evidence, Kind::Delivered)
        }
        CauseCode::AcceptedByMxNotInMailbox => {
            let taken_inside =
                evidence.way == Way::Inside && matches!(evidence.handover, Handover::Taken(_));
            (said(evidence, Kind::Delivered) || taken_inside) && evidence.seen.is_none()
        }
        CauseCode::SenderRejectedMessage => said(evidence, Kind::Error),
        CauseCode::RecipientBlocked => said(evidence, Kind::Blocked) || evidence.blocked.is_some(),
        CauseCode::FilteredAsSpam => evidence.seen.as_ref().is_some_and(|seen| seen.is_junk),
        CauseCode::DelayedOnTheWay => evidence.seen.is_some(),
        CauseCode::ViaBackupMx => evidence.arrival.as_ref().is_some_and(|arrival| {
            arrival
                .hops
                .iter()
                .any(|hop| hop.role == Some(Role::BackupMx))
        }),
        CauseCode::MailboxOverQuota => evidence.mailbox.quota.iter().any(Quota::is_full),
        CauseCode::Interrupted => evidence.interrupted,
        CauseCode::MailboxUnreachable
        | CauseCode::MailboxTlsInvalid
        | CauseCode::MailboxLoginRefused
        | CauseCode::MailboxConnectionLost => of_mailbox(),
        CauseCode::SenderFailed
        | CauseCode::SenderUnauthorized
        | CauseCode::SenderQuotaExhausted
        | CauseCode::SenderUnreachable => match &evidence.handover {
            Handover::Refused(failure) | Handover::Unknown(failure) => failure.cause.code == code,
            _ => false,
        },
        CauseCode::Unknown => true,
        _ => false,
    }
}

fn is_verdict_borne(verdict: Verdict, evidence: &Evidence) -> bool {
    let is_taken = matches!(evidence.handover, Handover::Taken(_))
        || (matches!(evidence.handover, Handover::Unknown(_))
            && evidence.provider.decisive().is_some());
    let is_readable = evidence.mailbox.shut.is_none() && evidence.mailbox.unreadable.is_none();
    match verdict {
        Verdict::Delivered | Verdict::Late => {
            evidence.seen.as_ref().is_some_and(|seen| !seen.is_junk)
        }
        Verdict::Junked => evidence.seen.as_ref().is_some_and(|seen| seen.is_junk),
        Verdict::Refused => evidence.seen.is_none() && !is_taken,
        Verdict::Bounced => {
            evidence.seen.is_none()
                && (evidence.provider.is_given_up() || (evidence.blocked.is_some() && is_readable))
        }
        Verdict::Missing => {
            evidence.seen.is_none() && is_taken && is_readable && !evidence.interrupted
        }
        Verdict::Undetermined => evidence.seen.is_none() && (evidence.interrupted || !is_readable),
    }
}

fn is_a_sentence(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\n', '\r']) && !text.ends_with('.')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_diagnosis_never_contradicts_the_evidence(evidence in evidence()) {
        let Diagnosis { verdict, causes } = diagnose(&evidence);
        prop_assert!(is_verdict_borne(verdict, &evidence), "{verdict} of {evidence:#?}");
        prop_assert_eq!(verdict == Verdict::Delivered || !causes.is_empty(), true);
        for (at, cause) in causes.iter().enumerate() {
            prop_assert!(is_borne(cause.code, &evidence), "{} of {evidence:#?}", cause.code);
            prop_assert!(is_a_sentence(&cause.summary) || evidence_has_it(&cause.summary, &evidence), "{cause:?}");
            prop_assert!(!cause.hint.is_empty(), "{cause:?}");
            let again = causes.iter().skip(at + 1).any(|other| other.code == cause.code);
            prop_assert!(!again, "{} twice", cause.code);
        }
    }

    #[test]
    fn what_is_said_so_far_never_contradicts_the_evidence(evidence in evidence()) {
        let evidence = Evidence { seen: None, ..evidence };
        let cause = so_far(&evidence);
        prop_assert!(is_borne(cause.code, &evidence), "{} of {evidence:#?}", cause.code);
    }
}

/// A reason of a server's may end in a full stop.
fn evidence_has_it(summary: &str, evidence: &Evidence) -> bool {
    let Word::Events(events) = &evidence.provider else {
        return false;
    };
    events
        .iter()
        .filter_map(|event| event.reason.as_deref())
        .any(|reason| summary.ends_with(reason))
}
