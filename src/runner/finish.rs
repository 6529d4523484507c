//! The end of a run: read the message, clean up, make the report, tell the sinks.

use super::board::SeenKeys;
use super::{Job, Running, compose, surroundings};
use crate::mailboxes::{CleanUp, Cleaned, Phase};
use crate::probe::arrival::{self, Arrival};
use crate::probe::compose::{Message, Occasion};
use crate::probe::diagnosis::{Evidence, Standing, Way};
use crate::probe::dns_posture::{Finding, seen_keys};
use crate::probe::message;
use crate::probe::report::{ForMetrics, Push, Report, SCHEMA, SenderReport, StageTime, seconds};
use crate::probe::run::Outcome;
use crate::probe::timetable;
use crate::probe::verdict::{CauseCode, Stage, Warning};
use crate::secret::redact;
use crate::sinks::Sink;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// All pushes, side by side.
pub(super) const PUSH_LIMIT: Duration = Duration::from_secs(40);
/// From a signal on: all has to be over within 25 s, clean-up included.
const PUSH_LIMIT_INTERRUPTED: Duration = Duration::from_secs(12);
/// Everything between the verdict and the pushes.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);
/// The same after a signal: the scheduler waits for runs no longer than 12 s. What is left lies there for a later run.
const CLEAN_UP_LIMIT_INTERRUPTED: Duration = Duration::from_secs(5);
/// Of that, reading the message.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// And saying goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// An interim report that is still on its way must not overtake the final one.
const OVERDUE_LIMIT: Duration = Duration::from_secs(2);

/// The message of a run.
pub(super) fn compose(job: &Job, sent_at: DateTime<Utc>, elapsed: Duration) -> Message {
    let mut nonce = [0; 4];
    // Without randomness a token is still told apart by its time of sending.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut nonce);
    let occasion = Occasion {
        sent_at,
        wait: job.probe.timeout.saturating_sub(elapsed),
        keep: job.options.keep,
        nonce,
    };
    compose::compose(&job.identity, job.sender.from(), &occasion)
}

/// Asks for the keys that the message was signed with, and remembers them for what is checked beside the runs.
async fn seen_in(job: &Job, arrival: Option<&Arrival>, limit: Duration) -> Vec<Finding> {
    let authentication = arrival.and_then(|arrival| arrival.authentication.as_ref());
    let (Some(dns), Some(told)) = (&job.dns, authentication) else {
        return Vec::new();
    };
    let names = seen_keys(&job.sender.from().address, &told.dkim_signatures);
    let asked = timeout(limit, surroundings::keys(dns, &names)).await;
    let findings = asked.unwrap_or_default();
    let keys = SeenKeys {
        names,
        findings: findings.clone(),
    };
    job.board.set_keys(&job.probe.name, keys);
    findings
}

/// What reading and deleting took and gave.
#[derive(Default)]
struct Aftermath {
    inspect: Option<Duration>,
    cleanup: Option<Duration>,
    token_found_in: Option<Vec<crate::probe::report::TokenPlace>>,
    arrival: Option<Arrival>,
    /// About the keys that the message was signed with.
    keys: Vec<Finding>,
    cleaned: Cleaned,
}

impl Running {
    /// Everything after the verdict.
    pub(super) async fn finish(mut self, stop: watch::Receiver<bool>) -> Report {
        let gave_up = self.now();
        self.work = None;
        if let Some(mut fullness) = self.fullness.take() {
            tokio::select! {
                quota = &mut fullness => self.mailbox_quota = quota.unwrap_or_default(),
                () = told(stop.clone()) => fullness.abort(),
            }
        }
        let token = self.message().token.clone();
        let limit = if *stop.borrow() {
            CLEAN_UP_LIMIT_INTERRUPTED
        } else {
            CLEAN_UP_LIMIT
        };
        let aftermath = self.clean_up(&token, limit).await;
        let mut report = self.report(&token, gave_up, aftermath).await;
        if self.job.options.push {
            self.push(&mut report, stop).await;
            if !self.job.queues.is_empty() {
                let report = Arc::new(report.clone());
                self.job.queues.iter().for_each(|queue| queue.put(&report));
            }
        }
        report
    }

