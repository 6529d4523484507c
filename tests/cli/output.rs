//! Where stdout takes no more: a full disk is an error that nobody overlooks, a reader that has enough is none.

use crate::world::{Ran, Stage, finish, program, run};
use mailprobe::demo::brevo::{Behaviour, Blocked, error};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// The program with a full disk behind its stdout.
fn to_a_full_disk(arguments: &[&str]) -> Ran {
    let full = File::options().write(true).open("/dev/full").unwrap();
    finish(program(arguments).stdout(full).spawn().unwrap())
}

const FULL: &str = "error: cannot write to stdout: No space left on device (os error 28)\n\
    hint: what was printed is not complete\n";

#[test]
fn what_a_full_disk_does_not_take_is_told_once_and_no_success() {
    for arguments in [
        &["--version"][..],
        &["--help"],
        &["run", "--help"],
        &["generate", "config"],
        &["generate", "schema"],
        &["generate", "completions", "bash"],
        &["generate", "man"],
        &["inspect", "messages/recorded/postfix-tls13.eml"],
        &["demo", "--list-faults"],
        &["demo"],
    ] {
        let ran = to_a_full_disk(arguments);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(2), FULL),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_run_whose_report_is_lost_on_a_full_disk_is_none_that_everybody_heard_of() {
    for (format, code) in [("json", 4), ("text", 4), ("nagios", 3)] {
        let stage = Stage::new(None);
        let config = stage.config();
        let config = config.to_str().unwrap();
        let ran = to_a_full_disk(&["run", "--output", format, "--config", config]);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(code), FULL),
            "{format}"
        );
        // The run itself went its way to the end.
        assert!(
            stage
                .pushed()
                .contains("mailprobe_verdict{verdict=\"delivered\"} 1")
        );
        assert!(
            stage
                .world()
                .store()
                .folder("INBOX")
                .unwrap()
                .messages
                .is_empty()
        );
    }
}

#[test]
fn check_and_find_on_a_full_disk_are_no_success_either() {
    let stage = Stage::new(None);
    let token = stage.run(&["--output", "json", "--keep"]).report()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let config = stage.config();
    let config = config.to_str().unwrap();
    for command in [&["check"][..], &["find", &token]] {
        for format in ["text", "json"] {
            let options = ["--config", config, "--output", format];
            let ran = to_a_full_disk(&[command, &options].concat());
            assert_eq!(
                (ran.code, ran.stderr.as_str()),
                (Some(2), FULL),
                "{command:?} {format}"
            );
        }
    }
}

#[test]
fn a_failure_keeps_its_own_code_on_a_full_disk() {
    let stage = Stage::new(Some(mailprobe::demo::Fault::BrevoKey));
    let config = stage.config();
    let config = config.to_str().unwrap();
    let ran = to_a_full_disk(&["run", "--output", "json", "--config", config]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), FULL));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let stage = Stage::new(None);
    let config = stage.config();
    let config = config.to_str().unwrap();
    for arguments in [
        &["run", "--config", config][..],
        &["check", "--config", config],
        &["generate", "completions", "zsh"],
        &["demo"],
    ] {
        let mut child = program(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(!first.is_empty(), "{arguments:?}");
        let ran = finish(child);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

/// An escape, one as a single character (C1), a delete, an override of direction, and a line that is none of ours.
const HOSTILE: &str =
    "\u{1b}[2J \u{9b}31m \u{7f} \u{202e}gpj\u{2066} \u{200f}\nok    mailbox: all is well";

/// That no output steers a terminal or fakes a line, and that what was written can be seen.
#[track_caller]
fn assert_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let acts =
            |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200f}".contains(c));
        assert!(!text.contains(acts), "{text:?}");
        assert!(!text.contains("\nok    mailbox: all is well"), "{text}");
    }
    assert!(ran.stdout.contains("\\u202egpj"), "{}", ran.stdout);
}

#[test]
fn what_a_server_says_steers_no_terminal_in_no_command() {
    let stage = Stage::new(None);
    let hostile = || Behaviour::Answer(error(400, "bad_request", HOSTILE));
    stage.world().brevo().state().then = Some(hostile());
    for more in [
        &["--output", "text"][..],
        &["--output", "json"],
        &["--output", "nagios"],
        &["--output", "json", "--log-level", "trace"],
        &[
            "--output",
            "json",
            "--log-level",
            "trace",
            "--log-format",
            "json",
        ],
    ] {
        assert_harmless(&stage.run(more));
    }
    for pushed in stage.told_kuma() {
        let told = pushed.join(" ");
        assert!(
            told.contains("\\u202egpj") && !told.contains('\u{202e}'),
            "{told}"
        );
    }

    let stage = Stage::new(None);
    let token = stage.run(&["--output", "json", "--keep"]).report()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    for event in &mut stage.world().brevo().state().events {
        event.reason = Some(HOSTILE.to_owned());
    }
    stage.world().brevo().state().blocked.push(Blocked {
        email: "smoke-test@example.org".to_owned(),
        code: HOSTILE.to_owned(),
    });
    let config = stage.config();
    let config = config.to_str().unwrap();
    for format in ["text", "json"] {
        let options = ["--output", format, "--config", config];
        assert_harmless(&run(&[&["find", &token][..], &options].concat()));
        assert_harmless(&run(&[&["check"][..], &options].concat()));
    }
}
