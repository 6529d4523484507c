//! What the program uses of `[dns]`, and which records a plan depends on.

use super::{Plan, SenderPlan};
use crate::probe::dns_posture::{SenderDomain, Subject};
use std::net::SocketAddr;

/// Whom to ask for the records that mail depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPlan {
    /// Whom to ask.
    pub resolver: Resolver,
    /// Whose answers to hold them against.
    pub compare_with: Option<SocketAddr>,
    /// DKIM selectors whose keys must be there.
    pub dkim_selectors: Vec<String>,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// Whom this machine asks: `/etc/resolv.conf`.
    System,
    /// This server.
    Server(SocketAddr),
}

impl Plan {
    /// The records that this plan's probes depend on.
    #[must_use]
    pub fn dns_subject(&self) -> Subject {
        let selectors = self.dns.iter().flat_map(|dns| dns.dkim_selectors.clone());
        Subject {
            recipients: self
                .probes
                .iter()
                .filter_map(|one| domain(&one.to))
                .collect(),
            senders: self
                .probes
                .iter()
                .filter_map(|one| sender(&one.sender))
                .collect(),
            selectors: selectors.collect(),
            path: self.path.as_ref().clone(),
        }
    }
}

fn sender(plan: &SenderPlan) -> Option<SenderDomain> {
    let (from, includes): (_, &[&str]) = match plan {
        // The second is what the first was called until 2023.
        SenderPlan::Brevo(brevo) => (&brevo.from, &["spf.brevo.com", "spf.sendinblue.com"]),
        SenderPlan::Smtp(smtp) => (&smtp.from, &[]),
        // Their envelope senders are in domains of their own, or in one that `from` need not be in.
        SenderPlan::Api(api) => (&api.from, &[]),
    };
    Some(SenderDomain {
        domain: domain(from)?,
        spf_includes: includes.iter().map(|name| (*name).to_owned()).collect(),
    })
}

fn domain(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    // An address literal has no records.
    (!domain.starts_with('[')).then(|| domain.to_ascii_lowercase())
}
