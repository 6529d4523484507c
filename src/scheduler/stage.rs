//! What the scheduler's runs need of the world: edges that outlive runs, and a queue before each sink.

use super::{Cast, Launch, Start};
use crate::config::plan::Plan;
use crate::metrics::Counters;
use crate::probe::surroundings::Surroundings;
use crate::runner::{self, EdgeError, Edges, Options, surroundings};
use crate::sinks::queue::{Heard, Queue};
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The edges of the config in use.
#[derive(Debug, Clone)]
pub struct Stage {
    edges: Arc<Edges>,
    /// One before each sink, in their order.
    queues: Vec<Arc<Queue>>,
    /// Of earlier configs: runs that began with them tell those sinks still.
    retired: Vec<Arc<Queue>>,
    plan: Plan,
}

impl Stage {
    /// Sets up what a config names; connects to nothing.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: Plan, counters: &Arc<Counters>) -> Result<Self, EdgeError> {
        let edges = Edges::new(&plan)?;
        Ok(Self::of(plan, edges, Vec::new(), counters))
    }

    /// The edges of a config that takes the place of another: what is as it was goes on undisturbed. Reads files.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn edges_of(&self, plan: &Plan) -> Result<Edges, EdgeError> {
        Edges::renewed(plan, &self.edges)
    }

    /// The stage that takes the place of this one, with what [`Stage::edges_of`] made.
    #[must_use]
    pub fn renewed(&self, plan: Plan, edges: Edges, counters: &Arc<Counters>) -> Self {
        let old = self.queues.iter().chain(&self.retired).cloned().collect();
        Self::of(plan, edges, old, counters)
    }

    fn of(plan: Plan, edges: Edges, old: Vec<Arc<Queue>>, counters: &Arc<Counters>) -> Self {
        for mailbox in edges.mailboxes() {
            mailbox.linger();
        }
        let queues: Vec<_> = edges
            .sinks()
            .iter()
            .map(|sink| {
                let known = old.iter().find(|queue| Arc::ptr_eq(queue.sink(), sink));
                if let Some(queue) = known {
                    return Arc::clone(queue);
                }
                counters.sink(sink.name());
                let counters = Arc::clone(counters);
                let heard: Heard = Arc::new(move |sink, result| counters.push(sink, result));
                Queue::begin(Arc::clone(sink), heard)
            })
            .collect();
        let is_used = |queue: &Arc<Queue>| queues.iter().any(|one| Arc::ptr_eq(one, queue));
        let mut retired = old;
        retired.retain(|queue| !is_used(queue) && !queue.is_closed());
        Self {
            edges: Arc::new(edges),
            queues,
            retired,
            plan,
        }
    }

    /// The config.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// One round of the checks beside the runs, told to the gateways.
    pub async fn look_around(&self) -> Arc<Surroundings> {
        surroundings::round(&self.plan, &self.edges, true).await
    }

    /// What the scheduler is to run.
    #[must_use]
    pub fn cast(&self) -> Cast {
        Cast {
            probes: self.plan.probes.clone(),
            launch: self.launch(),
            min_interval: self.plan.serve.min_interval,
        }
    }

    fn launch(&self) -> Launch {
        let edges = Arc::clone(&self.edges);
        let queues: Vec<_> = self
            .plan
            .sinks
            .iter()
            .cloned()
            .zip(self.queues.iter().cloned())
            .collect();
        Box::new(move |start: &Start, stop| {
            let options = Options {
                keep: false,
                push: true,
                eager: false,
            };
            let mut job = edges.job(start.index, options, Arc::new(|_| ()))?;
            job.sinks.clear();
            job.queues = queues
                .iter()
                .filter(|(plan, _)| plan.takes(&start.probe.name))
                .map(|(_, queue)| Arc::clone(queue))
                .collect();
            job.overdue = Arc::clone(&start.overdue);
            Some(Box::pin(runner::run(job, stop)))
        })
    }

    /// The queues that no run of this config tells anything.
    #[must_use]
    pub fn retired(&self) -> &[Arc<Queue>] {
        &self.retired
    }

    /// Ends all of it: what sinks have not heard they hear until `end`; connections are closed.
    pub async fn close(&self, end: Instant) {
        let queues = self.queues.iter().chain(&self.retired);
        let queues = queues.map(|queue| queue.close(end));
        // A mailbox that many probes share is closed once and found closed by the others.
        let mailboxes = self.edges.mailboxes().iter().map(|mailbox| mailbox.close());
        let (_, mailboxes) = tokio::join!(join_all(queues), timeout_at(end, join_all(mailboxes)),);
        if mailboxes.is_err() {
            tracing::warn!("a mailbox did not say goodbye in time");
        }
    }
}
