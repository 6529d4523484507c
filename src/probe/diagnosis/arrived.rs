//! A message that was seen: in time, late or in the junk folder, and what its own header says about that.

use super::Evidence;
use crate::probe::arrival::Arrival;
use crate::probe::provider::Reply;
use crate::probe::report::{AuthResult, Hop, MethodResult, Role, Spam};
use crate::probe::run::Sighting;
use crate::probe::verdict::{Cause, CauseCode, Stage, Verdict};

/// So many symbols are named, the heaviest.
const SYMBOLS: usize = 4;

/// The verdict on a message that was seen, and what there is to say about it.
pub(super) fn judge(seen: &Sighting, evidence: &Evidence) -> (Verdict, Vec<Cause>) {
    let took = seen
        .at
        .saturating_sub(evidence.send_started.unwrap_or_default());
    let is_late = took > evidence.limits.late_after;
    let mut causes = Vec::new();
    if seen.is_junk {
        causes.push(filtered_as_spam(seen, evidence));
    }
    causes.extend(via_backup_mx(evidence));
    if is_late {
        causes.extend(deferred(took.as_secs_f64(), evidence));
        causes.push(delayed(took.as_secs_f64(), evidence));
        if let Some(first) = causes.first_mut() {
            first.evidence.extend(evidence.deferral.clone());
            let gaps = evidence.mailbox.gaps.iter().map(super::Gap::quote);
            first.evidence.extend(gaps);
        }
    }
    let verdict = match (seen.is_junk, is_late) {
        (true, _) => Verdict::Junked,
        (false, true) => Verdict::Late,
        (false, false) => Verdict::Delivered,
    };
    (verdict, causes)
}

fn filtered_as_spam(seen: &Sighting, evidence: &Evidence) -> Cause {
    let arrival = evidence.arrival.as_ref();
    let failed = arrival.map(failed_checks).unwrap_or_default();
    let spam = arrival.and_then(|arrival| arrival.spam.as_ref());
    let mut summary = format!(
        "the message for `{}` was filed as spam, into `{}`",
        evidence.to, seen.folder
    );
    if let Some(spam) = spam {
        if let Some(said) = score(spam) {
            summary.push_str(&format!(": {said}"));
        }
        let heaviest: Vec<_> = heaviest(spam).iter().map(points).collect();
        if !heaviest.is_empty() {
            summary.push_str(&format!(", heaviest {}", heaviest.join(", ")));
        }
    }
    for check in &failed {
        summary.push_str(&format!("; {}", check.text));
    }
    let hint = failed
        .iter()
        .find_map(|check| check.remedy.clone())
        .unwrap_or_else(|| match spam {
            Some(_) => "see the heaviest symbols; `mailprobe run --keep`, then `mailprobe inspect` on the message, lists them all".to_owned(),
            None => "the spam filter left no header: see its log, and the Sieve rules that file mail".to_owned(),
        });
    let mut cause = Cause::new(CauseCode::FilteredAsSpam, Stage::Await, summary, hint);
    cause.evidence.push(format!("folder: {}", seen.folder));
    if let Some(spam) = spam {
        cause.evidence.extend(score(spam));
        cause.evidence.extend(heaviest(spam).iter().map(points));
    }
    if let Some(arrival) = arrival {
        cause.evidence.extend(checks(arrival));
    }
    cause
}

/// `score 6.09 of 6.00 (add header)`.
fn score(spam: &Spam) -> Option<String> {
    let mut text = match (spam.score, spam.threshold, &spam.action) {
        (Some(score), Some(threshold), _) => format!("score {score:.2} of {threshold:.2}"),
        (Some(score), None, _) => format!("score {score:.2}"),
        (None, _, Some(action)) => action.clone(),
        (None, _, None) => return None,
    };
    if let (Some(action), Some(_)) = (&spam.action, spam.score) {
        text.push_str(&format!(" ({action})"));
    }
    Some(text)
}

/// `R_DKIM_PERMFAIL +4.50`.
fn points((name, points): &(&str, f64)) -> String {
    format!("{name} {points:+.2}")
}

/// The symbols that speak against the message, heaviest first.
fn heaviest(spam: &Spam) -> Vec<(&str, f64)> {
    let mut symbols: Vec<(&str, f64)> = spam
        .symbols
        .iter()
        .filter_map(|(name, points)| Some((name.as_str(), (*points)?)))
        .filter(|(_, points)| *points > 0.0)
        .collect();
    symbols.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    symbols.truncate(SYMBOLS);
    symbols
}

