//! The config itself: what works and should not be so.

use super::finding::{Finding, Level};
use crate::config::plan::Plan;
use crate::probe::budget;
use chrono::Utc;

const CONFIG: &str = "config";

pub(super) fn check(plan: &Plan) -> Vec<Finding> {
    let names: Vec<_> = plan
        .probes
        .iter()
        .map(|probe| probe.name.as_str())
        .collect();
    let source = plan.source.display();
    let ok = |summary| Finding::new(CONFIG, Level::Ok, summary);
    let mut findings = vec![ok(format!("{source}: probes {}", names.join(", ")))];
    let secrets: Vec<String> = plan.secrets.iter().map(ToString::to_string).collect();
    if !secrets.is_empty() {
        findings.push(ok(format!("secrets read from {}", secrets.join(", "))));
    }
    let warnings = plan.warnings.iter();
    findings.extend(warnings.map(|warning| Finding::new(CONFIG, Level::Warn, warning.clone())));
    findings.extend(overlaps(plan));
    if plan.sinks.is_empty() {
        findings.push(
            Finding::new(
                CONFIG,
                Level::Warn,
                "there is no [[sink]]: runs are reported on stdout only",
            )
            .hint("add a Pushgateway or Uptime Kuma, so that somebody hears of a failure"),
        );
    }
    findings
}

fn overlaps(plan: &Plan) -> impl Iterator<Item = Finding> {
    plan.probes.iter().filter_map(|probe| {
        let period = budget::overlap(&probe.schedule, probe.timeout, Utc::now())?;
        let summary = format!(
            "probe `{}`: `timeout` ({}) is beyond the period of its schedule ({}): runs can overlap",
            probe.name,
            humantime::format_duration(probe.timeout),
            humantime::format_duration(period.to_std().unwrap_or_default()),
        );
        let finding = Finding::new(CONFIG, Level::Warn, summary);
        Some(finding.hint("shorten `timeout`, or run less often"))
    })
}
