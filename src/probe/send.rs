//! What can come of handing a message to a sender, and when to try again.

use super::verdict::{Cause, Warning};
use std::time::Duration;

/// The sender said yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// What the sender calls the message, brackets included; none where it did not say.
    pub message_id: Option<String>,
    /// What the accepting server calls it in its log; none where the sender has no queue of its own.
    pub queue_id: Option<String>,
    /// HTTP status or SMTP reply code.
    pub status: u16,
}

/// One attempt that did not end in a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, for people.
    pub cause: Cause,
    /// Whether the sender may have the message all the same.
    pub taken: Taken,
    /// Whether another attempt can help.
    pub retry: Retry,
    /// HTTP status or SMTP reply code, where there was an answer.
    pub status: Option<u16>,
}

/// Whether a sender that did not say yes may have the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It has not: it said no, or never got the whole message.
    No,
    /// The answer was lost, so the mailbox decides.
    Unknown,
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: the same message would fail the same way.
    Never,
    /// Yes, after a pause of our choice.
    Soon,
    /// Yes, after the pause that the sender asked for.
    After(Duration),
    /// Yes, after minutes: the server says that it does not want the message now (SMTP 4xx, RFC 5321 section 4.5.4.1).
    Later,
}

/// What was found out, and done, about the provider's block of the recipient before sending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preparation {
    /// A block was there, and was lifted. Tells why it was there.
    pub lifted: Option<Warning>,
    /// A block is there and stays. Becomes the run's cause if the message does not arrive.
    pub blocked: Option<Cause>,
    /// What could not be found out.
    pub warnings: Vec<Warning>,
}
