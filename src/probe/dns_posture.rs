//! The DNS records that mail depends on: which to ask for, and what the answers mean, alone and held against another
//! resolver's.

mod drift;
mod judge;
mod seen;
#[cfg(test)]
mod tests;

pub use drift::drift;
pub use judge::judge;
pub use seen::{MOST_SEEN_KEYS, seen_keys};

use super::path::{PathPlan, is_private};
use core::net::IpAddr;
use std::collections::BTreeSet;

/// SPF allows ten look-ups in all (RFC 7208 section 4.6.4).
pub const MOST_SPF_RECORDS: usize = 10;
/// More hosts than these are not looked up.
pub const MOST_HOSTS: usize = 10;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Where a domain's mail goes (RFC 5321 section 5).
    Mx,
    /// Addresses of a mail host.
    Address,
    /// The name of an address of a mail host.
    Ptr,
    /// Who may send for a domain (RFC 7208).
    Spf,
    /// A key that signs (RFC 6376).
    Dkim,
    /// What is to become of mail that fails both (RFC 7489).
    Dmarc,
    /// That TLS is a must on the way in (RFC 8461).
    MtaSts,
    /// Where failures of TLS are reported (RFC 8460).
    TlsRpt,
}

impl Kind {
    /// Every kind, in the order in which documents list them.
    pub const ALL: [Self; 8] = [
        Self::Mx,
        Self::Address,
        Self::Ptr,
        Self::Spf,
        Self::Dkim,
        Self::Dmarc,
        Self::MtaSts,
        Self::TlsRpt,
    ];

    /// The name in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Address => "address",
            Self::Ptr => "ptr",
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::MtaSts => "mta_sts",
            Self::TlsRpt => "tls_rpt",
        }
    }

    /// What its text begins with, where it is one text among others of a name.
    fn version(self) -> Option<&'static str> {
        match self {
            Self::Spf => Some("v=spf1"),
            Self::Dmarc => Some("v=DMARC1"),
            Self::MtaSts => Some("v=STSv1"),
            Self::TlsRpt => Some("v=TLSRPTv1"),
            // `v=DKIM1` may be left out (RFC 6376 section 3.6.1).
            Self::Dkim | Self::Mx | Self::Address | Self::Ptr => None,
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// What kind of record.
    pub kind: Kind,
    /// The name whose record it is; an address for [`Kind::Ptr`].
    pub name: String,
}

/// What a resolver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These records: texts, `10 mail.example.org`, addresses, names. Aliases are followed.
    Records(Vec<String>),
    /// The name does not exist, or has no such record. Where it is an alias, to this name.
    Nothing(Option<String>),
    /// The resolver could not tell.
    Failed(String),
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The question.
    pub question: Question,
    /// The answer.
    pub answer: Answer,
}

/// A domain that messages are from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SenderDomain {
    /// The domain.
    pub domain: String,
    /// Names of which SPF has to include one, so that the provider may send; empty where it is not known.
    pub spf_includes: Vec<String>,
}

/// What the records are about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subject {
    /// Domains that mail is sent to.
    pub recipients: BTreeSet<String>,
    /// Domains that it is from.
    pub senders: BTreeSet<SenderDomain>,
    /// DKIM selectors: `brevo1` for every sender's domain, or a whole name with `._domainkey.`.
    pub selectors: BTreeSet<String>,
    /// Who is who on the way.
    pub path: PathPlan,
}

impl Subject {
    /// The names of all keys that have to be there.
    fn key_names(&self) -> BTreeSet<String> {
        let of = |selector: &String| {
            if selector.contains("._domainkey.") {
                return vec![selector.clone()];
            }
            let senders = self.senders.iter();
            senders
                .map(|sender| format!("{selector}._domainkey.{}", sender.domain))
                .collect()
        };
        self.selectors.iter().flat_map(of).collect()
    }
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and should not be so.
    Warn,
    /// Mail is lost or filed as spam over this.
    Fail,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It does not say what it should.
    Wrong,
    /// Another resolver answers otherwise.
    Drift,
    /// It could not be asked for.
    Unknown,
}

/// What was found out about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How good or bad.
    pub level: Level,
    /// What kind of record.
    pub kind: Kind,
    /// What is wrong; none where nothing is.
    pub fault: Option<Fault>,
    /// One sentence. Lower case, no full stop.
    pub summary: String,
    /// What to do about it; empty where nothing is wrong.
    pub hint: String,
}

impl Finding {
    fn ok(kind: Kind, summary: String) -> Self {
        Self {
            level: Level::Ok,
            kind,
            fault: None,
            summary,
            hint: String::new(),
        }
    }

    fn bad(level: Level, fault: Fault, kind: Kind, summary: String, hint: &str) -> Self {
        Self {
            level,
            kind,
            fault: Some(fault),
            summary,
            hint: hint.to_owned(),
        }
    }
}

