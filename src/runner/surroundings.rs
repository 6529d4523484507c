//! The checks beside the runs: once for all of them, told to the gateways in a group of their own.

use super::Edges;
use crate::config::plan::{DnsPlan, Plan};
use crate::dns::posture;
use crate::listeners::{Opposite, check_all};
use crate::probe::dns_posture::{Finding, Subject};
use crate::probe::report::Push;
use crate::probe::surroundings::{Dns, Surroundings};
use crate::sinks::Sink;
use chrono::Utc;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// All pushes of a round, side by side.
const PUSH_LIMIT: Duration = Duration::from_secs(15);

/// What there is to say about DKIM keys with these names.
pub(super) async fn keys(dns: &DnsPlan, names: &BTreeSet<String>) -> Vec<Finding> {
    if names.is_empty() {
        return Vec::new();
    }
    let subject = Subject {
        selectors: names.clone(),
        ..Subject::default()
    };
    posture(dns, &subject).await
}

/// Checks every listener and the DNS records of a plan, with the keys that messages were signed with. Takes 45 s at the
/// most.
async fn observe(plan: &Plan, edges: &Edges) -> Surroundings {
    let dns = async {
        let dns = plan.dns.as_ref()?;
        let mut subject = plan.dns_subject();
        let seen = edges.seen_keys().into_iter();
        subject.selectors.extend(seen.flat_map(|keys| keys.names));
        Some(Dns {
            findings: posture(dns, &subject).await,
            is_compared: dns.compare_with.is_some(),
        })
    };
    let (listeners, dns) = tokio::join!(check_all(&plan.listeners, Opposite::AsConfigured), dns);
    Surroundings {
        checked_at: Some(Utc::now()),
        listeners,
        dns,
    }
}

/// One round: checks, lets the runs of these edges know, and tells the sinks where `push` says so. Runs that are under
/// way at the same time have it among their evidence.
///
/// To be called once an invocation, or once every `listener_interval`; does nothing where the plan has neither listeners
/// nor `[dns]`. Takes a minute at the most; dropping it is safe.
pub async fn round(plan: &Plan, edges: &Edges, push: bool) -> Arc<Surroundings> {
    if plan.listeners.is_empty() && plan.dns.is_none() {
        return Arc::default();
    }
    let found = Arc::new(observe(plan, edges).await);
    edges.set_surroundings(&found);
    for check in found.listeners.iter().filter(|check| !check.ok) {
        tracing::warn!(hint = check.hint, "{}", check.sentence());
    }
    for warning in found.warnings() {
        tracing::warn!(hint = warning.hint, "{}", warning.summary);
    }
    if push {
        tell(edges.sinks(), &found).await;
    }
    found
}

/// What the runs found out about keys since the round was made is told too, where it is not as it should be.
///
/// To be called when the runs of an invocation are over. Takes 15 s at the most; dropping it is safe.
pub async fn amend(edges: &Edges, found: &Surroundings) {
    let seen = edges.seen_keys();
    let news = seen.iter().flat_map(|keys| &keys.findings);
    let whole = found.with_keys(news.filter(|one| one.fault.is_some()));
    if whole != *found {
        tell(edges.sinks(), &whole).await;
    }
}

async fn tell(sinks: &[Arc<Sink>], found: &Surroundings) {
    for push in push(sinks, found).await {
        if let Some(error) = push.error {
            tracing::warn!(
                sink = push.sink,
                hint = push.hint,
                "the state of listeners and DNS was not taken: {error}"
            );
        }
    }
}

async fn push(sinks: &[Arc<Sink>], found: &Surroundings) -> Vec<Push> {
    let pushes = sinks
        .iter()
        .map(|sink| sink.push_surroundings(found, PUSH_LIMIT));
    let pushes = futures_util::future::join_all(pushes).await;
    pushes.into_iter().flatten().collect()
}
