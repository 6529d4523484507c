//! What the answers of one resolver mean.

use super::{
    Answer, Answered, Fault, Finding, Kind, Level, MOST_SPF_RECORDS, Question, SenderDomain,
    Subject, parents, spf_references, texts,
};
use crate::probe::path::Pattern;
use std::collections::BTreeSet;

/// Judges each record that the subject depends on.
#[must_use]
pub fn judge(subject: &Subject, answered: &[Answered]) -> Vec<Finding> {
    let answers = Answers(answered);
    let mut findings = Vec::new();
    for domain in &subject.recipients {
        findings.push(mx(subject, domain, &answers));
        for (kind, label) in [(Kind::MtaSts, "_mta-sts"), (Kind::TlsRpt, "_smtp._tls")] {
            findings.extend(optional(kind, &format!("{label}.{domain}"), &answers));
        }
    }
    findings.extend(hosts(answered));
    for sender in &subject.senders {
        findings.push(spf(sender, &answers));
    }
    let domains: BTreeSet<&String> = subject.senders.iter().map(|one| &one.domain).collect();
    for domain in domains {
        findings.push(dmarc(domain, &answers));
    }
    let keys = subject.key_names();
    findings.extend(keys.iter().map(|name| dkim(name, &answers)));
    findings
}

/// Answers by question.
struct Answers<'a>(&'a [Answered]);

impl<'a> Answers<'a> {
    fn of(&self, kind: Kind, name: &str) -> Option<&'a Answer> {
        let found = self.0.iter().find(|one| {
            let Question {
                kind: other,
                name: other_name,
            } = &one.question;
            *other == kind && other_name.eq_ignore_ascii_case(name)
        });
        found.map(|one| &one.answer)
    }

    /// The texts of this kind at a name; what keeps them from being known is a finding.
    fn texts(&self, kind: Kind, name: &str) -> Result<Vec<&'a str>, Finding> {
        match self.of(kind, name) {
            Some(Answer::Records(records)) => Ok(texts(kind, records).collect()),
            Some(Answer::Nothing(_)) => Ok(Vec::new()),
            Some(Answer::Failed(reason)) => Err(unknown(kind, name, reason)),
            None => Err(unknown(kind, name, "it was not asked for")),
        }
    }
}

fn unknown(kind: Kind, name: &str, reason: &str) -> Finding {
    Finding::bad(
        Level::Warn,
        Fault::Unknown,
        kind,
        format!("cannot look up {} of `{name}`: {reason}", kind.name()),
        "does the resolver (`[dns] resolver`) answer, and may this machine ask it?",
    )
}

fn mx(subject: &Subject, domain: &str, answers: &Answers<'_>) -> Finding {
    let records = match answers.texts(Kind::Mx, domain) {
        Ok(records) => records,
        Err(finding) => return finding,
    };
    let bad = |level, fault, summary, hint| Finding::bad(level, fault, Kind::Mx, summary, hint);
    let mut hosts: Vec<(u16, &str)> = records
        .iter()
        .filter_map(|record| record.split_once(' '))
        .filter_map(|(preference, host)| Some((preference.parse().ok()?, host)))
        .collect();
    hosts.sort_unstable();
    let Some((_, first)) = hosts.first() else {
        return bad(
            Level::Fail,
            Fault::Missing,
            format!("`{domain}` has no MX record"),
            "senders fall back to the address of the domain, if it has one: add an MX record",
        );
    };
    if *first == "." {
        return bad(
            Level::Fail,
            Fault::Wrong,
            format!("`{domain}` says that it takes no mail (a null MX, RFC 7505)"),
            "replace the MX record `0 .` by the mail server's",
        );
    }
    let list: Vec<String> = hosts
        .iter()
        .map(|(preference, host)| format!("{preference} {host}"))
        .collect();
    let list = list.join(", ");
    let matches = |patterns: &[Pattern], host: &str| patterns.iter().any(|one| one.matches(host));
    let path = &subject.path;
    if !path.mx.is_empty() && !matches(&path.mx, first) {
        let summary = format!("the first MX of `{domain}` is none of `[path] mx`: {list}");
        let hint = "give the mail server the lowest preference, or write its name into `[path] mx`";
        return bad(Level::Warn, Fault::Wrong, summary, hint);
    }
    let is_known = |host: &str| matches(&path.mx, host) || matches(&path.backup_mx, host);
    let stranger = hosts.iter().find(|(_, host)| !is_known(host));
    if let (Some((_, stranger)), false) = (stranger, path.mx.is_empty()) {
        let summary =
            format!("`{domain}` has an MX that `[path]` does not know, `{stranger}`: {list}");
        let hint = "write it into `[path] backup_mx` if it is ours; mail that goes there is lost to us if not";
        return bad(Level::Warn, Fault::Wrong, summary, hint);
    }
    Finding::ok(Kind::Mx, format!("MX of `{domain}`: {list}"))
}

