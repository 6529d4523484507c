//! The config itself: what works and should not be so.

use super::finding::{Finding, Level};
use crate::config::plan::Plan;
use chrono::Utc;

pub(super) fn config_findings(plan: &Plan) -> Vec<Finding> {
    let names: Vec<_> = plan
        .probes
        .iter()
        .map(|probe| probe.name.as_str())
        .collect();
    let source = plan.source.display();
    let mut findings = vec![Finding::new(
        "config",
        Level::Ok,
        format!("{source}: probes {}", names.join(", ")),
    )];
    findings.extend(
        plan.warnings
            .iter()
            .map(|warning| Finding::new("config", Level::Warn, warning.clone())),
    );
    for probe in &plan.probes {
        let gaps = probe.schedule.gaps(Utc::now());
        if let Some(period) = gaps.and_then(|gaps| gaps.shortest.to_std().ok())
            && probe.timeout > period
        {
            findings.push(
                Finding::new(
                    "config",
                    Level::Warn,
                    format!(
                        "probe `{}`: `timeout` ({}) is beyond the period of its schedule ({}): runs can overlap",
                        probe.name,
                        humantime::format_duration(probe.timeout),
                        humantime::format_duration(period)
                    ),
                )
                .hint("shorten `timeout`, or run less often"),
            );
        }
    }
    if plan.sinks.is_empty() {
        findings.push(
            Finding::new(
                "config",
                Level::Warn,
                "there is no [[sink]]: runs are reported on stdout only",
            )
            .hint("add a Pushgateway or Uptime Kuma, so that somebody hears of a failure"),
        );
    }
    findings
}
