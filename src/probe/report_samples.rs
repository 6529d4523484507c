//! Reports for tests.

use super::{ForMetrics, LateArrival, Report, SCHEMA, SenderReport, StageTime};
use crate::probe::arrival::{self, Arrival};
use crate::probe::path::{PathPlan, Pattern};
use crate::probe::verdict::{Cause, CauseCode, Stage, Verdict};
use chrono::{DateTime, TimeDelta, Utc};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_000_000 + seconds)
}

/// Two hops, a good signature, nothing said of DMARC.
fn way() -> Arrival {
    let raw = "Received: from mail.example.org ([127.0.0.1]) by mailserver-0 with LMTP id a; Wed, 18 Nov 2026 11:06:43 +0000
Received: from a.example.net (a.example.net [192.0.2.20]) by mail.example.org (Postfix) with ESMTP id 4F2A; Wed, 18 Nov 2026 11:06:42 +0000 (UTC)
Authentication-Results: mail.example.org; dkim=pass header.d=example.org header.s=brevo1; spf=softfail smtp.mailfrom=a@example.net
X-Spamd-Result: default: False [0.64 / 15.00]; MV_CASE(0.50)[]
";
    let ours = || vec![Pattern::new("mail.example.org")];
    let path = PathPlan {
        border: ours(),
        authserv_ids: ours(),
        ..PathPlan::default()
    };
    arrival::read(raw.as_bytes(), &path, Some(at(1)))
}

/// A run that was delivered, with nothing to say beside that.
pub fn delivered() -> Report {
    let stages = [
        (Stage::MailboxConnect, 0.12),
        (Stage::Send, 0.34),
        (Stage::Await, 1.01),
        (Stage::Inspect, 0.02),
        (Stage::Cleanup, 0.03),
    ];
    let way = way();
    Report {
        schema: SCHEMA,
        probe: "external".to_owned(),
        run: "e2e-probe-x".to_owned(),
        verdict: Verdict::Delivered,
        success: true,
        cause: None,
        warnings: Vec::new(),
        started_at: at(0),
        accepted_at: Some(at(1)),
        seen_at: Some(at(2)),
        ended_at: at(3),
        duration_seconds: Some(1.35),
        delivery_seconds: Some(1.01),
        delivery_error_seconds: Some(0.02),
        folder: Some("INBOX".to_owned()),
        stages: stages
            .map(|(name, seconds)| StageTime { name, seconds })
            .to_vec(),
        hops: Some(way.hops),
        authentication: way.authentication,
        spam: way.spam,
        sender: SenderReport {
            kind: "brevo".to_owned(),
            message_id: Some("<1@smtp-relay.mailin.fr>".to_owned()),
            queue_id: None,
            status: Some(201),
        },
        token_found_in: None,
        late_arrivals: vec![LateArrival {
            run: "e2e-probe-y".to_owned(),
            probe: "external".to_owned(),
            sent_at: at(-5000),
            delivery_seconds: 1800.5,
            folder: "INBOX".to_owned(),
        }],
        pushes: Vec::new(),
        for_metrics: ForMetrics {
            next_run_at: Some(at(1200)),
            recipient_unblocked: true,
            knows_late_arrivals: true,
            sender_quota_remaining: Some(212.0),
            certificates: [("mailbox", 86_400), ("sender", 172_800)]
                .map(|(endpoint, left)| (endpoint.to_owned(), Some(at(left))))
                .into(),
        },
    }
}

/// A run that ended so, without having seen or sent anything.
pub fn blind(code: CauseCode) -> Report {
    Report {
        verdict: Verdict::Undetermined,
        success: false,
        cause: Some(Cause::new(
            code,
            Stage::MailboxConnect,
            "cannot log in to imap `mail.example.org:993`: NO",
            "was the password changed?",
        )),
        accepted_at: None,
        seen_at: None,
        duration_seconds: None,
        delivery_seconds: None,
        delivery_error_seconds: None,
        folder: None,
        stages: vec![StageTime {
            name: Stage::MailboxConnect,
            seconds: 30.0,
        }],
        late_arrivals: Vec::new(),
        for_metrics: ForMetrics {
            next_run_at: None,
            certificates: [
                ("mailbox".to_owned(), None),
                ("sender".to_owned(), Some(at(172_800))),
            ]
            .into(),
            ..ForMetrics::default()
        },
        ..delivered()
    }
}
