//! The timeline of a run as it happens: a line an event, and on a terminal a live line for what is being waited for.

use super::output;
use crate::runner::Progress;
use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];
const FRAME: Duration = Duration::from_millis(120);

/// Prints the timelines of one or more runs.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    waiting: Arc<Mutex<Option<Waiting>>>,
    /// Probes are named where there are several.
    named: bool,
    live: bool,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    of: String,
}

impl Timeline {
    pub(super) fn new(named: bool) -> Self {
        Self {
            waiting: Arc::default(),
            named,
            live: output::has_colour() && stderr().is_terminal(),
        }
    }

    /// Prints one event of a run.
    pub(super) fn show(&self, probe: &str, progress: &Progress) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.wipe();
        let name = if self.named {
            format!("{probe}  ")
        } else {
            String::new()
        };
        output::line(format!(
            "{name}{:>9.3} s  {:<15}  {}",
            progress.at.as_secs_f64(),
            progress.stage.name(),
            progress.text
        ));
        *waiting = progress.waiting_for.as_ref().map(|of| Waiting {
            since: Instant::now(),
            of: of.clone(),
        });
    }

    /// Says what is being waited for, without a line of its own.
    pub(super) fn wait_for(&self, of: &str) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(Waiting {
            since: Instant::now(),
            of: of.to_owned(),
        });
    }

    /// Keeps the live line moving until dropped.
    pub(super) fn tick(&self) -> Ticker {
        if !self.live {
            return Ticker(None);
        }
        let timeline = self.clone();
        Ticker(Some(tokio::spawn(async move {
            for frame in FRAMES.iter().cycle() {
                timeline.draw(frame);
                tokio::time::sleep(FRAME).await;
            }
        })))
    }

    fn draw(&self, frame: &str) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_ref() {
            let seconds = waiting.since.elapsed().as_secs_f64();
            output::live(&format!(
                "{frame} waiting for {} {seconds:.1} s",
                waiting.of
            ));
        }
    }

    fn wipe(&self) {
        if self.live {
            output::live("");
        }
    }

    /// Takes the live line away.
    pub(super) fn end(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.wipe();
    }
}

/// Ends the live line when dropped.
#[derive(Debug)]
pub(super) struct Ticker(Option<JoinHandle<()>>);

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
