//! What a message tells of its way: hops, authentication, the spam filter's opinion, and what is wrong with them.

use super::auth_results::{self, Statement};
use super::header::{self, Field};
use super::path::{PathPlan, is_private};
use super::received;
use super::report::{Authentication, Hop, Role, Spam, rfc3339};
use super::verdict::{CauseCode, Warning};
use super::{dates, spam};
use chrono::{DateTime, Utc};

/// Stamps have a grain of one second on each side: differences up to this are rounding (seconds).
const ROUNDING: f64 = 2.0;
/// So many hops are read, the newest ones.
pub const MOST_HOPS: usize = 200;
/// No tag of a signature is longer; what is, is cut off.
const LONGEST_TAG: usize = 255;
/// A warning names so many fields or hops as evidence.
const MOST_EVIDENCE: usize = 10;

/// Below the first of these, what stands in a header came with the message.
const WRITERS_FIELDS: [&str; 7] = [
    "DKIM-Signature",
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "MIME-Version",
];

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
    /// Every Authentication-Results field, believed or not, top to bottom.
    pub claims: Vec<Claim>,
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

/// An Authentication-Results field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it says.
    pub statement: Statement,
    /// Whether it is to be believed.
    pub trust: Trust,
}

/// Whether an Authentication-Results field is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// In the name of ours, and where only we can have written it.
    Believed,
    /// In the name of ours, and below our border: it came with the message.
    Forged,
    /// In the name of ours, and nothing tells which hop is our border.
    Unplaced,
    /// Somebody else's.
    Foreign,
}

impl Arrival {
    /// The longest delay that no disagreement of clocks explains, and the hop at whose end it was.
    #[must_use]
    pub fn slowest(&self) -> Option<(f64, &Hop)> {
        slowest(&self.hops)
    }
}

/// The longest delay of these hops that no disagreement of clocks explains.
#[must_use]
pub fn slowest(hops: &[Hop]) -> Option<(f64, &Hop)> {
    hops.iter()
        .filter_map(|hop| Some((hop.certain_delay_seconds()?, hop)))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// Reads a message, or its header alone. `sent_at` is when it was sent, where that is known better than from its `Date`.
#[must_use]
pub fn read(raw: &[u8], path: &PathPlan, sent_at: Option<DateTime<Utc>>) -> Arrival {
    let fields = header::fields(raw);
    let date = value(&fields, "Date").and_then(dates::parse);
    // Newest first, as they stand; each with the index of its field.
    let mut hops: Vec<(usize, Hop)> = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| field.is("Received"))
        .take(MOST_HOPS)
        .map(|(index, field)| (index, received::parse(&field.value)))
        .collect();
    let border = border(&hops, path);
    assign_roles(&mut hops, border, path);
    // What only we can have written: our border's filter writes below the border's own field, and above all that came
    // with the message.
    let ours = border.map(|border| {
        let next = hops
            .get(border + 1)
            .map_or(fields.len(), |(index, _)| *index);
        fields.get(..next).unwrap_or_default()
    });
    let claims = claims(&fields, ours.map(<[Field]>::len), path);
    let mut warnings = Vec::new();
    warnings.extend(border_not_found(&hops, border, path));
    warnings.extend(proxy_header_lost(&hops, border, path));
    let authentication = authentication(&fields, ours, &claims);
    warnings.extend(forged(&claims, authentication.as_ref()));
    let mut hops: Vec<Hop> = hops.into_iter().rev().map(|(_, hop)| hop).collect();
    measure(&mut hops, sent_at.or(date));
    warnings.extend(before_it_was_sent(&hops, sent_at));
    Arrival {
        date,
        hops,
        authentication,
        spam: opinion(&fields, ours),
        signatures: signatures(&fields),
        claims,
        warnings,
    }
}

/// The opinion of our filter. What stands where only we can have written it counts; amavis writes there. A milter
/// (Rspamd, measured behind Postfix) appends its fields to the header instead, below all that came with the message: so
/// else the last field of a name counts. Where no border is known, that holds for Rspamd's own fields alone.
fn opinion(fields: &[Field], ours: Option<&[Field]>) -> Option<Spam> {
    let is_not_theirs = |field: &&Field| !WRITERS_FIELDS.iter().any(|name| field.is(name));
    let above = ours.map(|ours| ours.iter().take_while(is_not_theirs));
    if let Some(spam) = above.and_then(spam::read) {
        return Some(spam);
    }
    if ours.is_some() || fields.iter().any(|field| field.is("X-Spamd-Result")) {
        spam::read(fields.iter().rev())
    } else {
        spam::read(fields.iter())
    }
}

/// Which hop is our border, looked for from the newest down: whoever forges a field can only put it below ours. A filter
/// that hands back on loopback makes a second field of the same server, which is not yet the border.
fn border(hops: &[(usize, Hop)], path: &PathPlan) -> Option<usize> {
    let is_border = |index: usize| {
        hops.get(index)
            .and_then(|(_, hop)| hop.by.as_deref())
            .is_some_and(|by| path.is_border(by))
    };
    let from_loopback = |index: usize| {
        hops.get(index)
            .and_then(|(_, hop)| hop.from.address)
            .is_some_and(|address| address.is_loopback())
    };
    let mut found = (0..hops.len()).find(|index| is_border(*index))?;
    while from_loopback(found) {
        // The filter itself may have left a field in between, under whatever name.
        let beyond = (found + 1..hops.len())
            .find(|index| is_border(*index) || !from_loopback(*index))
            .filter(|index| is_border(*index));
        match beyond {
            Some(index) => found = index,
            None => break,
        }
    }
    Some(found)
}