/// A check of the sender that did not pass.
struct Failed {
    text: String,
    remedy: Option<String>,
}

fn failed_checks(arrival: &Arrival) -> Vec<Failed> {
    let Some(authentication) = &arrival.authentication else {
        return Vec::new();
    };
    let mut failed = Vec::new();
    let bad = |one: &&MethodResult| {
        !matches!(
            one.result,
            AuthResult::Pass | AuthResult::None | AuthResult::Neutral
        )
    };
    // Rspamd writes `none` for a signature whose key it cannot find.
    let unproven = |one: &&MethodResult| {
        bad(one) || (one.result == AuthResult::None && one.selector.is_some())
    };
    let dkim = authentication
        .dkim_signatures
        .iter()
        .find(unproven)
        .or_else(|| authentication.dkim.as_ref().filter(unproven));
    if let Some(dkim) = dkim {
        failed.push(Failed {
            text: quote("dkim", dkim),
            remedy: Some(dkim_remedy(dkim)),
        });
    }
    if let Some(spf) = authentication.spf.as_ref().filter(bad) {
        failed.push(Failed {
            text: quote("spf", spf),
            remedy: Some(
                "does the SPF record, as the mail server's own resolver sees it, name the provider's addresses? an internal zone often lacks it".to_owned(),
            ),
        });
    }
    if let Some(dmarc) = authentication.dmarc.as_ref().filter(bad) {
        failed.push(Failed {
            text: quote("dmarc", dmarc),
            remedy: None,
        });
    }
    failed
}

fn dkim_remedy(dkim: &MethodResult) -> String {
    match (&dkim.selector, &dkim.domain) {
        (Some(selector), Some(domain)) => format!(
            "ask the mail server's own resolver for TXT `{selector}._domainkey.{}`: the key is missing there or differs, as in an internal zone without the record",
            domain.trim_start_matches('@')
        ),
        _ => "ask the mail server's own resolver for the DKIM key of the sender's domain: an internal zone often lacks it".to_owned(),
    }
}

/// `dkim=permerror (selector brevo1 of example.org: no key)`.
fn quote(method: &str, one: &MethodResult) -> String {
    let mut about = match (&one.selector, &one.domain) {
        (Some(selector), Some(domain)) => format!("selector {selector} of {domain}"),
        (None, Some(domain)) => domain.clone(),
        (Some(selector), None) => format!("selector {selector}"),
        (None, None) => String::new(),
    };
    if let Some(reason) = &one.reason {
        if !about.is_empty() {
            about.push_str(": ");
        }
        about.push_str(reason);
    }
    let about = if about.is_empty() {
        about
    } else {
        format!(" ({about})")
    };
    format!("{method}={}{about}", one.result.name())
}

fn checks(arrival: &Arrival) -> Vec<String> {
    let Some(authentication) = &arrival.authentication else {
        // Nobody whom we believe has checked; whose signature it was tells where to look all the same.
        return arrival
            .signatures
            .iter()
            .filter_map(|one| {
                let (domain, selector) = (one.domain.as_ref()?, one.selector.as_ref()?);
                Some(format!("signed by {domain}, selector {selector}"))
            })
            .collect();
    };
    let mut lines = Vec::new();
    lines.extend(authentication.spf.as_ref().map(|one| quote("spf", one)));
    if authentication.dkim_signatures.is_empty() {
        lines.extend(authentication.dkim.as_ref().map(|one| quote("dkim", one)));
    }
    lines.extend(
        authentication
            .dkim_signatures
            .iter()
            .map(|one| quote("dkim", one)),
    );
    lines.extend(authentication.dmarc.as_ref().map(|one| quote("dmarc", one)));
    lines
}

