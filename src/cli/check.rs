//! `mailprobe check`: read the config, contact every part, send nothing, and say what to fix.

mod config;
mod finding;
mod mailbox;
mod sender;
mod sink;

use super::live::Timeline;
use super::output::{self, Colour, coloured};
use super::{Common, USAGE, plan};
use crate::config::plan::{Plan, ProbePlan};
use crate::mailboxes::Mailbox;
use clap::{Args, ValueEnum};
use finding::{Finding, Level};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One question to one part.
const PART_LIMIT: Duration = Duration::from_secs(45);

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
    show(config::config_findings(&plan));
    for (name, sender) in distinct(&plan, |probe| (probe.sender.name(), &probe.sender)) {
        timeline.wait_for(&format!("sender `{name}`"));
        show(sender::check_sender(&format!("sender `{name}`"), &plan, &sender).await);
    }
    for (name, mailbox) in distinct(&plan, |probe| (&probe.mailbox.name, &probe.mailbox)) {
        timeline.wait_for(&format!("mailbox `{name}`"));
        show(mailbox::check_mailbox(&format!("mailbox `{name}`"), Mailbox::new(mailbox)).await);
    }
    for sink in &plan.sinks {
        timeline.wait_for("a sink");
        show(sink::check_sink(&plan, sink).await);
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