fn assign_roles(hops: &mut [(usize, Hop)], border: Option<usize>, path: &PathPlan) {
    let Some(border) = border else {
        return;
    };
    for (index, (_, hop)) in hops.iter_mut().enumerate() {
        let by = hop.by.as_deref().unwrap_or_default();
        hop.role = Some(match index.cmp(&border) {
            std::cmp::Ordering::Less => Role::Inside,
            std::cmp::Ordering::Equal => Role::Border,
            std::cmp::Ordering::Greater if path.is_backup_mx(by) => Role::BackupMx,
            std::cmp::Ordering::Greater => Role::Outside,
        });
    }
}

/// Delays of hops, oldest first. Where a stamp is before the one above it, one of the two clocks is wrong: that edge has
/// no delay, and neither has its neighbour as far as the same clock explains it.
fn measure(hops: &mut [Hop], sent_at: Option<DateTime<Utc>>) {
    let mut before = sent_at;
    let mut edges: Vec<Option<f64>> = Vec::with_capacity(hops.len());
    for hop in hops.iter() {
        let edge = before
            .zip(hop.at)
            .map(|(before, at)| milliseconds(at - before));
        edges.push(edge);
        before = hop.at.or(before);
    }
    for (index, hop) in hops.iter_mut().enumerate() {
        let edge = |index: Option<usize>| edges.get(index?).copied().flatten();
        let Some(delay) = edge(Some(index)) else {
            continue;
        };
        hop.delay_seconds = Some(delay.max(0.0));
        hop.skew_seconds = if delay < -ROUNDING {
            Some(-delay)
        } else {
            // How far a neighbour says that a clock is off, where this delay makes up for it.
            [index.checked_sub(1), index.checked_add(1)]
                .into_iter()
                .filter_map(edge)
                .map(|other| -other)
                .filter(|skew| *skew > ROUNDING && delay >= skew - ROUNDING)
                .map(|skew| skew.min(delay))
                .reduce(f64::max)
        };
    }
}

fn milliseconds(delta: chrono::TimeDelta) -> f64 {
    // Exact up to 285,000 years.
    #[allow(clippy::cast_precision_loss)]
    let milliseconds = delta.num_milliseconds() as f64;
    milliseconds / 1000.0
}

/// `length` is how many fields from the top only we can have written.
fn claims(fields: &[Field], length: Option<usize>, path: &PathPlan) -> Vec<Claim> {
    fields
        .iter()
        .enumerate()
        .filter(|(_, field)| field.is("Authentication-Results"))
        .map(|(index, field)| {
            let statement = auth_results::parse(&field.value);
            let trust = match length {
                _ if !path.is_authserv(&statement.authserv_id) => Trust::Foreign,
                None => Trust::Unplaced,
                Some(length) if index < length => Trust::Believed,
                Some(_) => Trust::Forged,
            };
            Claim { statement, trust }
        })
        .collect()
}

fn authentication(
    fields: &[Field],
    ours: Option<&[Field]>,
    claims: &[Claim],
) -> Option<Authentication> {
    let believed: Vec<Statement> = claims
        .iter()
        .filter(|claim| claim.trust == Trust::Believed)
        .map(|claim| claim.statement.clone())
        .collect();
    let from = value(fields, "From").and_then(from_domain);
    let combined = auth_results::combine(&believed, from.as_deref());
    let received_spf = ours
        .and_then(|ours| value(ours, "Received-SPF"))
        .and_then(auth_results::parse_received_spf);
    match (combined, received_spf) {
        (Some(combined), spf) => Some(Authentication {
            spf: combined.spf.or(spf),
            ..combined
        }),
        (None, Some(spf)) => Some(Authentication {
            spf: Some(spf),
            ..Authentication::default()
        }),
        (None, None) => None,
    }
}

fn border_not_found(
    hops: &[(usize, Hop)],
    border: Option<usize>,
    path: &PathPlan,
) -> Option<Warning> {
    if border.is_some() || !path.has_border() {
        return None;
    }
    let names: Vec<String> = hops
        .iter()
        .filter_map(|(_, hop)| hop.by.as_ref())
        .take(MOST_EVIDENCE)
        .map(|by| format!("`{by}`"))
        .collect();
    Some(Warning {
        code: CauseCode::BorderNotFound,
        summary: "no hop of the message is the border that `[path]` names, so nothing in its header is believed"
            .to_owned(),
        hint: "put the name that the server writes behind `by` in its Received field into `border` of `[path]`"
            .to_owned(),
        evidence: vec![if names.is_empty() {
            "the message has no Received field that names its writer".to_owned()
        } else {
            format!("it was taken by {}", names.join(", "))
        }],
    })
}