    async fn clean_up(&mut self, token: &str, limit: Duration) -> Aftermath {
        let mut after = Aftermath::default();
        // Opened, and nothing was sent: there is nothing to wait for, and still something to clean up.
        self.begin_watching(token);
        let Some(mut watch) = self.watch.take() else {
            return after;
        };
        let end = Instant::now() + limit;
        watch.set(Phase::Stop);
        if let Some(seen) = &self.seen {
            let begun = Instant::now();
            let raw = watch.read(seen, READ_LIMIT).await;
            after.token_found_in = raw.as_ref().map(|raw| message::token_places(raw, token));
            after.arrival = raw.map(|raw| self.read_arrival(&raw));
            after.inspect = Some(begun.elapsed());
        }
        let begun = Instant::now();
        let now = self.started_at + self.now();
        let task = CleanUp {
            token: token.to_owned(),
            keep: self.job.options.keep,
            keyring: Arc::clone(&self.job.keyring),
            now,
            previous_fire: timetable::previous_start(
                &self.job.probe.schedule,
                self.job.offset,
                self.job.planned,
                self.started_at,
            ),
            seen: self.seen.clone(),
        };
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        let limit = left(end).saturating_sub(CLOSE_LIMIT);
        // Beside the clean-up the answers cost no time.
        (after.cleaned, after.keys) = tokio::join!(
            watch.clean_up(&task, limit),
            seen_in(&self.job, after.arrival.as_ref(), limit)
        );
        after.cleanup = Some(begun.elapsed());
        self.line(
            Stage::Cleanup,
            &what_was_cleaned(&after.cleaned, self.job.options.keep && self.seen.is_some()),
        );
        let _ = timeout(left(end), watch.close()).await;
        after
    }

    async fn report(&mut self, token: &str, gave_up: Duration, after: Aftermath) -> Report {
        let at = |elapsed: Duration| self.started_at + elapsed;
        let quota = match self.quota.take() {
            // Whoever has not answered by now is not waited for.
            Some(quota) if quota.is_finished() => quota.await.ok().flatten(),
            Some(quota) => {
                quota.abort();
                None
            }
            None => None,
        };
        let outcome = self.run.clone().conclude(gave_up, |evidence| {
            self.complete(evidence);
            evidence.late_arrivals.clone_from(&after.cleaned.late);
            evidence.arrival.clone_from(&after.arrival);
        });
        let standing = match outcome.seen {
            Some(_) => Standing::Arrived,
            None => Standing::Failed(outcome.verdict),
        };
        self.post(standing, true);
        let stages = self.stages(&outcome, gave_up, &after);
        let times = Times::of(&outcome, gave_up);
        let now = at(self.now());
        let probe = &self.job.probe;
        let yes = outcome.accepted.as_ref().map(|(_, yes)| yes.clone());
        let mut warnings = outcome.warnings;
        warnings.extend(after.cleaned.warnings);
        let beside = self.job.board.surroundings().with_keys(&after.keys);
        warnings.extend(beside.warnings());
        let arrival = after.arrival;
        warnings.extend(arrival.iter().flat_map(|arrival| arrival.warnings.clone()));
        let (authentication, spam) = arrival
            .as_ref()
            .map(|arrival| (arrival.authentication.clone(), arrival.spam.clone()))
            .unwrap_or_default();
        let mut report = Report {
            schema: SCHEMA,
            probe: probe.name.clone(),
            run: token.to_owned(),
            verdict: outcome.verdict,
            success: outcome.verdict.is_success(&probe.accept),
            cause: outcome.cause,
            warnings,
            started_at: self.started_at,
            accepted_at: outcome.accepted.as_ref().map(|(elapsed, _)| at(*elapsed)),
            seen_at: outcome.seen.as_ref().map(|seen| at(seen.at)),
            ended_at: now,
            duration_seconds: times.duration,
            delivery_seconds: times.delivery,
            delivery_error_seconds: times.delivery_error,
            folder: outcome.seen.map(|seen| seen.folder),
            stages,
            hops: arrival.map(|arrival| arrival.hops),
            authentication,
            spam,
            sender: SenderReport {
                kind: self.job.sender.kind().to_owned(),
                message_id: yes.as_ref().and_then(|yes| yes.message_id.clone()),
                queue_id: yes.and_then(|yes| yes.queue_id),
                status: outcome.sender_status,
            },
            token_found_in: after.token_found_in,
            late_arrivals: after.cleaned.late,
            pushes: Vec::new(),
            for_metrics: ForMetrics {
                next_run_at: timetable::next_start(&probe.schedule, self.job.offset, now),
                recipient_unblocked: self.recipient_unblocked,
                knows_late_arrivals: after.cleaned.is_thorough,
                sender_quota_remaining: quota,
                certificates: self.certificates(),
            },
        };
        hide_secrets(&mut report);
        report
    }

