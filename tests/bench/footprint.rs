//! What a run costs: memory and processor time by GNU time, which counts all that the processes used.

use super::Table;
use super::common::{Site, binary};
use std::process::{Command, Stdio};
use std::time::Duration;

const RUNS: u32 = 20;
const VERSIONS: u32 = 200;

/// Of a number of processes, one after the other.
pub(crate) struct Used {
    /// The largest of them, in KiB.
    peak: f64,
    /// All of them, in seconds.
    pub(crate) processor: f64,
    pub(crate) elapsed: f64,
}

/// Has a shell start the command so many times.
pub(crate) fn used(command: &Command, count: u32) -> Used {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut time = Command::new("/usr/bin/time");
    time.args(["-f", "%M %U %S %e", "-o"])
        .arg(log.path())
        .args(["/bin/sh", "-c"])
        .arg("n=$1; shift; while [ $n -gt 0 ]; do \"$@\" || exit 1; n=$((n - 1)); done")
        .args(["sh", &count.to_string()])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for (name, value) in command.get_envs() {
        time.env(name, value.unwrap());
    }
    let status = time
        .status()
        .unwrap_or_else(|error| panic!("/usr/bin/time: {error}; `tests/run` installs it"));
    assert!(status.success(), "{status}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    let figures: Vec<f64> = text
        .split_whitespace()
        .map(|figure| figure.parse().unwrap())
        .collect();
    Used {
        peak: figures[0],
        processor: figures[1] + figures[2],
        elapsed: figures[3],
    }
}

pub(crate) fn measure(table: &mut Table) {
    Table::title(&format!("Footprint, GNU time over {RUNS} runs of a second"));
    let site = Site::start();
    site.brevo.state().hold = Duration::from_millis(900);
    let run = used(&site.command(&["run", "--output", "json"]), RUNS);
    let count = f64::from(RUNS);
    table.at_most("`run`, peak memory", run.peak / 1024.0, 12.0, "MiB");
    table.at_most(
        "`run`, processor time",
        run.processor / count * 1000.0,
        30.0,
        "ms",
    );
    println!("  `run`, elapsed {:>47.1} ms", run.elapsed / count * 1000.0);
    let mut version = Command::new(binary());
    version.arg("--version");
    let version = used(&version, VERSIONS);
    let each = version.elapsed / f64::from(VERSIONS) * 1000.0;
    table.at_most(
        "`--version`, elapsed, the shell's fork included",
        each,
        5.0,
        "ms",
    );
    let size = std::fs::metadata(binary()).unwrap().len() as f64;
    table.at_most("the binary, stripped", size / 1024.0 / 1024.0, 10.0, "MiB");
}
