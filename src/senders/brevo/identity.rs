//! Whether the account may send from its address: a message from another is taken and dropped in silence.

use super::{Brevo, answers};
use crate::probe::verdict::Cause;
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// What the account knows of the address that messages are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whether the address is a sender of the account that was verified; none where it is no sender of it.
    pub sender: Option<bool>,
    /// Whether its domain was authenticated, so that Brevo signs for it; none where the account does not have it.
    pub domain: Option<bool>,
}

#[derive(Deserialize)]
struct Senders {
    #[serde(default)]
    senders: Vec<SenderBody>,
}

#[derive(Deserialize)]
struct SenderBody {
    email: Option<String>,
    active: Option<bool>,
}

#[derive(Deserialize)]
struct Domains {
    #[serde(default)]
    domains: Vec<DomainBody>,
}

#[derive(Deserialize)]
struct DomainBody {
    domain_name: Option<String>,
    authenticated: Option<bool>,
}

/// Asks for senders, then for domains (developers.brevo.com, references of `senders` and `senders/domains`).
pub(super) async fn of(brevo: &Brevo, limit: Duration) -> Result<Identity, Cause> {
    let end = Instant::now() + limit;
    let from = &brevo.plan.from;
    let senders: Senders = list(brevo, &["senders"], end).await?;
    let domains: Domains = list(brevo, &["senders", "domains"], end).await?;
    let is = |name: &Option<String>, wanted: &str| {
        name.as_ref()
            .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
    };
    let sender = senders.senders.iter().find(|one| is(&one.email, from));
    let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain);
    let domain = domains
        .domains
        .iter()
        .find(|one| is(&one.domain_name, domain));
    Ok(Identity {
        sender: sender.map(|one| one.active.unwrap_or(false)),
        domain: domain.map(|one| one.authenticated.unwrap_or(false)),
    })
}

async fn list<T: serde::de::DeserializeOwned>(
    brevo: &Brevo,
    path: &[&str],
    end: Instant,
) -> Result<T, Cause> {
    let left = end.saturating_duration_since(Instant::now());
    let answer = brevo.ask(Method::GET, path, &[], left).await?;
    let nonsense = || brevo.classifier(answers::ASK).of_nonsense(&answer).cause;
    answer.json::<T>().ok_or_else(nonsense)
}