fn via_backup_mx(evidence: &Evidence) -> Option<Cause> {
    let hops = &evidence.arrival.as_ref()?.hops;
    let at = hops
        .iter()
        .position(|hop| hop.role == Some(Role::BackupMx))?;
    let backup = hops.get(at)?;
    let next = hops.get(at + 1);
    let held = next.and_then(Hop::certain_delay_seconds);
    let name = by(backup);
    let mut summary = format!(
        "the message for `{}` came through the backup MX {name}",
        evidence.to
    );
    if let Some(held) = held {
        summary.push_str(&format!(", which held it for {held:.0} s"));
    }
    let mut cause = Cause::new(
        CauseCode::ViaBackupMx,
        Stage::Await,
        summary,
        "the first MX did not answer when the message came: see its log, and the firewall's, at the stamp of that hop",
    );
    cause.evidence.push(line(backup));
    cause.evidence.extend(next.map(line));
    Some(cause)
}

/// A server that put the message off and took it later, as greylisting does.
fn deferred(took: f64, evidence: &Evidence) -> Option<Cause> {
    let event = evidence.provider.last_deferral()?;
    let said = event.reason.as_deref()?;
    // Without a reply nobody put it off: a connection failed, which the hops tell as well.
    Reply::find(said)?;
    let hint = if said.to_ascii_lowercase().contains("grey") {
        "let the provider's servers pass the greylisting, or raise `late_after` beyond its delay"
    } else {
        "see the mail server's log for why it put the message off"
    };
    let mut cause = Cause::new(
        CauseCode::Deferred,
        Stage::Await,
        format!(
            "the message for `{}` arrived after {took:.1} s, since the receiving server had put it off: {said}",
            evidence.to
        ),
        hint,
    );
    cause.evidence.push(event.quote());
    Some(cause)
}

fn delayed(took: f64, evidence: &Evidence) -> Cause {
    let hops = evidence
        .arrival
        .as_ref()
        .map(|arrival| arrival.hops.as_slice())
        .unwrap_or_default();
    let slowest = hops
        .iter()
        .enumerate()
        .filter_map(|(at, hop)| Some((at, hop, hop.certain_delay_seconds()?)))
        .filter(|(_, _, delay)| *delay >= 1.0)
        .max_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
    let mut summary = format!(
        "the message for `{}` arrived after {took:.1} s, later than `late_after` of {} s",
        evidence.to,
        evidence.limits.late_after.as_secs_f64()
    );
    let Some((at, hop, delay)) = slowest else {
        let hint = if hops.is_empty() {
            "the message could not be read: run again with `--keep`, and look at its Received fields"
        } else {
            "no hop shows the delay: it was spent before the first stamp or between the last one and the mailbox"
        };
        return Cause::new(CauseCode::DelayedOnTheWay, Stage::Await, summary, hint);
    };
    let before = at.checked_sub(1).and_then(|at| hops.get(at));
    let hint = match before {
        Some(before) => {
            summary.push_str(&format!(
                ": {delay:.0} s of it between {} and {}",
                by(before),
                by(hop)
            ));
            let id = before.id.as_deref().unwrap_or("the message id");
            format!(
                "search the log of {} for {id}: a queue that did not move, or a next hop that did not answer",
                by(before)
            )
        }
        None => {
            summary.push_str(&format!(": {delay:.0} s of it before {} took it", by(hop)));
            format!(
                "either the provider held it or {} did not take it at first: see the provider's event log, and the server's log before the stamp",
                by(hop)
            )
        }
    };
    let mut cause = Cause::new(CauseCode::DelayedOnTheWay, Stage::Await, summary, hint);
    cause.evidence.extend(before.map(line));
    cause.evidence.push(line(hop));
    if let Some(deferral) = evidence.provider.last_deferral() {
        cause.evidence.push(deferral.quote());
    }
    cause
}

fn by(hop: &Hop) -> String {
    format!(
        "`{}`",
        hop.by.as_deref().unwrap_or("a server without a name")
    )
}

/// A hop on one line.
fn line(hop: &Hop) -> String {
    let mut text = format!("hop {}", by(hop));
    let from = hop.from.name.as_deref().or(hop.from.helo.as_deref());
    if let Some(from) = from {
        text.push_str(&format!(" from `{from}`"));
    }
    if let Some(address) = hop.from.address {
        text.push_str(&format!(" [{address}]"));
    }
    if let Some(id) = &hop.id {
        text.push_str(&format!(", id {id}"));
    }
    if let Some(at) = hop.at {
        text.push_str(&format!(", at {}", at.format("%Y-%m-%dT%H:%M:%SZ")));
    }
    if let Some(delay) = hop.delay_seconds {
        text.push_str(&format!(", +{delay:.0} s"));
    }
    text
}
