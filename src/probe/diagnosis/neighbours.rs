//! What other probes of the same invocation see, and the mail ports: they tell the way in from the server, and the
//! server from our own network.

use super::Evidence;
use crate::probe::verdict::{Cause, CauseCode, Verdict};

/// How a probe's messages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through a provider, like anybody's mail.
    Outside,
    /// Handed to our own server.
    Inside,
}

/// Another probe's run, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The probe's name.
    pub probe: String,
    /// How its messages come in.
    pub way: Way,
    /// Whether it reads the same mailbox.
    pub same_mailbox: bool,
    /// How it stands.
    pub standing: Standing,
}

/// How another run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Too early to tell.
    UnderWay,
    /// Its mailbox cannot be read.
    Blind,
    /// Its message has not arrived in time.
    Overdue,
    /// Its message was seen.
    Arrived,
    /// Ended with another verdict.
    Failed(Verdict),
}

/// A mail port, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the config.
    pub name: String,
    /// What is wrong with it, in a sentence; none where it is in order.
    pub trouble: Option<String>,
}

/// Adds to the cause of a failed run what the neighbours say.
pub(super) fn add(cause: &mut Cause, verdict: Verdict, evidence: &Evidence) {
    if verdict == Verdict::Undetermined {
        if is_about_mailbox(cause.code) {
            add_blindness(cause, evidence);
        }
        return;
    }
    if matches!(verdict, Verdict::Missing | Verdict::Bounced) {
        add_comparison(cause, evidence);
    }
    if verdict != Verdict::Refused {
        let troubles = evidence.listeners.iter().filter_map(|one| {
            let trouble = one.trouble.as_ref()?;
            Some(format!("listener `{}`: {trouble}", one.name))
        });
        cause.evidence.extend(troubles);
    }
}

fn is_about_mailbox(code: CauseCode) -> bool {
    matches!(
        code,
        CauseCode::MailboxUnreachable | CauseCode::MailboxConnectionLost
    )
}

/// One mailbox that cannot be read may be down; several at once are more likely out of reach.
fn add_blindness(cause: &mut Cause, evidence: &Evidence) {
    let elsewhere: Vec<_> = evidence
        .neighbours
        .iter()
        .filter(|one| !one.same_mailbox && one.standing != Standing::UnderWay)
        .collect();
    let is_blind = |one: &&Neighbour| {
        matches!(
            one.standing,
            Standing::Blind | Standing::Failed(Verdict::Undetermined)
        )
    };
    if elsewhere.is_empty() || !elsewhere.iter().all(is_blind) {
        return;
    }
    cause.evidence.push(format!(
        "the other mailboxes cannot be read either ({})",
        names(&elsewhere)
    ));
    "all mailboxes are out of reach at the same time: look at the network of this machine first (name resolution, route, firewall, network policy)"
        .clone_into(&mut cause.hint);
}

/// The same mailbox, reached two ways.
fn add_comparison(cause: &mut Cause, evidence: &Evidence) {
    let here: Vec<_> = evidence
        .neighbours
        .iter()
        .filter(|one| one.same_mailbox)
        .collect();
    let arrived: Vec<_> = here
        .iter()
        .copied()
        .filter(|one| one.standing == Standing::Arrived)
        .collect();
    let lost: Vec<_> = here
        .iter()
        .copied()
        .filter(|one| {
            matches!(
                one.standing,
                Standing::Overdue | Standing::Failed(Verdict::Missing | Verdict::Bounced)
            )
        })
        .collect();
    let inside: Vec<_> = arrived
        .iter()
        .copied()
        .filter(|one| one.way == Way::Inside)
        .collect();
    let (said, hint) = if !inside.is_empty() {
        (
            format!("mail from inside arrives ({})", names(&inside)),
            "the server stores mail that is handed to it from inside: look at the way in from outside (MX record, firewall, port 25, the provider)",
        )
    } else if !arrived.is_empty() {
        (
            format!("other mail arrives ({})", names(&arrived)),
            "the server stores the mail of other probes: look at this probe's own sender, recipient and rules",
        )
    } else if !lost.is_empty() {
        (
            format!(
                "other probes' mail does not arrive either ({})",
                names(&lost)
            ),
            "mail is lost whichever way it comes in: look at the server itself (queue, disk, filter, delivery)",
        )
    } else {
        return;
    };
    cause.evidence.push(said);
    // Where the cause is known, its own remedy is better than a direction.
    if matches!(cause.code, CauseCode::Unknown | CauseCode::HeldAtProvider) {
        hint.clone_into(&mut cause.hint);
    }
}

fn names(neighbours: &[&Neighbour]) -> String {
    let names: Vec<_> = neighbours
        .iter()
        .map(|one| format!("`{}`", one.probe))
        .collect();
    names.join(", ")
}
