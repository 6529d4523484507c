//! Senders, mailboxes and sinks of a plan, each made once however many probes use it.

use super::{Board, Job, Options, Progress};
use crate::config::plan::{Plan, ProbePlan};
use crate::mailboxes::Mailbox;
use crate::net::tls::TlsError;
use crate::senders::Sender;
use crate::sinks::Sink;
use std::sync::Arc;

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up {what}: {error}")]
pub struct EdgeError {
    /// Sender, mailbox or sink.
    what: String,
    error: TlsError,
}

/// The edges of a plan.
#[derive(Debug)]
pub struct Edges {
    senders: Vec<Arc<Sender>>,
    mailboxes: Vec<Arc<Mailbox>>,
    sinks: Vec<Arc<Sink>>,
    plan: Plan,
    board: Arc<Board>,
}

impl Edges {
    /// Makes every edge; connects to none.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: &Plan) -> Result<Self, EdgeError> {
        let fault = |what: &str| {
            let what = what.to_owned();
            move |error| EdgeError { what, error }
        };
        let mut senders: Vec<Arc<Sender>> = Vec::new();
        let mut mailboxes: Vec<Arc<Mailbox>> = Vec::new();
        for (index, probe) in plan.probes.iter().enumerate() {
            let before = plan.probes.iter().take(index);
            let same_sender = before
                .clone()
                .zip(&senders)
                .find(|(other, _)| Arc::ptr_eq(&other.sender, &probe.sender));
            let same_mailbox = before
                .zip(&mailboxes)
                .find(|(other, _)| Arc::ptr_eq(&other.mailbox, &probe.mailbox));
            let sender = match same_sender {
                Some((_, sender)) => Arc::clone(sender),
                None => Arc::new(Sender::new(&probe.sender).map_err(fault("the sender"))?),
            };
            let mailbox = match same_mailbox {
                Some((_, mailbox)) => Arc::clone(mailbox),
                None => {
                    let plan = Arc::clone(&probe.mailbox);
                    Arc::new(Mailbox::new(plan).map_err(fault("the mailbox"))?)
                }
            };
            senders.push(sender);
            mailboxes.push(mailbox);
        }
        let sinks = plan
            .sinks
            .iter()
            .map(|sink| Sink::new(sink).map(Arc::new).map_err(fault("a sink")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            senders,
            mailboxes,
            sinks,
            plan: plan.clone(),
            board: Arc::default(),
        })
    }

    /// One job for each probe of the plan.
    pub fn jobs(
        &self,
        options: Options,
        observer: impl Fn(&ProbePlan) -> Arc<dyn Fn(&Progress) + Send + Sync>,
    ) -> Vec<Job> {
        let edges = self.senders.iter().zip(&self.mailboxes);
        self.plan
            .probes
            .iter()
            .zip(edges)
            .map(|(probe, (sender, mailbox))| Job {
                probe: Arc::clone(probe),
                keyring: Arc::clone(&self.plan.keyring),
                path: Arc::clone(&self.plan.path),
                sender: Arc::clone(sender),
                mailbox: Arc::clone(mailbox),
                sinks: self.sinks_of(&probe.name),
                board: Arc::clone(&self.board),
                options,
                observer: observer(probe),
            })
            .collect()
    }

    /// The sinks that take this probe's reports.
    fn sinks_of(&self, probe: &str) -> Vec<Arc<Sink>> {
        let sinks = self.plan.sinks.iter().zip(&self.sinks);
        sinks
            .filter(|(plan, _)| plan.takes(probe))
            .map(|(_, sink)| Arc::clone(sink))
            .collect()
    }
}
