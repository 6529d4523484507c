//! What a message tells of its way: hops, authentication, the spam filter's opinion, and what is wrong with them.

use super::header::{self, Field};
use super::path::PathPlan;
use super::report::{Authentication, Hop, Spam};
use super::verdict::Warning;
use chrono::{DateTime, Utc};

/// What a message tells of its way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arrival {
    /// `Date`: when it was written, by the writer's clock.
    pub date: Option<DateTime<Utc>>,
    /// Its hops, oldest first.
    pub hops: Vec<Hop>,
    /// What our border found out about the sender, as far as it can be believed.
    pub authentication: Option<Authentication>,
    /// The spam filter's opinion.
    pub spam: Option<Spam>,
    /// Whose DKIM signatures the message bears, verified or not, top to bottom.
    pub signatures: Vec<Signature>,
    /// What is wrong with the way itself: a lost PROXY header, forged results, clocks that disagree.
    pub warnings: Vec<Warning>,
}

/// Who signed a message (RFC 6376 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signature {
    /// `d=`.
    pub domain: Option<String>,
    /// `s=`.
    pub selector: Option<String>,
}

/// Reads a message, or its header alone. `sent_at` is when it was sent, where that is known better than from its `Date`.
#[must_use]
pub fn read(raw: &[u8], _path: &PathPlan, _sent_at: Option<DateTime<Utc>>) -> Arrival {
    let fields = header::fields(raw);
    Arrival {
        signatures: signatures(&fields),
        ..Arrival::default()
    }
}

fn signatures(fields: &[Field]) -> Vec<Signature> {
    fields
        .iter()
        .filter(|field| field.is("DKIM-Signature"))
        .map(|field| Signature {
            domain: tag(&field.value, "d"),
            selector: tag(&field.value, "s"),
        })
        .collect()
}

/// The value of a tag in a tag list (RFC 6376 section 3.2), white space from folding taken out.
fn tag(list: &str, name: &str) -> Option<String> {
    list.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value: String = value.split_whitespace().collect();
        (key.trim() == name && !value.is_empty()).then_some(value)
    })
}
