//! What a run did, as its caller sees it.

use serde_json::Value;
use std::io::Read;
use std::process::Child;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a run did.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
}

/// No run of a test takes longer, the minute after its timeout included.
const LIMIT: Duration = Duration::from_secs(150);

impl Outcome {
    /// Waits for the end.
    #[track_caller]
    pub fn of(mut child: Child) -> Self {
        let begun = Instant::now();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if begun.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let outcome = Self {
            code: status.and_then(|status| status.code()),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
            seconds: begun.elapsed().as_secs_f64(),
        };
        assert!(status.is_some(), "not over after {LIMIT:?}: {outcome:#?}");
        outcome
    }

    /// Every report, one a line.
    pub fn reports(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The only report.
    pub fn report(&self) -> Value {
        let mut reports = self.reports();
        assert_eq!(reports.len(), 1, "{self:?}");
        reports.remove(0)
    }

    /// Asserts verdict, cause and exit code together.
    #[track_caller]
    pub fn assert(&self, verdict: &str, cause: Option<&str>, code: i32) -> Value {
        let report = self.report();
        let found = (
            report["verdict"].as_str(),
            report.pointer("/cause/code").and_then(Value::as_str),
            self.code,
        );
        assert_eq!(found, (Some(verdict), cause, Some(code)), "{self:#?}");
        report
    }

    /// Codes of the warnings.
    pub fn warnings(&self) -> Vec<String> {
        let report = self.report();
        let warnings = report["warnings"].as_array().unwrap();
        warnings
            .iter()
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}