    /// What the message tells of its way. It was sent when the first attempt began.
    fn read_arrival(&self, raw: &[u8]) -> Arrival {
        let sent_at = self.attempt_begun.map(|begun| self.started_at + begun);
        let mut read = arrival::read(raw, &self.job.path, sent_at);
        if self.way() == Way::Inside {
            // A sender inside has a private address by right.
            read.warnings
                .retain(|warning| warning.code != CauseCode::ProxyHeaderLost);
        }
        read
    }

    /// Adds to the evidence what the state machine does not know.
    pub(super) fn complete(&self, evidence: &mut Evidence) {
        evidence.to.clone_from(&self.job.probe.to);
        evidence.sender = self.job.sender.endpoint();
        evidence.way = self.way();
        evidence.neighbours = self.job.board.neighbours(self.place(), self.started);
        evidence.listeners = self.job.board.surroundings().evidence();
        evidence.mailbox.quota.clone_from(&self.mailbox_quota);
        if evidence.mailbox.looked.is_empty() {
            evidence.mailbox.looked.clone_from(&self.folder_names);
        }
    }

    fn certificates(&self) -> BTreeMap<String, Option<DateTime<Utc>>> {
        let (mailbox, sender) = (&self.job.mailbox, &self.job.sender);
        [
            ("mailbox", mailbox.is_tls(), mailbox.certificate_expiry()),
            ("sender", sender.is_tls(), sender.certificate_expiry()),
        ]
        .into_iter()
        .filter(|(_, is_tls, _)| *is_tls)
        .map(|(endpoint, _, expiry)| (endpoint.to_owned(), expiry))
        .collect()
    }

    fn stages(&self, outcome: &Outcome, gave_up: Duration, after: &Aftermath) -> Vec<StageTime> {
        let ended = outcome.seen.as_ref().map_or(gave_up, |seen| seen.at);
        let send = self
            .attempt_begun
            .map(|begun| self.attempt_ended.unwrap_or(ended).saturating_sub(begun));
        let awaited = self
            .attempt_ended
            .map(|answered| ended.saturating_sub(answered));
        [
            (
                Stage::MailboxConnect,
                Some(self.mailbox_ready.unwrap_or(gave_up)),
            ),
            (Stage::Send, send),
            (Stage::Await, awaited),
            (Stage::Inspect, after.inspect),
            (Stage::Cleanup, after.cleanup),
        ]
        .into_iter()
        .filter_map(|(name, took)| {
            let seconds = seconds(took?);
            Some(StageTime { name, seconds })
        })
        .collect()
    }

    async fn push(&mut self, report: &mut Report, stop: watch::Receiver<bool>) {
        let overdue = async { while self.overdue.join_next().await.is_some() {} };
        let _ = timeout(OVERDUE_LIMIT, overdue).await;
        self.overdue.shutdown().await;
        let begun = Instant::now();
        let sinks: Vec<Arc<Sink>> = self.job.sinks.clone();
        let pushes = sinks
            .iter()
            .filter(|sink| sink.wants(report))
            .map(|sink| unless_stopped(sink, report, stop.clone()));
        let pushes: Vec<Push> = futures_util::future::join_all(pushes).await;
        if pushes.is_empty() {
            return;
        }
        for push in &pushes {
            let outcome = push.error.as_deref().unwrap_or("ok");
            self.line(Stage::Push, &format!("{}: {outcome}", push.sink));
            report.warnings.extend(push_warning(push));
        }
        report.stages.push(StageTime {
            name: Stage::Push,
            seconds: seconds(begun.elapsed()),
        });
        report.pushes = pushes;
    }
}

