//! What is checked beside the runs: a group of its own in a gateway.

use super::{
    CERTIFICATE_EXPIRY, DNS_RECORDS_DRIFTED, DNS_RECORDS_FAULTY, LAST_CHECK, LISTENER_HANDSHAKE,
    LISTENER_UP, Page, known, unix,
};
use crate::probe::surroundings::Surroundings;

/// What a round of checks says to a gateway, in the text format 0.0.4.
#[must_use]
pub fn encode_surroundings(surroundings: &Surroundings) -> String {
    let page = Page::default();
    add(&page, surroundings);
    page.text()
}

pub(super) fn add(page: &Page, surroundings: &Surroundings) {
    if let Some(at) = surroundings.checked_at {
        page.value(&LAST_CHECK, unix(at));
    }
    let checks = &surroundings.listeners;
    let endpoints = || checks.iter().map(|check| check.listener.as_str());
    let up = checks.iter().map(|check| f64::from(u8::from(check.ok)));
    page.labelled(&LISTENER_UP, "endpoint", endpoints().zip(up));
    let took = checks.iter().map(|check| known(check.handshake_seconds()));
    page.labelled(&LISTENER_HANDSHAKE, "endpoint", endpoints().zip(took));
    let ends: Vec<f64> = checks
        .iter()
        .filter_map(|check| Some(unix(check.certificate.as_ref()?.not_after)))
        .collect();
    // A push replaces the whole metric: with one endpoint unseen it is left as it was.
    if ends.len() == checks.len() {
        page.labelled(&CERTIFICATE_EXPIRY, "endpoint", endpoints().zip(ends));
    }
    let Some(dns) = &surroundings.dns else {
        return;
    };
    let counts = dns.counts();
    let faulty = counts
        .iter()
        .map(|one| (one.kind.name(), known(one.faulty.map(f64::from))));
    page.labelled(&DNS_RECORDS_FAULTY, "record", faulty);
    if dns.is_compared {
        let drifted = counts
            .iter()
            .map(|one| (one.kind.name(), f64::from(one.drifted)));
        page.labelled(&DNS_RECORDS_DRIFTED, "record", drifted);
    }
}
