//! `mailprobe demo`: a whole mail world inside the process, and a real run through it.

use super::live::Timeline;
use super::output::{self, Colour, Line};
use super::run::{Signals, all};
use super::text;
use crate::config;
use crate::demo::http::Request;
use crate::demo::{Fault, Showing, World};
use crate::metrics;
use crate::probe::report::Report;
use crate::probe::verdict::Verdict;
use crate::runner::{Edges, Options};
use clap::{Args, ValueEnum};
use std::sync::Arc;
use tokio::sync::watch;

/// A whole mail world inside the process, and a real run through it
///
/// Brevo's API, an MX, an IMAP mailbox, a Pushgateway and Uptime Kuma, each on a loopback port of its own.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the run ended as it should, fault or none · 1 it did not · 2 wrong usage, or output that cannot be written

Examples:
  mailprobe demo
  mailprobe demo --list-faults
  mailprobe demo --fault imap-certificate
  mailprobe demo --hold                  then, elsewhere: mailprobe run --config THE-FILE-THAT-IT-NAMES"
)]
pub(super) struct Arguments {
    /// Play an incident; --list-faults names them
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    fault: Option<Fault>,
    /// List the incidents, and what each comes to
    #[arg(long)]
    list_faults: bool,
    /// Keep the world running after the run, for runs from elsewhere
    #[arg(long)]
    hold: bool,
}

/// Carries the command out; the exit code.
pub(super) async fn run(arguments: &Arguments) -> u8 {
    if arguments.list_faults {
        list_faults();
        return 0;
    }
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failure(&format!("cannot listen for signals: {error}")),
    };
    let world = match World::start(arguments.fault).await {
        Ok(world) => world,
        Err(error) => return failure(&format!("cannot start the demo world: {error}")),
    };
    let code = tokio::select! {
        code = play(&world, arguments.fault) => code,
        // The world and its files go away with it.
        code = signals.next() => return code,
    };
    if !arguments.hold {
        return code;
    }
    world.rearm(arguments.fault);
    output::line("");
    output::line("the world stays until Ctrl-C; a run from elsewhere:");
    output::line(format!(
        "  mailprobe run --config {}",
        world.config().display()
    ));
    signals.next().await;
    code
}

fn list_faults() {
    for fault in Fault::value_variants() {
        if let Some(value) = fault.to_possible_value() {
            let help = value
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            output::line(format!("{:<18}  {help}", value.get_name()));
            let shows = fault.shows();
            let code = match (shows.code, shows.verdict) {
                (None, _) => String::new(),
                (Some(code), Verdict::Delivered) => format!(", with a warning: {code}"),
                (Some(code), _) => format!(": {code}"),
            };
            output::line(format!("{:<18}  -> {}{code}", "", shows.verdict));
        }
    }
}

async fn play(world: &World, fault: Option<Fault>) -> u8 {
    output::line("a mail world on loopback: Brevo -> MX -> mailbox; Pushgateway, Uptime Kuma");
    if let Some(value) = fault.and_then(|fault| fault.to_possible_value()) {
        let help = value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        output::line(format!("fault {}: {help}", value.get_name()));
    }
    output::line("");
    let plan = match config::load(&world.config(), &[], &|_| None) {
        Ok(plan) => plan,
        Err(error) => return failure(&error.to_string()),
    };
    let edges = match Edges::new(&plan) {
        Ok(edges) => edges,
        Err(error) => return failure(&error.to_string()),
    };
    let timeline = Timeline::new(false);
    let options = Options {
        keep: false,
        push: true,
        eager: false,
    };
    let jobs = edges.jobs(options, |probe| {
        let (timeline, name) = (timeline.clone(), probe.name.clone());
        Arc::new(move |progress| timeline.show(&name, progress))
    });
    let (_stop, stopped) = watch::channel(false);
    let ticker = timeline.tick();
    let reports = all(jobs, &stopped, |_| ()).await;
    drop(ticker);
    timeline.end();
    let Some(report) = reports.first() else {
        return failure("the config has no probe");
    };
    output::line("");
    text::report(report).into_iter().for_each(output::line);
    show_sinks(world);
    conclude(world, report, fault)
}

fn show_sinks(world: &World) {
    for request in pushes(&world.gateway().requests(), "POST") {
        output::line("");
        output::line(format!("Pushgateway received POST {}", request.path));
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let is_shown = |line: &&str| {
            metrics::HEADLINES
                .iter()
                .any(|start| line.starts_with(start))
                && !line.ends_with(" 0")
        };
        text.lines()
            .filter(is_shown)
            .for_each(|line| output::line(format!("  {line}")));
        output::line(format!(
            "  … {} series in all",
            text.lines().filter(|line| !line.starts_with('#')).count()
        ));
    }
    for request in pushes(&world.kuma().requests(), "GET") {
        output::line("");
        output::line("Uptime Kuma received");
        for (name, value) in &request.query {
            output::line(format!("  {name}: {value}"));
        }
    }
}

fn pushes(requests: &[Request], method: &str) -> Vec<Request> {
    requests
        .iter()
        .filter(|request| request.method == method && !request.path.starts_with("/api/v1/"))
        .cloned()
        .collect()
}

/// Whether a report has the verdict, the code, and in that cause or warning all that an incident is to quote.
fn is_shown(report: &Report, shows: &Showing) -> bool {
    let cause = report
        .cause
        .iter()
        .map(|one| (one.code, &one.summary, &one.hint, &one.evidence));
    let warnings = report
        .warnings
        .iter()
        .map(|one| (one.code, &one.summary, &one.hint, &one.evidence));
    let said = cause
        .chain(warnings)
        .find(|(code, ..)| Some(*code) == shows.code)
        .map(|(_, summary, hint, evidence)| format!("{summary}\n{hint}\n{}", evidence.join("\n")));
    let quotes = match (said, shows.code) {
        (Some(said), _) => shows.quotes.iter().all(|quote| said.contains(quote)),
        (None, code) => code.is_none(),
    };
    report.verdict == shows.verdict && quotes
}

/// Whether the run ended as it should have.
fn conclude(world: &World, report: &Report, fault: Option<Fault>) -> u8 {
    let mut is_right = match fault.map(Fault::shows) {
        None => report.success && report.warnings.is_empty(),
        Some(shows) => is_shown(report, &shows),
    };
    output::line("");
    if let Some((untouched, all)) = world.crowd() {
        output::line(format!(
            "{untouched} of {all} messages of others are as they were, flags included"
        ));
        is_right &= untouched == all;
    }
    let what = if fault.is_some() {
        "this incident"
    } else {
        "a mail path that works"
    };
    if is_right {
        output::line(
            Line::default().coloured(&format!("as it should be for {what}"), Colour::Green),
        );
        0
    } else {
        output::line(
            Line::default().coloured(&format!("not as it should be for {what}"), Colour::Red),
        );
        1
    }
}

fn failure(text: &str) -> u8 {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    output::error(&format!("error: {text}"));
    1
}