/// Until a signal asks to end.
async fn told(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left who could ask.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A push, cut short where a signal asks to end.
async fn unless_stopped(sink: &Sink, report: &Report, stop: watch::Receiver<bool>) -> Push {
    let begun = Instant::now();
    let stopped = async {
        told(stop).await;
        tokio::time::sleep(PUSH_LIMIT_INTERRUPTED).await;
    };
    tokio::select! {
        push = sink.push(report, PUSH_LIMIT) => push,
        () = stopped => Push {
            sink: sink.name().to_owned(),
            ok: false,
            attempts: 1,
            seconds: seconds(begun.elapsed()),
            error: Some("cut short by a signal".to_owned()),
            hint: Some("nothing to do: the next run tells the sink again".to_owned()),
        },
    }
}

/// The three durations of a report, in seconds.
struct Times {
    duration: Option<f64>,
    delivery: Option<f64>,
    delivery_error: Option<f64>,
}

impl Times {
    fn of(outcome: &Outcome, gave_up: Duration) -> Self {
        let Some(send) = outcome.send_started else {
            return Self {
                duration: None,
                delivery: None,
                delivery_error: None,
            };
        };
        let Some(seen) = &outcome.seen else {
            let duration = Some(seconds(gave_up.saturating_sub(send)));
            return Self {
                duration,
                delivery: None,
                delivery_error: None,
            };
        };
        // An acceptance that came after the message says nothing about the way.
        let accepted = outcome.accepted.as_ref().map(|(at, _)| *at);
        let from = accepted.filter(|at| *at <= seen.at).unwrap_or(send);
        let not_before = seen.not_before.unwrap_or(send);
        Self {
            duration: Some(seconds(seen.at.saturating_sub(send))),
            delivery: Some(seconds(seen.at.saturating_sub(from))),
            delivery_error: Some(seconds(seen.at.saturating_sub(not_before))),
        }
    }
}

fn what_was_cleaned(cleaned: &Cleaned, stays: bool) -> String {
    let mut parts = Vec::new();
    match cleaned.own {
        0 if stays => parts.push("the message stays".to_owned()),
        0 => {}
        1 => parts.push("deleted the message".to_owned()),
        copies => parts.push(format!("deleted {copies} copies of the message")),
    }
    if !cleaned.late.is_empty() {
        parts.push(format!(
            "{} late arrivals of earlier runs",
            cleaned.late.len()
        ));
    }
    if cleaned.left_over > 0 {
        parts.push(format!(
            "deleted {} left by interrupted runs",
            cleaned.left_over
        ));
    }
    parts.extend(
        cleaned
            .warnings
            .iter()
            .map(|warning| warning.summary.clone()),
    );
    if parts.is_empty() {
        parts.push("nothing to delete".to_owned());
    }
    parts.join("; ")
}

fn push_warning(push: &Push) -> Option<Warning> {
    let error = push.error.as_ref()?;
    Some(Warning {
        code: CauseCode::SinkFailed,
        summary: format!("{} did not take the report: {error}", push.sink),
        hint: push.hint.clone().unwrap_or_default(),
        evidence: vec![format!(
            "{} attempts in {:.1} s",
            push.attempts, push.seconds
        )],
    })
}

/// The net under all that servers said: no report carries a secret, wherever it goes.
fn hide_secrets(report: &mut Report) {
    let clean = |text: &mut String| {
        if let std::borrow::Cow::Owned(redacted) = redact(text) {
            *text = redacted;
        }
    };
    if let Some(cause) = &mut report.cause {
        clean(&mut cause.summary);
        clean(&mut cause.hint);
        cause.evidence.iter_mut().for_each(clean);
    }
    for warning in &mut report.warnings {
        clean(&mut warning.summary);
        clean(&mut warning.hint);
        warning.evidence.iter_mut().for_each(clean);
    }
    report.sender.message_id.iter_mut().for_each(clean);
    report.sender.queue_id.iter_mut().for_each(clean);
}
