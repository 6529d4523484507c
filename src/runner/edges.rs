//! Senders, mailboxes and sinks of a plan, each made once however many probes use it.

use super::board::SeenKeys;
use super::{Board, Job, Options, Progress};
use crate::config::plan::{Plan, ProbePlan};
use crate::mailboxes::Mailbox;
use crate::net::tls::TlsError;
use crate::probe::surroundings::Surroundings;
use crate::senders::Sender;
use crate::sinks::Sink;
use chrono::TimeDelta;
use std::collections::HashMap;
use std::sync::Arc;

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up {what}: {error}")]
pub struct EdgeError {
    /// Sender, mailbox or sink.
    what: String,
    error: TlsError,
}

impl EdgeError {
    fn of(what: &str, error: TlsError) -> Self {
        let what = what.to_owned();
        Self { what, error }
    }
}

/// The edges of a plan.
#[derive(Debug)]
pub struct Edges {
    /// Of each probe, in their order.
    senders: Vec<Arc<Sender>>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Of each sink, in their order.
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
        Self::make(plan, None)
    }

    /// The edges of a plan that takes the place of another: what is configured as it was keeps its connections.
    ///
    /// # Errors
    /// As [`Edges::new`].
    pub fn renewed(plan: &Plan, old: &Self) -> Result<Self, EdgeError> {
        Self::make(plan, Some(old))
    }

    fn make(plan: &Plan, old: Option<&Self>) -> Result<Self, EdgeError> {
        let before = old.map_or_else(Vec::new, |old| old.plan.probes.clone());
        let old_senders = old.map(|old| before.iter().map(|one| &one.sender).zip(&old.senders));
        let senders = each(
            plan.probes.iter().map(|probe| &probe.sender),
            old_senders.into_iter().flatten(),
            |plan| Sender::new(plan).map_err(|error| EdgeError::of("the sender", error)),
        )?;
        let old_mailboxes =
            old.map(|old| before.iter().map(|one| &one.mailbox).zip(&old.mailboxes));
        let mailboxes = each(
            plan.probes.iter().map(|probe| &probe.mailbox),
            old_mailboxes.into_iter().flatten(),
            |plan| {
                let made = Mailbox::new(Arc::clone(plan));
                made.map_err(|error| EdgeError::of("the mailbox", error))
            },
        )?;
        let old_sinks = old.map(|old| old.plan.sinks.iter().zip(&old.sinks));
        let sinks = each(plan.sinks.iter(), old_sinks.into_iter().flatten(), |plan| {
            Sink::new(plan).map_err(|error| EdgeError::of("a sink", error))
        })?;
        Ok(Self {
            senders,
            mailboxes,
            sinks,
            plan: plan.clone(),
            board: old.map(|old| Arc::clone(&old.board)).unwrap_or_default(),
        })
    }

    /// Lets every run know what was found beside them, from now on.
    pub fn set_surroundings(&self, found: &Arc<Surroundings>) {
        self.board.set_surroundings(Arc::clone(found));
    }

    /// The DKIM keys that the latest message of each probe of the plan was signed with.
    pub(super) fn seen_keys(&self) -> Vec<SeenKeys> {
        let probes = self.plan.probes.iter();
        probes.map(|probe| self.board.keys(&probe.name)).collect()
    }

    /// Every sink.
    #[must_use]
    pub fn sinks(&self) -> &[Arc<Sink>] {
        &self.sinks
    }

    /// The mailbox of each probe.
    #[must_use]
    pub fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    /// One job for each probe of the plan.
    pub fn jobs(
        &self,
        options: Options,
        observer: impl Fn(&ProbePlan) -> Arc<dyn Fn(&Progress) + Send + Sync>,
    ) -> Vec<Job> {
        let probes = self.plan.probes.iter().enumerate();
        probes
            .filter_map(|(index, probe)| self.job(index, options, observer(probe)))
            .collect()
    }

    /// The job of one probe of the plan.
    #[must_use]
    pub fn job(
        &self,
        index: usize,
        options: Options,
        observer: Arc<dyn Fn(&Progress) + Send + Sync>,
    ) -> Option<Job> {
        let probe = self.plan.probes.get(index)?;
        Some(Job {
            probe: Arc::clone(probe),
            identity: self.plan.keyring.identity(&probe.name)?.clone(),
            keyring: Arc::clone(&self.plan.keyring),
            path: Arc::clone(&self.plan.path),
            sender: Arc::clone(self.senders.get(index)?),
            mailbox: Arc::clone(self.mailboxes.get(index)?),
            sinks: self.sinks_of(&probe.name),
            board: Arc::clone(&self.board),
            dns: self.plan.dns.clone(),
            queues: Vec::new(),
            overdue: Arc::default(),
            planned: None,
            offset: TimeDelta::zero(),
            options,
            observer,
        })
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

/// The edge of each plan, made once for plans that are the same one, and taken over where an old plan says the same.
fn each<'p, P: PartialEq + 'p, E: 'p>(
    plans: impl Iterator<Item = &'p Arc<P>>,
    old: impl Iterator<Item = (&'p Arc<P>, &'p Arc<E>)>,
    make: impl Fn(&Arc<P>) -> Result<E, EdgeError>,
) -> Result<Vec<Arc<E>>, EdgeError> {
    let mut known: Vec<(&Arc<P>, &Arc<E>)> = Vec::new();
    for (plan, edge) in old {
        if !known.iter().any(|(_, other)| Arc::ptr_eq(edge, other)) {
            known.push((plan, edge));
        }
    }
    let mut made: HashMap<*const P, Arc<E>> = HashMap::new();
    plans
        .map(|plan| {
            if let Some(edge) = made.get(&Arc::as_ptr(plan)) {
                return Ok(Arc::clone(edge));
            }
            let edge = match known.iter().find(|(known, _)| *known == plan) {
                Some((_, edge)) => Arc::clone(edge),
                None => Arc::new(make(plan)?),
            };
            made.insert(Arc::as_ptr(plan), Arc::clone(&edge));
            Ok(edge)
        })
        .collect()
}
