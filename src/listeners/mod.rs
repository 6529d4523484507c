//! The mail ports: checked as a polite client would use them, up to the point where a message would be handed over.

mod check;
mod languages;
mod lines;
mod opening;

use crate::config::plan::ListenerPlan;
use crate::net::tls::Tls;
use crate::probe::listener::{Fault, ListenerCheck};
use std::sync::Arc;
use std::time::Duration;

/// One check, whatever the server does.
const WHOLE_LIMIT: Duration = Duration::from_secs(45);

/// A mail port, and the certificate that it shows.
struct Listener<'p> {
    plan: &'p ListenerPlan,
    tls: Tls,
}

/// Whether ports are asked the other way as well: a port that demands a PROXY header without one, a stock port with one.
///
/// It costs the server a process each time, and so is for people who look, and not for a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opposite {
    /// Every port.
    All,
    /// Only ports whose config says `opposite_check = true`.
    AsConfigured,
}

/// Checks all of them, side by side; in the order given. No message is sent: where relaying is tried, it ends before
/// DATA.
pub async fn check_all(listeners: &[Arc<ListenerPlan>], opposite: Opposite) -> Vec<ListenerCheck> {
    futures_util::future::join_all(listeners.iter().map(|plan| check_one(plan, opposite))).await
}

async fn check_one(plan: &ListenerPlan, opposite: Opposite) -> ListenerCheck {
    match Tls::new(plan.ca_file.as_deref()) {
        Ok(tls) => check::check(&Listener { plan, tls }, opposite).await,
        Err(error) => ListenerCheck {
            listener: plan.name.clone(),
            ok: false,
            stages: Vec::new(),
            certificate: None,
            error: Some(error.to_string()),
            hint: Some("does `ca_file` name a PEM file that can be read?".to_owned()),
            endpoint: plan.endpoint(),
            fault: Some(Fault::Certificate),
        },
    }
}

#[cfg(test)]
mod tests;
