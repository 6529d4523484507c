//! Sinks: do they answer, and does something in them keep our reports out?

use super::PART_LIMIT;
use super::finding::{Finding, Level};
use crate::config::plan::{Plan, ProbePlan, SinkPlan};
use crate::probe::budget;
use crate::sinks::Sink;
use crate::sinks::uptime_kuma::UptimeKuma;
use chrono::Utc;

pub(super) async fn check(plan: &Plan, sink: &SinkPlan, writes: bool) -> Vec<Finding> {
    let made = match Sink::new(sink) {
        Ok(made) => made,
        Err(error) => {
            let kind = match sink {
                SinkPlan::Pushgateway(_) => "pushgateway",
                SinkPlan::UptimeKuma(_) => "uptime_kuma",
            };
            let part = format!("sink `{kind}`");
            return vec![Finding::new(&part, Level::Fail, error.to_string())];
        }
    };
    let part = made.name().to_owned();
    match (&made, sink) {
        (Sink::Pushgateway(gateway), _) => {
            let probes: Vec<&str> = plan.all_probes.iter().map(String::as_str).collect();
            match gateway.left_overs(Some(&probes), PART_LIMIT).await {
                Err(error) => {
                    vec![Finding::new(&part, Level::Fail, error).hint(
                        "is it up, does this machine get there, and are its credentials right?",
                    )]
                }
                Ok(left_overs) => {
                    let mut findings = vec![Finding::new(&part, Level::Ok, "answers")];
                    findings.extend(left_overs.into_iter().map(|one| {
                        let labels: Vec<_> = one
                            .labels
                            .iter()
                            .map(|(name, value)| format!("{name}=\"{value}\""))
                            .collect();
                        let level = if one.keeps_out {
                            Level::Fail
                        } else {
                            Level::Warn
                        };
                        Finding::new(
                            &part,
                            level,
                            format!("group {{{}}} {}", labels.join(", "), one.reason),
                        )
                        .hint(format!("delete it: {}", one.delete))
                    }));
                    findings
                }
            }
        }
        (Sink::UptimeKuma(kuma), SinkPlan::UptimeKuma(kuma_plan)) => {
            let mut findings = vec![of_kuma(&part, kuma, writes).await];
            let probe = plan
                .probes
                .iter()
                .find(|probe| probe.name == kuma_plan.probe);
            findings.extend(probe.and_then(|probe| interval(&part, probe)));
            findings
        }
        (Sink::UptimeKuma(_), SinkPlan::Pushgateway(_)) => Vec::new(),
    }
}

async fn of_kuma(part: &str, kuma: &UptimeKuma, writes: bool) -> Finding {
    if writes {
        let push = kuma.push_test(PART_LIMIT).await;
        return match (push.error, push.hint) {
            (None, _) => Finding::new(part, Level::Ok, "took a test push"),
            (Some(error), hint) => {
                Finding::new(part, Level::Fail, error).hint(hint.unwrap_or_default())
            }
        };
    }
    match kuma.is_reachable(PART_LIMIT).await {
        Ok(()) => Finding::new(
            part,
            Level::Ok,
            "answers; whether the token is right shows with the first push, or with --write",
        ),
        Err(error) => Finding::new(part, Level::Fail, error)
            .hint("is it up, and does this machine get there?"),
    }
}

/// What the monitor's heartbeat interval has to be.
fn interval(part: &str, probe: &ProbePlan) -> Option<Finding> {
    let now = Utc::now();
    let interval = budget::heartbeat_interval(&probe.schedule, probe.timeout, now)?;
    let period = probe.schedule.gaps(now)?.longest.to_std().ok()?;
    Some(Finding::new(
        part,
        Level::Ok,
        format!(
            "set the monitor's heartbeat interval to {} s or more: period {} + timeout {} + 1m",
            interval.as_secs(),
            humantime::format_duration(period),
            humantime::format_duration(probe.timeout)
        ),
    ))
}
