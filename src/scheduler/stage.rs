//! What the scheduler's runs need of the world: edges that outlive runs, and a queue before each sink.

use super::{Cast, Launch, Start};
use crate::config::plan::Plan;
use crate::metrics::Counters;
use crate::probe::surroundings::Surroundings;
use crate::probe::timetable;
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
        retired.retain(|queue| !is_used(queue));
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
            job.planned = Some(start.planned);
            job.offset = timetable::offset(&start.probe.name, start.probe.jitter);
            Some(Box::pin(runner::run(job, stop)))
        })
    }

    /// Forgets queues that are closed, and what was counted of their sinks, unless another one bears the name.
    pub fn forget_closed(&mut self, counters: &Counters) {
        let retired = std::mem::take(&mut self.retired).into_iter();
        let (closed, retired): (Vec<_>, Vec<_>) = retired.partition(|queue| queue.is_closed());
        self.retired = retired;
        for gone in closed {
            let name = gone.sink().name();
            let mut others = self.queues.iter().chain(&self.retired);
            if others.all(|other| other.sink().name() != name) {
                counters.forget_sink(name);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::mailboxes::imap::fake::Fake;
    use crate::probe::report::Report;
    use crate::probe::timetable::Timetable;
    use chrono::{DateTime, TimeDelta, Utc};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    /// A server that takes no mail: the run is over at once, and cleans up.
    async fn refusing() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"554 5.3.2 no service here\r\n").await;
            }
        });
        port
    }

    /// A run that the scheduler was to start then.
    async fn run(stage: &Stage, planned: DateTime<Utc>) -> Report {
        let cast = stage.cast();
        let start = Start {
            index: 0,
            probe: Arc::clone(&cast.probes[0]),
            planned,
            overdue: Arc::default(),
        };
        let (_stop, stopped) = watch::channel(false);
        (cast.launch)(&start, stopped).unwrap().await
    }

    #[tokio::test]
    async fn where_nothing_can_be_deleted_what_came_since_the_run_before_counts() {
        let mut fake = Fake::default();
        fake.capabilities = "IMAP4rev1 SASL-IR IDLE AUTH=PLAIN";
        let (fake, mailbox) = fake.start().await;
        let text = format!(
            "token_key = \"sixteen bytes and more\"\n\
             [[probe]]\nname = \"external\"\nsender = \"s\"\nmailbox = \"m\"\nto = \"a@example.org\"\njitter = \"10m\"\n\
             [sender.s]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"b@example.org\"\n\
             [mailbox.m]\ntype = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\njunk = \"none\"\n\
             username = \"m\"\npassword = \"for tests\"\n",
            refusing().await,
            mailbox.port
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let plan = config::load(file.path(), &[], &|_| None).unwrap();
        let probe = Arc::clone(&plan.probes[0]);
        let offset = timetable::offset(&probe.name, probe.jitter);
        let planned = probe.schedule.previous_before(Utc::now() - offset).unwrap() + offset;
        let deliver = |minutes_before: i64, number: u8| {
            let stored = planned - TimeDelta::minutes(minutes_before);
            let identity = plan.keyring.identity("external").unwrap();
            let wait = Duration::from_secs(60);
            let token = identity.mint(stored - TimeDelta::minutes(5), wait, false, [number; 4]);
            let fields =
                format!("X-Mailprobe-Token: {token}\r\nSubject: [E2E Monitor] {token}\r\n");
            fake.deliver(
                &fields,
                &stored.format("%d-%b-%Y %H:%M:%S +0000").to_string(),
            );
            token
        };
        // Before the run before this one, and between the two.
        deliver(21, 1);
        let between = deliver(10, 2);
        let stage = Stage::new(plan.clone(), &Arc::new(Counters::new().unwrap())).unwrap();
        let report = run(&stage, planned).await;
        let late = report.late_arrivals.iter().map(|late| late.run.as_str());
        assert_eq!(late.collect::<Vec<_>>(), [between], "{report:?}");

        // What it tells the gateway of the next run is what the scheduler waits for.
        let probes = [(probe.name.as_str(), &probe.schedule, probe.jitter)];
        let table = Timetable::new(probes.into_iter(), report.ended_at, Duration::ZERO);
        assert_eq!(report.for_metrics.next_run_at, table.next());
    }
}
