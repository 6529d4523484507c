//! `mailprobe run`: one run of each named probe, then exit.

use super::live::Timeline;
use super::{Common, USAGE, nagios, output, plan, termination, text};
use crate::config::plan::{Plan, ProbePlan};
use crate::config::{LONGEST_TIMEOUT, SHORTEST_TIMEOUT};
use crate::probe::report::Report;
use crate::probe::verdict::Verdict;
use crate::runner::{self, Edges, Job, Options, Progress, surroundings};
use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Delivered, and nobody took the report.
const UNHEARD: u8 = 4;

/// One run of each named probe, all at the same time, then exit
///
/// Sends one message a probe, waits for it, deletes it, and reports.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0  every message was delivered (or arrived in a way that `accept` allows)
  1  a mail path failed
  2  wrong usage or config; nothing was sent
  3  undetermined: the probe could not look
  4  delivered, but no configured sink took the report, or stdout did not
  130, 143  stopped by SIGINT, SIGTERM; the report was pushed all the same

Examples:
  mailprobe run
  mailprobe run external --timeout 2m --keep
  mailprobe run --output json | jq .verdict
  mailprobe run external --output nagios")]
pub(super) struct Arguments {
    /// Which probes [default: all]
    #[arg(value_name = "PROBE")]
    probes: Vec<String>,
    /// What stdout gets: text for people, one JSON object a run, or the line of a Nagios plugin
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Give up after this time instead of the probe's own, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Leave the message in the mailbox
    #[arg(long)]
    keep: bool,
    /// Tell the sinks [default: unless this is a terminal]
    #[arg(long, conflicts_with = "no_push")]
    push: bool,
    /// Do not tell the sinks
    #[arg(long)]
    no_push: bool,
    /// Exit with 0 if a sink took the report, whatever it says
    #[arg(long)]
    exit_zero_when_reported: bool,
}

/// What stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Nagios,
}

impl Arguments {
    /// The exit code of a success of which stdout did not take the report: its disk is full.
    pub(super) fn unheard(&self) -> u8 {
        match self.output {
            Format::Nagios => nagios::UNKNOWN,
            Format::Text | Format::Json => UNHEARD,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < SHORTEST_TIMEOUT => Err("must be at least 1s".to_owned()),
        Ok(duration) if duration > LONGEST_TIMEOUT => Err("must be at most 24h".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("is not a duration; write it like 90s, 5m or 1h30m".to_owned()),
    }
}

/// Carries the command out; the exit code.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> u8 {
    let fault = |text: String| {
        if arguments.output == Format::Nagios {
            output::line(nagios::fault(&text));
            return nagios::UNKNOWN;
        }
        output::error(text.trim_end());
        USAGE
    };
    let mut plan = match plan(common, &arguments.probes) {
        Ok(plan) => plan,
        Err(error) => return fault(error.to_string()),
    };
    if let Some(timeout) = arguments.timeout {
        shorten(&mut plan, timeout);
    }
    let edges = match Edges::new(&plan) {
        Ok(edges) => edges,
        Err(error) => return fault(format!("error: {error}")),
    };
    let (stop, stopped) = watch::channel(false);
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fault(format!("error: cannot listen for signals: {error}")),
    };
    let push = arguments.push || !(arguments.no_push || output::is_terminal());
    let options = Options {
        keep: arguments.keep,
        push,
        eager: output::is_terminal(),
    };
    let timeline = Timeline::new(plan.probes.len() > 1);
    let jobs = edges.jobs(options, |probe| {
        observer(arguments.output, &timeline, probe)
    });
    let ticker = (arguments.output == Format::Text).then(|| timeline.tick());
    let runs = all(jobs, &stopped, |report| {
        if arguments.output == Format::Json {
            output::json(report);
        }
    });
    let beside = unless_stopped(surroundings::round(&plan, &edges, push), stopped.clone());
    let runs = async {
        let (reports, found) = tokio::join!(runs, beside);
        if let Some(found) = found.filter(|_| push) {
            unless_stopped(surroundings::amend(&edges, &found), stopped.clone()).await;
        }
        reports
    };
    tokio::pin!(runs);
    let mut signalled = None;
    let reports = loop {
        tokio::select! {
            reports = &mut runs => break reports,
            code = signals.next() => {
                if signalled.is_some() {
                    // Asked twice: at once, whatever is left undone.
                    drop(ticker);
                    timeline.end();
                    return code;
                }
                signalled = Some(code);
                stop.send_replace(true);
            }
        }
    };
    drop(ticker);
    timeline.end();
    conclude(arguments, &plan, &reports, push, signalled)
}

/// Listeners and DNS are checked once for all runs; a signal ends that at once.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    mut stopped: watch::Receiver<bool>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}

