//! `mailprobe check`: read the config, contact every part, send nothing, and say what to fix.

use super::live::Timeline;
use super::output::{self, Colour, coloured};
use super::{Common, USAGE, plan};
use crate::config::plan::{Plan, ProbePlan, SenderPlan, SinkPlan};
use crate::mailboxes::Mailbox;
use crate::probe::verdict::Cause;
use crate::senders::Sender;
use crate::sinks::Sink;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One question to one part.
const PART_LIMIT: Duration = Duration::from_secs(45);
/// A certificate that ends sooner should have been renewed.
const RENEWED_BEFORE: TimeDelta = TimeDelta::days(14);

/// Read the config, contact every part, send nothing; say what to fix
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing to fix (warnings aside) · 1 something fails · 2 wrong usage or config

Examples:
  mailprobe check
  mailprobe check external
  mailprobe check --output json | jq 'select(.level != \"ok\")'"
)]
pub(super) struct Arguments {
    /// Which probes [default: all]
    #[arg(value_name = "PROBE")]
    probes: Vec<String>,
    /// What stdout gets: lines for people, or one JSON object a finding
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    part: String,
    level: Level,
    summary: String,
    hint: Option<String>,
    evidence: Vec<String>,
}

impl Finding {
    fn new(part: &str, level: Level, summary: impl Into<String>) -> Self {
        Self {
            part: part.to_owned(),
            level,
            summary: summary.into(),
            hint: None,
            evidence: Vec::new(),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn of_cause(part: &str, cause: Cause) -> Self {
        Self {
            evidence: cause.evidence,
            ..Self::new(part, Level::Fail, cause.summary).hint(cause.hint)
        }
    }
}

/// Carries the command out; the exit code.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> u8 {
    let plan = match plan(common, &arguments.probes) {
        Ok(plan) => plan,
        Err(error) => {
            output::error(&error.to_string());
            return USAGE;
        }
    };
    let timeline = Timeline::new(false);
    let mut worst = false;
    let mut show = |findings: Vec<Finding>| {
        timeline.end();
        for finding in findings {
            worst |= finding.level == Level::Fail;
            print(arguments.output, &finding);
        }
    };
    let ticker = timeline.tick();
    show(config_findings(&plan));
    for (name, sender) in distinct(&plan, |probe| (probe.sender.name(), &probe.sender)) {
        timeline.wait_for(&format!("sender `{name}`"));
        show(check_sender(&format!("sender `{name}`"), &plan, &sender).await);
    }
    for (name, mailbox) in distinct(&plan, |probe| (&probe.mailbox.name, &probe.mailbox)) {
        timeline.wait_for(&format!("mailbox `{name}`"));
        show(check_mailbox(&format!("mailbox `{name}`"), Mailbox::new(mailbox)).await);
    }
    for sink in &plan.sinks {
        timeline.wait_for("a sink");
        show(check_sink(&plan, sink).await);
    }
    drop(ticker);
    timeline.end();
    u8::from(worst)
}

/// The parts that probes share, each once.
fn distinct<'p, T: 'p>(
    plan: &'p Plan,
    part: impl Fn(&'p ProbePlan) -> (&'p str, &'p Arc<T>),
) -> BTreeMap<&'p str, Arc<T>> {
    plan.probes
        .iter()
        .map(|probe| part(probe))
        .map(|(name, part)| (name, Arc::clone(part)))
        .collect()
}

fn print(format: Format, finding: &Finding) {
    if format == Format::Json {
        let json = serde_json::to_string(finding);
        return output::line(&json.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
    }
    let level = match finding.level {
        Level::Ok => coloured("ok  ", Colour::Green),
        Level::Warn => coloured("warn", Colour::Yellow),
        Level::Fail => coloured("fail", Colour::Red),
    };
    output::line(&format!("{level}  {}: {}", finding.part, finding.summary));
    for evidence in &finding.evidence {
        output::line(&format!("        evidence: {evidence}"));
    }
    if let Some(hint) = &finding.hint {
        output::line(&format!("        hint: {hint}"));
    }
}

fn config_findings(plan: &Plan) -> Vec<Finding> {
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

async fn check_sender(part: &str, plan: &Plan, sender: &SenderPlan) -> Vec<Finding> {
    let made = match Sender::new(sender) {
        Ok(made) => made,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = match &made {
        Sender::Brevo(brevo) => match brevo.account(PART_LIMIT).await {
            Err(cause) => vec![Finding::of_cause(part, cause)],
            Ok(account) => {
                let credits = account
                    .credits
                    .map_or("unknown".to_owned(), |credits| credits.to_string());
                let summary = format!(
                    "{} takes the key; plan {}, {credits} messages left",
                    brevo.endpoint(),
                    account.plan
                );
                let mut findings = vec![Finding::new(part, Level::Ok, summary)];
                if account.relay_enabled == Some(false) {
                    findings.push(
                        Finding::new(
                            part,
                            Level::Fail,
                            "transactional mail is switched off for this account",
                        )
                        .hint("have Brevo's support activate it"),
                    );
                }
                if account.credits.is_some_and(|credits| credits < 1.0) {
                    findings.push(
                        Finding::new(part, Level::Fail, "the account has no messages left")
                            .hint("the free plan's 300 a day are shared with all other mail of the account"),
                    );
                }
                findings
            }
        },
    };
    findings.extend(budget(part, plan, sender));
    findings.extend(certificate(part, made.certificate_expiry()));
    findings
}

/// Holds what the schedules send in a day against what the account may.
fn budget(part: &str, plan: &Plan, sender: &SenderPlan) -> Option<Finding> {
    let SenderPlan::Brevo(brevo) = sender;
    let limit = brevo.daily_limit?;
    let now = Utc::now();
    let end = now + TimeDelta::days(1);
    let of_this = plan
        .probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name());
    let runs: usize = of_this
        .map(|probe| {
            let fires = std::iter::successors(probe.schedule.next_after(now), |at| {
                probe.schedule.next_after(*at)
            });
            fires.take_while(|at| *at < end).count()
        })
        .sum();
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    Some(if runs > limit {
        Finding::new(
            part,
            Level::Warn,
            format!("the schedules send {runs} messages a day, `daily_limit` is {limit}"),
        )
        .hint("run less often; other mail of the account needs some of it, too")
    } else {
        Finding::new(
            part,
            Level::Ok,
            format!("the schedules send {runs} of `daily_limit` {limit} messages a day"),
        )
    })
}

async fn check_mailbox(
    part: &str,
    made: Result<Mailbox, crate::net::tls::TlsError>,
) -> Vec<Finding> {
    let mailbox = match made {
        Ok(mailbox) => mailbox,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = Vec::new();
    match mailbox.open(PART_LIMIT).await {
        Err(failure) => findings.push(Finding::of_cause(part, failure.cause)),
        Ok(folders) => {
            let names = folders.names().join(", ");
            findings.push(Finding::new(
                part,
                Level::Ok,
                format!("logged in; watches {names}"),
            ));
            if folders.junk().is_none() {
                findings.push(
                    Finding::new(
                        part,
                        Level::Warn,
                        "no junk folder is watched: a message filed as spam is missing, not junked",
                    )
                    .hint("name it with `junk = \"…\"`"),
                );
            }
            findings.push(match folders.deletion() {
                Some(way) => {
                    Finding::new(part, Level::Ok, format!("messages are deleted by {way}"))
                }
                None => Finding::new(
                    part,
                    Level::Warn,
                    "the server offers neither UIDPLUS, nor MOVE and a trash folder: messages stay",
                )
                .hint("have messages from the probe deleted by a rule of the server after a day"),
            });
            folders.close().await;
        }
    }
    findings.extend(certificate(part, mailbox.certificate_expiry()));
    findings
}

fn certificate(part: &str, expiry: Option<DateTime<Utc>>) -> Option<Finding> {
    let expiry = expiry?;
    let left = expiry - Utc::now();
    let day = expiry.format("%Y-%m-%d");
    Some(if left < TimeDelta::zero() {
        // Said already, by the failure that it is.
        return None;
    } else if left < RENEWED_BEFORE {
        Finding::new(
            part,
            Level::Warn,
            format!("the certificate ends on {day}, in {} days", left.num_days()),
        )
        .hint("renew it, and reload the server")
    } else {
        Finding::new(
            part,
            Level::Ok,
            format!("the certificate is valid until {day}"),
        )
    })
}

async fn check_sink(plan: &Plan, sink: &SinkPlan) -> Vec<Finding> {
    let made = match Sink::new(sink) {
        Ok(made) => made,
        Err(error) => return vec![Finding::new("sink", Level::Fail, error.to_string())],
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
            let mut findings = vec![match kuma.is_reachable(PART_LIMIT).await {
                Ok(()) => Finding::new(
                    &part,
                    Level::Ok,
                    "answers; whether the token is right shows with the first push",
                ),
                Err(error) => Finding::new(&part, Level::Fail, error)
                    .hint("is it up, and does this machine get there?"),
            }];
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

/// What the monitor's heartbeat interval has to be: a run may begin a period after the last and wait for its timeout.
fn interval(part: &str, probe: &ProbePlan) -> Option<Finding> {
    let period = probe.schedule.gaps(Utc::now())?.longest.to_std().ok()?;
    let interval = period + probe.timeout + Duration::from_secs(60);
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
