//! `mailprobe demo`: it ends soon, plays every incident as promised, and its world takes runs from elsewhere.

use crate::world::{Ran, Stage, finish, program, run, signal};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the README promises.
const SOON: Duration = Duration::from_secs(5);

fn faults() -> Vec<String> {
    let listed = run(&["demo", "--list-faults"]);
    assert_eq!(listed.code, Some(0));
    let names: Vec<String> = listed
        .stdout
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 18, "{names:?}");
    names
}

#[test]
fn check_with_write_finds_nothing_to_fix_in_the_demos_world_and_leaves_its_mailbox_empty() {
    let stage = Stage::new(None);
    let config = stage.config();
    let config = config.to_str().unwrap();
    let ran = run(&["check", "--write", "--output", "json", "--config", config]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for said in ["its clock agrees with ours", "took a test push"] {
        assert!(ran.stdout.contains(said), "{ran:#?}");
    }
    let messages = |name| stage.world().store().folder(name).unwrap().messages;
    assert_eq!((messages("INBOX"), messages("Junk")), (vec![], vec![]));
}

#[test]
fn the_demo_delivers_shows_what_the_sinks_got_and_ends_in_under_five_seconds() {
    let begun = Instant::now();
    let ran = run(&["demo"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.stderr, "");
    for said in [
        "logged in, watching INBOX, Junk",
        "seen in INBOX",
        "deleted the message",
        "\ndemo: delivered in ",
        "Pushgateway received POST /metrics/job/email-roundtrip-monitor/probe/demo\n",
        "  email_roundtrip_success 1\n",
        "  mailprobe_verdict{verdict=\"delivered\"} 1\n",
        "Uptime Kuma received\n  status: up\n  msg: delivered in ",
        "as it should be for a mail path that works\n",
    ] {
        assert!(ran.stdout.contains(said), "{said:?} in {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'));
}

/// What the README quotes: the verdict's sentence, and, of a run that is delivered, its warning.
fn sentence(stdout: &str) -> String {
    let line = |start| stdout.lines().find_map(|line| line.strip_prefix(start));
    let sentence = line("demo: ").unwrap().to_owned();
    match line("  warning: ") {
        Some(warning) if sentence.starts_with("delivered") => {
            format!("{sentence}; warning: {warning}")
        }
        _ => sentence,
    }
}

/// Ports, times and ids differ from run to run.
fn without_digits(text: &str) -> String {
    let mut short = String::new();
    for part in text.chars() {
        match part {
            '0'..='9' if short.ends_with('#') => {}
            '0'..='9' => short.push('#'),
            other => short.push(other),
        }
    }
    short
}

/// The program itself holds verdict, cause and evidence against what the incident promises; its exit code says so. And
/// the README quotes what it really says.
#[test]
fn every_incident_ends_as_promised_and_in_time() {
    let begun = Instant::now();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, readme) = readme.split_once("\n## Incidents").unwrap();
    let faults = faults();
    // A few at a time: the worlds have limits of seconds, which a crowd on two cores would use up.
    let few = faults.chunks(4).flat_map(|few| {
        let runs = few.iter().map(|fault| {
            let child = program(&["demo", "--fault", fault]).spawn().unwrap();
            (fault, child)
        });
        runs.collect::<Vec<_>>()
    });
    for (fault, child) in few {
        let ran: Ran = finish(child);
        assert_eq!(ran.code, Some(0), "{fault}: {ran:#?}");
        assert!(
            ran.stdout.ends_with("as it should be for this incident\n"),
            "{fault}: {}",
            ran.stdout
        );
        let said = without_digits(&sentence(&ran.stdout));
        let row = format!("| `{fault}` | ");
        let documented = readme
            .lines()
            .find(|line| line.starts_with(&row))
            .unwrap_or_else(|| panic!("no row for {fault}"));
        assert!(
            without_digits(documented).ends_with(&format!(" | {said} |")),
            "README.md has {documented}, and not {said}"
        );
    }
    // Each batch takes less than five seconds, on a machine that may be busy.
    assert!(begun.elapsed() < SOON * 12, "{:?}", begun.elapsed());
}

#[test]
fn a_world_that_is_held_takes_a_run_from_another_process() {
    let mut holder = program(&["demo", "--hold"]).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let config = lines
        .find_map(|line| {
            let line = line.unwrap();
            let config = line.trim().strip_prefix("mailprobe run --config ")?;
            Some(config.to_owned())
        })
        .expect("it names its config");
    // The passwords and keys of its world are in there.
    let directory = Path::new(&config).parent().unwrap();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    let ran = run(&["run", "--output", "json", "--config", &config]);
    assert_eq!(ran.report()["verdict"], "delivered", "{ran:#?}");
    assert_eq!(ran.code, Some(0));
    signal(holder.id(), "INT");
    assert_eq!(finish(holder).code, Some(0));
    assert!(!Path::new(&config).exists(), "it tidies up");
}