/// Prints what is left to print, and decides on the exit code.
fn conclude(
    arguments: &Arguments,
    plan: &Plan,
    reports: &[Report],
    push: bool,
    signalled: Option<u8>,
) -> u8 {
    termination::write(Path::new(termination::LOG), reports);
    let mut plugin_code = None;
    match arguments.output {
        Format::Json => {}
        Format::Nagios => {
            let (line, code) = nagios::line(reports);
            output::line(line);
            plugin_code = Some(code);
        }
        Format::Text => {
            for report in reports {
                text::report(report).into_iter().for_each(output::line);
            }
        }
    }
    if !push && !arguments.no_push && !plan.sinks.is_empty() {
        output::error(
            "not pushed: a run by hand must not overwrite what production reported; `--push` tells the sinks",
        );
    }
    signalled
        .or(plugin_code)
        .unwrap_or_else(|| exit_code(reports, arguments.exit_zero_when_reported))
}

/// Every run, at the same time; each report is shown as soon as it is there, and all come back in the order of the plan.
pub(super) async fn all(
    jobs: Vec<Job>,
    stopped: &watch::Receiver<bool>,
    show: impl Fn(&Report),
) -> Vec<Report> {
    let mut runs: FuturesUnordered<_> = jobs
        .into_iter()
        .enumerate()
        .map(|(index, job)| {
            let stopped = stopped.clone();
            async move {
                let report = runner::run(job, stopped).await;
                runner::log(&report, None);
                (index, report)
            }
        })
        .collect();
    let mut reports = Vec::new();
    while let Some((index, report)) = runs.next().await {
        show(&report);
        reports.push((index, report));
    }
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn observer(
    format: Format,
    timeline: &Timeline,
    probe: &ProbePlan,
) -> Arc<dyn Fn(&Progress) + Send + Sync> {
    if format != Format::Text {
        return Arc::new(|_| ());
    }
    let timeline = timeline.clone();
    let name = probe.name.clone();
    Arc::new(move |progress| timeline.show(&name, progress))
}

fn shorten(plan: &mut Plan, timeout: Duration) {
    for probe in &mut plan.probes {
        let mut shorter = ProbePlan::clone(probe);
        shorter.timeout = timeout;
        // Without this a shorter run could not be late, only missing.
        shorter.late_after = shorter.late_after.min(timeout);
        *probe = Arc::new(shorter);
    }
}

/// The exit code for all reports together: a failed path wins over a blind probe, and that over an unheard one.
fn exit_code(reports: &[Report], zero_when_reported: bool) -> u8 {
    let code = |report: &Report| {
        let heard = report.pushes.iter().any(|push| push.ok);
        match report.verdict {
            _ if report.success => {
                if report.pushes.is_empty() || heard {
                    0
                } else {
                    UNHEARD
                }
            }
            _ if zero_when_reported && heard => 0,
            Verdict::Undetermined => 3,
            _ => 1,
        }
    };
    let codes: Vec<u8> = reports.iter().map(code).collect();
    [1, 3, UNHEARD]
        .into_iter()
        .find(|code| codes.contains(code))
        .unwrap_or(0)
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one; the exit code that stands for it.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::{Push, samples};

    /// A run that ended so, with pushes that were taken or not.
    fn of(verdict: Verdict, pushes: &[bool]) -> Report {
        let push = |ok: &bool| Push {
            sink: "pushgateway".to_owned(),
            ok: *ok,
            attempts: 1,
            seconds: 0.1,
            error: None,
            hint: None,
        };
        Report {
            verdict,
            success: verdict == Verdict::Delivered,
            pushes: pushes.iter().map(push).collect(),
            ..samples::delivered()
        }
    }

    #[test]
    fn a_failed_path_wins_over_a_blind_probe_and_that_over_an_unheard_one() {
        use Verdict::{Delivered, Junked, Missing, Undetermined};
        for (runs, code) in [
            (&[(Delivered, &[true][..])][..], 0),
            (&[(Delivered, &[])], 0),
            (&[(Delivered, &[false, true])], 0),
            (&[(Delivered, &[false, false])], 4),
            (&[(Delivered, &[false]), (Undetermined, &[true])], 3),
            (&[(Undetermined, &[true]), (Missing, &[true])], 1),
            (&[(Junked, &[true]), (Delivered, &[false])], 1),
        ] {
            let reports: Vec<Report> = runs
                .iter()
                .map(|(verdict, pushes)| of(*verdict, pushes))
                .collect();
            assert_eq!(exit_code(&reports, false), code, "{runs:?}");
        }
    }

    #[test]
    fn where_that_is_wanted_a_failure_that_was_heard_is_none() {
        use Verdict::{Delivered, Missing, Undetermined};
        for (verdict, pushes, code) in [
            (Missing, &[true][..], 0),
            (Undetermined, &[true], 0),
            (Missing, &[false], 1),
            (Missing, &[], 1),
            (Undetermined, &[], 3),
            (Delivered, &[false], 4),
        ] {
            assert_eq!(
                exit_code(&[of(verdict, pushes)], true),
                code,
                "{verdict} {pushes:?}"
            );
        }
    }
}