/// Records that a domain may have or not; only a broken one is worth a word.
fn optional(kind: Kind, name: &str, answers: &Answers<'_>) -> Option<Finding> {
    let texts = match answers.texts(kind, name) {
        Ok(texts) => texts,
        Err(finding) => return Some(finding),
    };
    match texts.as_slice() {
        [] => None,
        [text] => {
            let is_whole = match kind {
                Kind::MtaSts => tag(text, "id").is_some(),
                _ => tag(text, "rua").is_some(),
            };
            Some(if is_whole {
                Finding::ok(kind, format!("{} at `{name}`: {text}", kind.name()))
            } else {
                broken(kind, name, text)
            })
        }
        // RFC 8461 section 3.1 and RFC 8460 section 3: then none counts.
        several => Some(broken(kind, name, &several.join(" and "))),
    }
}

fn broken(kind: Kind, name: &str, text: &str) -> Finding {
    Finding::bad(
        Level::Warn,
        Fault::Wrong,
        kind,
        format!("{} at `{name}` is not valid: {text}", kind.name()),
        "there has to be one record, with `id=` (MTA-STS) or `rua=` (TLS-RPT)",
    )
}

/// Addresses of mail hosts, and the names of these.
fn hosts(answered: &[Answered]) -> impl Iterator<Item = Finding> {
    answered.iter().filter_map(|one| {
        let Question { kind, name } = &one.question;
        match (kind, &one.answer) {
            (Kind::Address, Answer::Nothing(_)) => Some(Finding::bad(
                Level::Fail,
                Fault::Missing,
                Kind::Address,
                format!("the MX `{name}` has no address"),
                "add an A or AAAA record, or take the host out of the MX records",
            )),
            (Kind::Ptr, Answer::Nothing(_)) => Some(Finding::bad(
                Level::Warn,
                Fault::Missing,
                Kind::Ptr,
                format!("the address {name} of an MX has no name (PTR)"),
                "have whoever gave you the address set one: servers refuse mail from addresses without",
            )),
            (Kind::Address | Kind::Ptr, Answer::Failed(reason)) => {
                Some(unknown(*kind, name, reason))
            }
            _ => None,
        }
    })
}

fn spf(sender: &SenderDomain, answers: &Answers<'_>) -> Finding {
    let domain = &sender.domain;
    let texts = match answers.texts(Kind::Spf, domain) {
        Ok(texts) => texts,
        Err(finding) => return finding,
    };
    let bad = |level, fault, summary, hint| Finding::bad(level, fault, Kind::Spf, summary, hint);
    let text = match texts.as_slice() {
        [text] => *text,
        [] => {
            return bad(
                Level::Fail,
                Fault::Missing,
                format!("`{domain}` has no SPF record"),
                "add a TXT record that begins with v=spf1; without one mail from the domain counts as unauthenticated",
            );
        }
        several => {
            let summary = format!(
                "`{domain}` has {} SPF records, so none counts",
                several.len()
            );
            let hint = "make one of them (RFC 7208 section 4.5)";
            return bad(Level::Fail, Fault::Wrong, summary, hint);
        }
    };
    let wanted = &sender.spf_includes;
    let reached = reached(domain, answers);
    let found = wanted.iter().find(|name| reached.contains(name.as_str()));
    match found {
        Some(name) => Finding::ok(Kind::Spf, format!("SPF of `{domain}` includes {name}")),
        None if wanted.is_empty() => Finding::ok(Kind::Spf, format!("SPF of `{domain}`: {text}")),
        None => bad(
            Level::Warn,
            Fault::Wrong,
            format!(
                "SPF of `{domain}` does not include {}: {text}",
                wanted.join(" or ")
            ),
            "add the include; where the provider's return path is its own domain, DKIM alone carries DMARC, and this may stay",
        ),
    }
}