/// The first questions about a subject; [`follow_up`] asks on.
#[must_use]
pub fn questions(subject: &Subject) -> Vec<Question> {
    let ask = |kind, name: String| Question { kind, name };
    let mut questions = Vec::new();
    for domain in &subject.recipients {
        questions.extend([
            ask(Kind::Mx, domain.clone()),
            ask(Kind::MtaSts, format!("_mta-sts.{domain}")),
            ask(Kind::TlsRpt, format!("_smtp._tls.{domain}")),
        ]);
    }
    let domains: BTreeSet<&String> = subject.senders.iter().map(|one| &one.domain).collect();
    for domain in domains {
        questions.push(ask(Kind::Spf, domain.clone()));
        // A policy of the organisation holds for what is below it (RFC 7489 section 6.6.3).
        let dmarc = parents(domain).map(|parent| ask(Kind::Dmarc, format!("_dmarc.{parent}")));
        questions.extend(dmarc);
    }
    let keys = subject.key_names().into_iter();
    questions.extend(keys.map(|name| ask(Kind::Dkim, name)));
    questions.sort();
    questions.dedup();
    questions
}

/// The domain itself and those above it that are not a top level.
fn parents(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| {
        name.split_once('.').map(|(_, rest)| rest)
    })
    .filter(|name| name.contains('.'))
    .take(4)
}

/// Questions that these answers raise and that have not been answered yet: what SPF includes, addresses of mail hosts,
/// names of these addresses.
#[must_use]
pub fn follow_up(answered: &[Answered]) -> Vec<Question> {
    let mut more: BTreeSet<Question> = BTreeSet::new();
    for one in answered {
        let Answer::Records(records) = &one.answer else {
            continue;
        };
        let ask = |kind, name: &str| Question {
            kind,
            name: name.to_owned(),
        };
        match one.question.kind {
            Kind::Mx => more.extend(
                records
                    .iter()
                    .filter_map(|record| record.split_once(' '))
                    .filter(|(_, host)| *host != ".")
                    .map(|(_, host)| ask(Kind::Address, host)),
            ),
            // An address that the public does not route has no name that counts.
            Kind::Address => more.extend(
                records
                    .iter()
                    .filter(|text| text.parse().is_ok_and(is_public))
                    .map(|address| ask(Kind::Ptr, address)),
            ),
            Kind::Spf => more.extend(
                texts(Kind::Spf, records)
                    .flat_map(spf_references)
                    .map(|name| ask(Kind::Spf, name)),
            ),
            _ => {}
        }
    }
    let known: BTreeSet<&Question> = answered.iter().map(|one| &one.question).collect();
    let count = |kind| known.iter().filter(|one| one.kind == kind).count();
    let mut room = [
        (Kind::Spf, MOST_SPF_RECORDS.saturating_sub(count(Kind::Spf))),
        (
            Kind::Address,
            MOST_HOSTS.saturating_sub(count(Kind::Address)),
        ),
        (Kind::Ptr, MOST_HOSTS.saturating_sub(count(Kind::Ptr))),
    ];
    more.retain(|question| {
        let left = room.iter_mut().find(|(kind, _)| *kind == question.kind);
        let Some((_, left)) = left.filter(|(_, left)| *left > 0) else {
            return false;
        };
        let is_new = !known.contains(question);
        *left -= usize::from(is_new);
        is_new
    });
    more.into_iter().collect()
}

/// Whether anybody could have named it in a PTR record.
fn is_public(address: IpAddr) -> bool {
    let is_documentation = matches!(address, IpAddr::V4(four) if four.is_documentation());
    !is_private(address) && !is_documentation
}

/// The texts of this kind among all texts of a name.
fn texts(kind: Kind, records: &[String]) -> impl Iterator<Item = &str> {
    records.iter().map(String::as_str).filter(move |text| {
        kind.version().is_none_or(|version| {
            let start = text.get(..version.len()).unwrap_or_default();
            let rest = text.get(version.len()..).unwrap_or_default();
            start.eq_ignore_ascii_case(version)
                && rest
                    .chars()
                    .next()
                    .is_none_or(|c| !c.is_ascii_alphanumeric())
        })
    })
}

/// The names that an SPF record refers to (RFC 7208 sections 5.2 and 6.1). Macros are left alone.
fn spf_references(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace().filter_map(|term| {
        let term = term.trim_start_matches(['+', '-', '~', '?']);
        let (mechanism, name) = term.split_once([':', '='])?;
        let refers = ["include", "redirect"]
            .iter()
            .any(|word| mechanism.eq_ignore_ascii_case(word));
        (refers && !name.contains('%')).then_some(name.trim_end_matches('.'))
    })
}
