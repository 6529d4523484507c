//! `mailprobe check`: read the config, contact every part, send nothing, and say what to fix.

mod config;
mod dns;
mod finding;
mod listeners;
mod mailbox;
mod sender;
mod sink;

use super::live::Timeline;
use super::output::{self, Colour, Line};
use super::{Common, Format, USAGE, plan, plan_without_secrets};
use crate::config::plan::{Plan, ProbePlan};
use clap::Args;
use finding::{Finding, Level};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One question to one part.
const PART_LIMIT: Duration = Duration::from_secs(45);

/// Read the config, contact every part, send nothing; say what to fix
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing to fix (warnings aside) · 1 something fails · 2 wrong usage or config, or output that cannot be written

Examples:
  mailprobe check
  mailprobe check external
  mailprobe check --write
  mailprobe check --listeners --output json
  mailprobe check --output json | jq 'select(.level != \"ok\")'"
)]
pub(super) struct Arguments {
    /// Which probes [default: all]
    #[arg(value_name = "PROBE")]
    probes: Vec<String>,
    /// What stdout gets: lines for people, or one JSON object a finding
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Also take steps that change something: a message stored and deleted, a test push to Uptime Kuma
    #[arg(long)]
    write: bool,
    /// Check the mail ports only; needs no secrets
    #[arg(long, conflicts_with_all = ["probes", "write"])]
    listeners: bool,
}

/// Carries the command out; the exit code.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> u8 {
    let plan = if arguments.listeners {
        // No port asks for a secret, so none has to be there.
        plan_without_secrets(common)
    } else {
        plan(common, &arguments.probes)
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            output::error(&error.to_string());
            return USAGE;
        }
    };
    if !arguments.listeners {
        return u8::from(!all(arguments, &plan).await);
    }
    if plan.listeners.is_empty() {
        let source = plan.source.display();
        output::error(&format!(
            "error: {source}: there is no [[listener]] to check"
        ));
        return USAGE;
    }
    u8::from(!listeners::alone(arguments.output, &plan.listeners).await)
}

type Work<'p> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'p>>;

/// Every part side by side, shown in the order of the config; whether nothing fails.
async fn all(arguments: &Arguments, plan: &Plan) -> bool {
    let mut parts: Vec<(String, Work<'_>)> = Vec::new();
    for (name, sender) in distinct(plan, |probe| (probe.sender.name(), &probe.sender)) {
        let part = format!("sender `{name}`");
        let work = sender::check(part.clone(), plan, sender);
        parts.push((part, Box::pin(work)));
    }
    for (name, mailbox) in distinct(plan, |probe| (&probe.mailbox.name, &probe.mailbox)) {
        let part = format!("mailbox `{name}`");
        let work = mailbox::check(part.clone(), mailbox, arguments.write);
        parts.push((part, Box::pin(work)));
    }
    for sink in &plan.sinks {
        parts.push((
            "a sink".to_owned(),
            Box::pin(sink::check(plan, sink, arguments.write)),
        ));
    }
    if !plan.listeners.is_empty() {
        let work = listeners::check(&plan.listeners);
        parts.push(("the listeners".to_owned(), Box::pin(work)));
    }
    if let Some(dns) = &plan.dns {
        let work = dns::check(plan, dns);
        parts.push(("DNS".to_owned(), Box::pin(work)));
    }
    let timeline = Timeline::new(false);
    let ticker = timeline.tick();
    let mut is_well = true;
    let mut show = |findings: Vec<Finding>| {
        timeline.end();
        for finding in findings {
            is_well &= finding.level != Level::Fail;
            print(arguments.output, &finding);
        }
    };
    show(config::check(plan));
    let (names, work): (Vec<String>, Vec<Work<'_>>) = parts.into_iter().unzip();
    let mut work: FuturesOrdered<Work<'_>> = work.into_iter().collect();
    for name in names {
        timeline.wait_for(&name);
        show(work.next().await.unwrap_or_default());
    }
    drop(ticker);
    timeline.end();
    is_well
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
        return output::json(finding);
    }
    let (level, colour) = match finding.level {
        Level::Ok => ("ok  ", Colour::Green),
        Level::Warn => ("warn", Colour::Yellow),
        Level::Fail => ("fail", Colour::Red),
    };
    let said = format!("  {}: {}", finding.part, finding.summary);
    output::line(Line::default().coloured(level, colour).plain(&said));
    for evidence in &finding.evidence {
        output::line(format!("        evidence: {evidence}"));
    }
    if let Some(hint) = &finding.hint {
        output::line(format!("        hint: {hint}"));
    }
}