/// Every name that the SPF record of a domain refers to, and those refer to in turn.
fn reached<'a>(domain: &'a str, answers: &Answers<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![domain];
    while let Some(name) = open.pop() {
        if reached.len() > MOST_SPF_RECORDS || !reached.insert(name) {
            continue;
        }
        let texts = answers.texts(Kind::Spf, name).unwrap_or_default();
        open.extend(texts.into_iter().flat_map(spf_references));
    }
    reached.remove(domain);
    reached
}

fn dmarc(domain: &str, answers: &Answers<'_>) -> Finding {
    for parent in parents(domain) {
        let name = format!("_dmarc.{parent}");
        let texts = match answers.texts(Kind::Dmarc, &name) {
            Ok(texts) => texts,
            Err(finding) => return finding,
        };
        match texts.as_slice() {
            [] => {}
            [text] => {
                return match tag(text, "p") {
                    Some(policy) => {
                        Finding::ok(Kind::Dmarc, format!("DMARC at `{name}`: p={policy}"))
                    }
                    None => Finding::bad(
                        Level::Warn,
                        Fault::Wrong,
                        Kind::Dmarc,
                        format!("DMARC at `{name}` has no policy: {text}"),
                        "add p=none, p=quarantine or p=reject",
                    ),
                };
            }
            several => {
                return Finding::bad(
                    Level::Warn,
                    Fault::Wrong,
                    Kind::Dmarc,
                    format!(
                        "`{name}` has {} DMARC records, so none counts",
                        several.len()
                    ),
                    "leave one (RFC 7489 section 6.6.3)",
                );
            }
        }
    }
    Finding::bad(
        Level::Warn,
        Fault::Missing,
        Kind::Dmarc,
        format!("`{domain}` has no DMARC record"),
        "add a TXT record at _dmarc that begins with v=DMARC1; large providers want one of every sender",
    )
}

fn dkim(name: &str, answers: &Answers<'_>) -> Finding {
    let bad = |fault, summary, hint| Finding::bad(Level::Fail, fault, Kind::Dkim, summary, hint);
    let hint = "add the record that the provider shows for this selector; signatures with it fail until then";
    let records = match answers.of(Kind::Dkim, name) {
        Some(Answer::Records(records)) => records,
        Some(Answer::Nothing(Some(alias))) => {
            let summary = format!("the DKIM key `{name}` leads to `{alias}`, which has no key");
            return bad(Fault::Missing, summary, hint);
        }
        Some(Answer::Nothing(None)) => {
            let summary = format!("the DKIM key `{name}` does not exist");
            return bad(Fault::Missing, summary, hint);
        }
        Some(Answer::Failed(reason)) => return unknown(Kind::Dkim, name, reason),
        None => return unknown(Kind::Dkim, name, "it was not asked for"),
    };
    let key = records.iter().find_map(|text| tag(text, "p"));
    match key {
        Some("") => bad(
            Fault::Wrong,
            format!("the DKIM key `{name}` was revoked (its p= is empty)"),
            hint,
        ),
        Some(_) => Finding::ok(Kind::Dkim, format!("DKIM key `{name}` is there")),
        None => bad(
            Fault::Wrong,
            format!("`{name}` has a text that is no DKIM key"),
            hint,
        ),
    }
}

/// The value of a tag in `tag=value; tag=value` (RFC 6376 section 3.2).
fn tag<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(';').find_map(|pair| {
        let (tag, value) = pair.split_once('=')?;
        tag.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
