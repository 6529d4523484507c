//! The termination log, at the path where Kubernetes puts it into a container.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mailprobe");

/// The demo's world in a process of its own; ends with the test.
struct Held(Child);

impl Held {
    /// Plays a fault, or none; the world and its config.
    fn start(fault: &[&str]) -> (Self, String) {
        let mut child = Command::new(PROGRAM)
            .args(["demo", "--hold"])
            .args(fault)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let config = lines.find_map(|line| {
            let line = line.unwrap();
            let config = line.trim().strip_prefix("mailprobe run --config ")?;
            Some(config.to_owned())
        });
        (Self(child), config.expect("it names its config"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // With SIGINT it tidies up.
        crate::common::process::signal(self.0.id(), "INT");
        let _ = self.0.wait();
    }
}

/// A run where `/dev/termination-log` is this file, or not there; its exit code.
fn run(config: &str, log: Option<&Path>) -> Option<i32> {
    let mut command = Command::new("bwrap");
    command.args(["--bind", "/", "/", "--dev", "/dev"]);
    if let Some(log) = log {
        command.arg("--bind").arg(log).arg("/dev/termination-log");
    }
    let ran = command
        .args([PROGRAM, "run", "--config", config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    ran.unwrap().code()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_verdicts_sentence_is_in_the_termination_log_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    for (fault, code, begins) in [
        (&[][..], 0, "demo: delivered in "),
        (
            &["--fault", "imap-password"],
            3,
            "demo: undetermined: cannot log in to imap `127.0.0.1:",
        ),
    ] {
        // As long as it may be, from the container before: nothing of it stays.
        std::fs::write(&log, "x".repeat(4096)).unwrap();
        let (_held, config) = Held::start(fault);
        assert_eq!(run(&config, Some(&log)), Some(code));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with(begins), "{text}");
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        assert_eq!(run(&config, None), Some(code), "nobody misses it");
    }
}
