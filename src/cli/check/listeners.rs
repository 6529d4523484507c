//! The mail ports.

use super::finding::{Finding, Level, certificate};
use super::{Format, print};
use crate::cli::output;
use crate::config::plan::ListenerPlan;
use crate::listeners::{Opposite, check_all};
use crate::probe::listener::ListenerCheck;
use std::sync::Arc;

/// `check --listeners`: one line each; whether all are well.
pub(super) async fn alone(format: Format, listeners: &[Arc<ListenerPlan>]) -> bool {
    let checks = check_all(listeners, Opposite::All).await;
    for check in &checks {
        match format {
            Format::Json => output::json(check),
            Format::Text => findings(check)
                .iter()
                .for_each(|finding| print(format, finding)),
        }
    }
    checks.iter().all(|check| check.ok)
}

/// The same as findings among others.
pub(super) async fn check(listeners: &[Arc<ListenerPlan>]) -> Vec<Finding> {
    let checks = check_all(listeners, Opposite::All).await;
    checks.iter().flat_map(findings).collect()
}

fn findings(check: &ListenerCheck) -> Vec<Finding> {
    let part = format!("listener `{}`", check.listener);
    let endpoint = &check.endpoint;
    let Some(error) = &check.error else {
        let took = check.handshake_seconds().unwrap_or_default();
        let summary = format!("{endpoint} answers as it should, in {took:.3} s");
        let mut findings = vec![Finding::new(&part, Level::Ok, summary)];
        let end = check.certificate.as_ref().map(|shown| shown.not_after);
        findings.extend(certificate(&part, end));
        return findings;
    };
    let mut finding = Finding::new(&part, Level::Fail, format!("{endpoint} {error}"));
    finding.hint.clone_from(&check.hint);
    if let Some(shown) = &check.certificate
        && !shown.valid
    {
        finding.evidence = vec![
            format!("names in the certificate: {}", shown.names.join(", ")),
            format!(
                "valid from {} until {}, issued by {}",
                shown.not_before.format("%Y-%m-%d"),
                shown.not_after.format("%Y-%m-%d"),
                shown.issuer
            ),
        ];
    }
    vec![finding]
}
