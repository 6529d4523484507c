//! The checks beside the runs: once for all of them, told to the gateways in a group of their own.

use super::Edges;
use crate::config::plan::Plan;
use crate::dns::posture;
use crate::listeners::{Opposite, check_all};
use crate::probe::report::Push;
use crate::probe::surroundings::{Dns, Surroundings};
use crate::sinks::Sink;
use std::sync::Arc;
use std::time::Duration;

/// All pushes of a round, side by side.
const PUSH_LIMIT: Duration = Duration::from_secs(15);

/// Checks every listener and the DNS records of a plan. Takes 45 s at the most.
pub async fn observe(plan: &Plan) -> Surroundings {
    let dns = async {
        let dns = plan.dns.as_ref()?;
        Some(Dns {
            findings: posture(dns, &plan.dns_subject()).await,
            is_compared: dns.compare_with.is_some(),
        })
    };
    let (listeners, dns) = tokio::join!(check_all(&plan.listeners, Opposite::AsConfigured), dns);
    Surroundings { listeners, dns }
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
    let found = Arc::new(observe(plan).await);
    edges.set_surroundings(&found);
    for check in found.listeners.iter().filter(|check| !check.ok) {
        tracing::warn!(hint = check.hint, "{}", check.sentence());
    }
    for warning in found.warnings() {
        tracing::warn!(hint = warning.hint, "{}", warning.summary);
    }
    if push {
        for push in tell(edges.sinks(), &found).await {
            if let Some(error) = push.error {
                tracing::warn!(
                    sink = push.sink,
                    hint = push.hint,
                    "the state of listeners and DNS was not taken: {error}"
                );
            }
        }
    }
    found
}

async fn tell(sinks: &[Arc<Sink>], found: &Surroundings) -> Vec<Push> {
    let pushes = sinks
        .iter()
        .map(|sink| sink.push_surroundings(found, PUSH_LIMIT));
    let pushes = futures_util::future::join_all(pushes).await;
    pushes.into_iter().flatten().collect()
}
