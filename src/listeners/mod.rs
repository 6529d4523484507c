//! The mail ports: checked as a polite client would use them, up to the point where a message would be handed over.

mod check;
mod languages;
mod lines;
mod opening;

use crate::config::plan::ListenerPlan;
use crate::net::tls::{Tls, TlsError};
use crate::probe::listener::ListenerCheck;
use std::sync::Arc;
use std::time::Duration;

/// One check, whatever the server does.
const WHOLE_LIMIT: Duration = Duration::from_secs(45);

/// A configured mail port.
#[derive(Debug)]
pub struct Listener {
    plan: Arc<ListenerPlan>,
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

impl Listener {
    /// A listener that is not connected to yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: Arc<ListenerPlan>) -> Result<Self, TlsError> {
        let tls = Tls::new(plan.ca_file.as_deref())?;
        Ok(Self { plan, tls })
    }

    /// All listeners of a plan.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn all(plans: &[Arc<ListenerPlan>]) -> Result<Vec<Self>, TlsError> {
        plans
            .iter()
            .map(|plan| Self::new(Arc::clone(plan)))
            .collect()
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// One check. Sends no message: where relaying is tried, it ends before DATA.
    pub async fn check(&self, opposite: Opposite) -> ListenerCheck {
        check::check(self, opposite).await
    }
}

/// Checks all of them, side by side; in the order given.
pub async fn check_all(listeners: &[Listener], opposite: Opposite) -> Vec<ListenerCheck> {
    futures_util::future::join_all(listeners.iter().map(|one| one.check(opposite))).await
}

#[cfg(test)]
mod tests;
