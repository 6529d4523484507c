//! What is not of one probe: listeners and their certificates.

use super::{AHEAD, CERTIFICATE_DAYS, Rule, RuleOptions, Streak, certificate_expiring, selector};
use crate::config::plan::Plan;
use crate::generate::quoting::promql;
use crate::generate::timing::{OVERRUN, Timing, prometheus, site_labels};
use crate::generate::yaml::{Node, map};
use crate::metrics::{CERTIFICATE_EXPIRY, LAST_CHECK, LAST_RUN, LISTENER_UP};
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
    let fresh = (checks_apart + OVERRUN + Duration::from_secs(120)).as_secs();
    let up = format!("{LISTENER_UP}{{{of_site}}}");
    let check = format!("{LAST_CHECK}{{{of_site}}}");
    let mut rules = Vec::new();
    if !plan.listeners.is_empty() {
        // Those of probes have the label `probe`, and rules of their own.
        let mut labels = labels.clone();
        labels.push(("probe".to_owned(), String::new()));
        rules.push(certificate_expiring(
            format!(
                "min {by} (
  {CERTIFICATE_EXPIRY}{{{}}} and ignoring (endpoint) time() - {check} < {fresh}
) - time() < {}",
                selector(&labels),
                CERTIFICATE_DAYS * 24 * 60 * 60
            ),
            "",
        ));
        rules.push(unchecked(plan, &of_site, &format!("max {by} ({up})")));
    }
    // When each port was checked, and 0 where it was then otherwise.
    let at = |is: &str| format!("max {by} ({is} * ignoring (endpoint) group_left () {check})");
    let (failed, good) = (at(&format!("(1 - {up})")), at(&up));
    let window = checks_apart * 3 + OVERRUN;
    let step = Duration::from_secs(60).max(window / 2000);
    let down = Streak {
        failed: format!("{failed}\n      > {good}"),
        good: format!("{good}\n        >= {failed}"),
        zero: format!("max {by} ({up} @ end()) * 0"),
        window: format!("{}:{}", prometheus(window), prometheus(step)),
    };
    rules.push(Rule {
        alert: "MailListenerDown",
        expr: down.in_a_row(2),
        wait: None,
        severity: "critical",
        summary: "the mail port {{ $labels.endpoint }} does not answer as it should".to_owned(),
        description: "Two checks in a row failed (connection, PROXY header, greeting or TLS). `mailprobe check --listeners` says which.".to_owned(),
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

/// The last state of a port stays in the gateway, and on the page of `serve`, also where nobody checks it any more.
///
/// That the probes go on is told from a run that ended long after the last check, which the time alone does not tell: a
/// dead probe is `MailProbeStale`. Not to look is no outage, so it pages nobody.
fn unchecked(plan: &Plan, of_site: &str, up: &str) -> Rule<'static> {
    let timings: Vec<Timing> = plan.probes.iter().map(|probe| Timing::new(probe)).collect();
    let interval = plan.serve.listener_interval;
    // A round is made beside each invocation's runs, or by `serve` at its own pace.
    let runs = timings.iter().map(|timing| timing.run).max();
    let apart = timings.iter().map(|timing| timing.shortest).min();
    let longest = interval.max(runs.unwrap_or_default()) + OVERRUN + Duration::from_secs(120);
    let names: Vec<String> = plan
        .probes
        .iter()
        .map(|probe| probe.name.replace('.', "\\."))
        .collect();
    let mut labels = vec![format!("probe=~{}", promql(&names.join("|")))];
    labels.extend((!of_site.is_empty()).then(|| of_site.to_owned()));
    let run = format!("max({LAST_RUN}{{{}}})", labels.join(","));
    let check = format!("max({LAST_CHECK}{{{of_site}}})");
    Rule {
        alert: "MailListenerDown",
        // A check with a clock far ahead tells nothing of when it was.
        expr: format!(
            "{up}
and on () (
  {run} - {check} > {}
  or
  {check} > time() + {AHEAD}
  and {run} <= time() + {AHEAD}
)",
            longest.as_secs()
        ),
        // The next round has to be missing too.
        wait: Some(interval.max(apart.unwrap_or_default()) + Duration::from_secs(120)),
        severity: "warning",
        summary: "the mail port {{ $labels.endpoint }} is not checked any more".to_owned(),
        description: "The probes go on, and no check of the mail ports reports. `mailprobe check --listeners` makes one now.".to_owned(),
    }
}