/// Without the PROXY header the balancer is everybody's client: SPF, greylisting, block lists and bans all look at it.
fn proxy_header_lost(
    hops: &[(usize, Hop)],
    border: Option<usize>,
    path: &PathPlan,
) -> Option<Warning> {
    let (_, hop) = hops.get(border?)?;
    let address = hop.from.address.filter(|address| is_private(*address))?;
    let from = &hop.from;
    let is_ours = |name: &Option<String>| name.as_deref().is_some_and(|name| path.is_ours(name));
    // Who logged in may do so from inside, and our own servers may hand over on private addresses.
    if received::is_authenticated(hop) || is_ours(&from.helo) || is_ours(&from.name) {
        return None;
    }
    let by = hop.by.as_deref().unwrap_or("the border");
    Some(Warning {
        code: CauseCode::ProxyHeaderLost,
        summary: format!(
            "`{by}` saw the private address {address} as the client of a message from outside: the PROXY header was lost on the way"
        ),
        hint: "let what forwards the port (HAProxy: `send-proxy-v2`) send the PROXY header, and the port demand it \
               (Postfix: `smtpd_upstream_proxy_protocol = haproxy`); until then every sender looks alike to SPF, \
               block lists and greylisting"
            .to_owned(),
        evidence: vec![format!(
            "Received: from {} ({} [{address}]) by {by}",
            from.helo.as_deref().unwrap_or("-"),
            from.name.as_deref().unwrap_or("unknown"),
        )],
    })
}

fn forged(claims: &[Claim], believed: Option<&Authentication>) -> Option<Warning> {
    let said = |claim: &Claim| {
        let results: Vec<String> = claim
            .statement
            .results
            .iter()
            .map(|(method, one)| format!("{}={}", method.name(), one.result.name()))
            .collect();
        format!("{}: {}", claim.statement.authserv_id, results.join(", "))
    };
    let contradicts = |claim: &&Claim| {
        claim.trust == Trust::Believed
            && believed.is_some_and(|believed| contradicts(&claim.statement, believed))
    };
    let is_forged = |claim: &&Claim| claim.trust == Trust::Forged || contradicts(claim);
    let forged = claims.iter().filter(is_forged);
    let evidence: Vec<String> = forged.take(MOST_EVIDENCE).map(said).collect();
    let first = evidence.first()?;
    Some(Warning {
        code: CauseCode::AuthenticationResultsForged,
        summary: format!(
            "the message came with Authentication-Results in the name of ours, which were ignored: {first}"
        ),
        hint: "let the border delete incoming Authentication-Results fields that bear its own id (RFC 8601 section 5)"
            .to_owned(),
        evidence,
    })
}

/// A lower field that says something else than the upper one, which counts.
fn contradicts(statement: &Statement, believed: &Authentication) -> bool {
    use auth_results::Method;
    statement.results.iter().any(|(method, one)| {
        let counted = match method {
            Method::Spf => &believed.spf,
            Method::Dmarc => &believed.dmarc,
            Method::Arc => &believed.arc,
            // Several signatures have several results.
            Method::Dkim => return false,
        };
        counted
            .as_ref()
            .is_some_and(|counted| counted.result != one.result)
    })
}

/// A mail cannot arrive before it was sent: the only hard evidence about clocks.
fn before_it_was_sent(hops: &[Hop], sent_at: Option<DateTime<Utc>>) -> Option<Warning> {
    let sent_at = sent_at?;
    let ours = hops
        .iter()
        .filter(|hop| matches!(hop.role, Some(Role::Border | Role::Inside)));
    let (hop, at) = ours
        .filter_map(|hop| Some((hop, hop.at?)))
        .find(|(_, at)| milliseconds(*at - sent_at) < -ROUNDING)?;
    let by = hop.by.as_deref().unwrap_or("a hop");
    let behind = milliseconds(sent_at - at);
    Some(Warning {
        code: CauseCode::ClockSkew,
        summary: format!(
            "by its clock `{by}` took the message {behind:.0} s before it was sent: its clock is behind ours, or ours is ahead"
        ),
        hint: "see that both machines set their clocks by NTP (`chronyc tracking`, `timedatectl`)"
            .to_owned(),
        evidence: vec![format!(
            "sent {}, taken by `{by}` {}",
            rfc3339(sent_at),
            rfc3339(at)
        )],
    })
}

fn value<'f>(fields: &'f [Field], name: &str) -> Option<&'f str> {
    let field = fields.iter().find(|field| field.is(name))?;
    Some(field.value.as_str())
}

/// The domain of the address in From, display names and comments aside.
fn from_domain(value: &str) -> Option<String> {
    let address = match value.rsplit_once('<') {
        Some((_, rest)) => rest.split('>').next()?,
        None => value.split('(').next()?,
    };
    let (_, domain) = address.trim().rsplit_once('@')?;
    Some(domain.trim().to_ascii_lowercase())
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
        let value = value.split_whitespace().flat_map(str::chars);
        let value: String = value.take(LONGEST_TAG).collect();
        (key.trim() == name && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
#[path = "arrival_tests.rs"]
mod tests;
