//! What is not of one probe: listeners and their certificates.

use super::{AHEAD, CERTIFICATE_DAYS, Rule, RuleOptions, certificate_expiring, selector};
use crate::config::plan::Plan;
use crate::generate::timing::{OVERRUN, Timing, site_labels};
use crate::generate::yaml::{Node, map};
use crate::metrics::{CERTIFICATE_EXPIRY, LAST_CHECK, LISTENER_UP};
use std::time::Duration;

pub(super) fn endpoints(plan: &Plan, options: &RuleOptions) -> Node {
    let labels = site_labels(plan);
    let of_site = selector(&labels);
    let names: Vec<&str> = ["endpoint"]
        .into_iter()
        .chain(labels.iter().map(|(name, _)| name.as_str()))
        .collect();
    let by = format!("by ({})", names.join(", "));
    let checks_apart = plan
        .probes
        .iter()
        .map(|probe| Timing::new(probe).longest)
        .min()
        .unwrap_or_default()
        .max(plan.serve.listener_interval);
    let last = format!("max({LAST_CHECK}{{{of_site}}})");
    let oldest = (checks_apart + OVERRUN + Duration::from_secs(120)).as_secs();
    let down = format!("max {by} ({LISTENER_UP}{{{of_site}}})");
    let mut trouble = format!("{down} == 0");
    let mut rules = Vec::new();
    if !plan.listeners.is_empty() {
        // Their last state stays in the gateway, and on the page of `serve`, also where nobody checks them any more.
        // A check with a clock far ahead tells nothing of when it was.
        trouble += &format!(
            "\nor\n{down}\nand on () (time() - {last} > {oldest} or {last} - time() > {AHEAD})"
        );
        // Those of probes have the label `probe`, and rules of their own.
        let mut labels = labels.clone();
        labels.push(("probe".to_owned(), String::new()));
        rules.push(certificate_expiring(
            format!(
                "min {by} ({CERTIFICATE_EXPIRY}{{{}}}) - time() < {}\nand on () time() - {last} < {oldest}",
                selector(&labels),
                CERTIFICATE_DAYS * 24 * 60 * 60
            ),
            "",
        ));
    }
    rules.push(Rule {
        alert: "MailListenerDown",
        expr: trouble,
        // The next check has to say so too.
        wait: Some(checks_apart + OVERRUN + Duration::from_secs(60)),
        severity: "critical",
        summary: "the mail port {{ $labels.endpoint }} does not answer as it should, or is not checked any more".to_owned(),
        description: "Two checks in a row failed (connection, PROXY header, greeting or TLS), or none reported. `mailprobe check --listeners` says which.".to_owned(),
    });
    let rules: Vec<Node> = rules
        .into_iter()
        .map(|rule| rule.node(&options.runbook, None))
        .collect();
    map([
        ("name", "mailprobe-endpoints".into()),
        ("rules", rules.into()),
    ])
}
