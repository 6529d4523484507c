//! A queue before a sink, for the scheduler: a sink that hangs delays no probe.
//!
//! A sink shows the last state of each probe. So of each probe one report waits at most, the newest: the queue is bounded
//! by what it is for, and what a newer report replaces is counted as dropped.

use super::Sink;
use crate::log::About;
use crate::probe::report::{Push, Report};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// All attempts of one push.
const PUSH_LIMIT: Duration = Duration::from_secs(40);
/// Pushes to one sink side by side, each of another probe.
const SIDE_BY_SIDE: usize = 4;
/// So many probes wait at the most; far more than fire at the same time in any sane config.
const LONGEST: usize = 20_000;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushResult {
    /// The sink took it.
    Ok,
    /// The sink did not take it, after all attempts.
    Failed,
    /// A newer report of the same probe took its place, or the end came before the sink had taken it.
    Dropped,
}

impl PushResult {
    /// Every one, for metrics.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Dropped];

    /// As in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Hears what became of each push: the sink's name, and the result.
pub type Heard = Arc<dyn Fn(&str, PushResult) + Send + Sync>;

/// What a sink is to be told.
#[derive(Debug, Clone)]
enum Post {
    Report(Arc<Report>),
    Overdue { run: String, text: String },
}

/// The queue before one sink.
pub struct Queue {
    sink: Arc<Sink>,
    state: Mutex<State>,
    /// There is something to do, or the end.
    work: Notify,
    /// Nothing waits, and nothing is under way.
    idle: Notify,
    heard: Heard,
}

#[derive(Default)]
struct State {
    order: VecDeque<String>,
    posts: HashMap<String, Post>,
    /// What is on its way, by probe: the next one of the same probe comes after it.
    busy: HashMap<String, Post>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("sink", &self.sink.name())
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// A queue that works until it is closed.
    #[must_use]
    pub fn begin(sink: Arc<Sink>, heard: Heard) -> Arc<Self> {
        let queue = Arc::new(Self {
            sink,
            state: Mutex::default(),
            work: Notify::new(),
            idle: Notify::new(),
            heard,
        });
        tokio::spawn(Arc::clone(&queue).work());
        queue
    }

    /// Where it leads.
    #[must_use]
    pub fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Tells a finished run as soon as the sink can hear it.
    pub fn put(&self, report: &Arc<Report>) {
        if self.sink.wants(report) {
            self.add(report.probe.clone(), Post::Report(Arc::clone(report)));
        }
    }

    /// Tells that a run waits beyond `late_after`, unless a report of the probe waits itself.
    pub fn put_overdue(&self, probe: &str, run: &str, text: &str) {
        if self.state().posts.contains_key(probe) {
            return;
        }
        let (run, text) = (run.to_owned(), text.to_owned());
        self.add(probe.to_owned(), Post::Overdue { run, text });
    }

    fn add(&self, probe: String, post: Post) {
        let mut state = self.state();
        let mut dropped = Vec::new();
        if let Some(old) = state.posts.insert(probe.clone(), post) {
            dropped.push(old);
        } else {
            state.order.push_back(probe);
        }
        while state.order.len() > LONGEST
            && let Some(oldest) = state.order.pop_front()
        {
            dropped.extend(state.posts.remove(&oldest));
        }
        drop(state);
        for post in dropped {
            self.drop_post(&post, "the sink is slower than the probes");
        }
        self.work.notify_one();
    }

    /// Works off what waits, and takes nothing more, until `end` at the latest.
    pub async fn close(&self, end: Instant) {
        let wait = async {
            while !self.is_idle() {
                self.idle.notified().await;
            }
        };
        let _ = timeout_at(end, wait).await;
        let left: Vec<Post> = {
            let mut state = self.state();
            state.closed = true;
            state.order.clear();
            // What is on its way is cut off there: whether the sink takes it is not heard any more.
            let mut left: Vec<Post> = state.busy.drain().map(|(_, post)| post).collect();
            left.extend(state.posts.drain().map(|(_, post)| post));
            left
        };
        for post in left {
            self.drop_post(&post, "the sink has not taken it by the end");
        }
        self.work.notify_one();
    }

    /// Whether it takes nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.posts.is_empty() && state.busy.is_empty()
    }

    async fn work(self: Arc<Self>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < SIDE_BY_SIDE
                && let Some((probe, post)) = self.take()
            {
                under_way.push(self.push(probe, post));
            }
            if self.state().closed {
                return;
            }
            tokio::select! {
                Some(()) = under_way.next(), if !under_way.is_empty() => {
                    if self.is_idle() {
                        self.idle.notify_one();
                    }
                }
                () = self.work.notified() => {}
            }
        }
    }

    /// The first post that can be pushed now.
    fn take(&self) -> Option<(String, Post)> {
        let mut state = self.state();
        let free = state
            .order
            .iter()
            .position(|probe| !state.busy.contains_key(probe))?;
        let probe = state.order.remove(free)?;
        let post = state.posts.remove(&probe)?;
        state.busy.insert(probe.clone(), post.clone());
        Some((probe, post))
    }

    async fn push(&self, probe: String, post: Post) {
        let token = match &post {
            Post::Report(report) => report.run.clone(),
            Post::Overdue { run, .. } => run.clone(),
        };
        let about = Arc::new(About::run_of(&probe).with_token(token.clone()));
        let pushing = async {
            match &post {
                Post::Report(report) => Some(self.sink.push(report, PUSH_LIMIT).await),
                Post::Overdue { text, .. } => {
                    self.sink.push_overdue(&probe, text, PUSH_LIMIT).await
                }
            }
        };
        let push = about.scope(pushing).await;
        // Where the end came first, it is counted as dropped, and no second time.
        let is_ours = self.state().busy.remove(&probe).is_some();
        if let Some(push) = push.filter(|_| is_ours) {
            self.tell(&probe, &token, &push);
        }
    }

    fn tell(&self, probe: &str, token: &str, push: &Push) {
        match &push.error {
            None => {
                tracing::debug!(probe, token, sink = push.sink, "the sink took the report");
                (self.heard)(self.sink.name(), PushResult::Ok);
            }
            Some(error) => {
                tracing::warn!(
                    probe,
                    token,
                    sink = push.sink,
                    attempts = push.attempts,
                    seconds = push.seconds,
                    hint = push.hint.as_deref(),
                    "the sink did not take the report: {error}"
                );
                (self.heard)(self.sink.name(), PushResult::Failed);
            }
        }
    }

    fn drop_post(&self, post: &Post, reason: &str) {
        if let Post::Report(report) = post {
            tracing::warn!(
                probe = report.probe,
                token = report.run,
                sink = self.sink.name(),
                "the report was dropped: {reason}"
            );
            (self.heard)(self.sink.name(), PushResult::Dropped);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
