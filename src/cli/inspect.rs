//! `mailprobe inspect`: what one message tells of its way.

use super::output::{self, Colour, Line};
use super::{Common, Format, USAGE};
use crate::config::{self, ConfigError};
use crate::probe::arrival::{self, Arrival, Trust};
use crate::probe::auth_results;
use crate::probe::header::{self, FIELD_LIMIT, Field, HEADER_LIMIT};
use crate::probe::path::PathPlan;
use crate::probe::report::{AuthResult, Authentication, Hop, MethodResult, Spam, rfc3339};
use crate::probe::token::{self, Claims, Keyring};
use clap::Args;
use serde_json::json;
use std::io::Read;

/// Of a message, so much is read: its header, and enough of its body to find a token.
const LIMIT: u64 = 1024 * 1024;
/// The longest bar.
const BAR: usize = 20;

/// Explain one message: hops, delays, authentication, spam, token
///
/// Reads any message, ours or not, and asks nobody: no network. With a config, its section `path` says who is who on the
/// way, and the token is verified if the keys are at hand.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0  nothing to find fault with
  1  a finding: a warning, a failed check of SPF, DKIM or DMARC (as our border saw it; where `[path]` does not say whose
     results to believe, as the message claims), a token that does not verify, or a header too long to be read whole
  2  wrong usage or config, a file that cannot be read, or output that cannot be written

Examples:
  mailprobe inspect message.eml
  mailprobe inspect - < message.eml
  mailprobe inspect --output json message.eml | jq .hops")]
pub(super) struct Arguments {
    /// The message, header and all as the mailbox has it; `-` for stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// What stdout gets: text for people, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What the config says about messages.
#[derive(Default)]
struct Known {
    path: PathPlan,
    /// None where the keys are not at hand.
    keyring: Option<Keyring>,
}

/// A token in the message, and what it says if it is one of ours.
struct Token {
    text: String,
    claims: Option<Claims>,
    /// Whether the keys were at hand.
    checked: bool,
}

/// Carries the command out; the exit code.
pub(super) fn run(arguments: &Arguments, common: &Common) -> u8 {
    let known = match known(common) {
        Ok(known) => known,
        Err(error) => {
            output::error(error.to_string().trim_end());
            return USAGE;
        }
    };
    let name = match arguments.file.as_str() {
        "-" => "stdin".to_owned(),
        file => format!("`{file}`"),
    };
    let raw = match read(&arguments.file) {
        Ok(raw) => raw,
        Err(error) => {
            output::error(&format!("error: cannot read {name}: {error}"));
            return USAGE;
        }
    };
    let is_field = |field: &Field| {
        ["From", "Received", "Date"]
            .iter()
            .any(|name| field.is(name))
    };
    if !header::fields(&raw).iter().any(is_field) {
        let why = if raw.is_empty() {
            "is empty"
        } else {
            "is no message: no From, Date or Received field at its beginning"
        };
        output::error(&format!(
            "error: {name} {why}\nhint: save the message with its header (\"show original\", \"view source\")"
        ));
        return USAGE;
    }
    let token = find_token(&raw, known.keyring.as_ref());
    let sent_at = token
        .as_ref()
        .and_then(|token| Some(token.claims.as_ref()?.sent_at));
    let read = arrival::read(&raw, &known.path, sent_at);
    let is_cut = header::is_cut(&raw);
    match arguments.output {
        Format::Json => output::json(&json(&read, is_cut, token.as_ref())),
        Format::Text => {
            text(&read, token.as_ref(), &known)
                .into_iter()
                .for_each(output::line);
            if is_cut {
                cut().into_iter().for_each(output::line);
            }
        }
    }
    u8::from(is_cut || has_finding(&read, &known.path, token.as_ref()))
}

/// No config is none to speak of; one that is there has to be good as far as it is needed.
fn known(common: &Common) -> Result<Known, ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    let path = match config::find(common.config.as_deref(), &variable) {
        Ok(path) => path,
        Err(ConfigError::NotFound(_)) => return Ok(Known::default()),
        Err(error) => return Err(error),
    };
    match config::load(&path, &[], &variable) {
        Ok(plan) => Ok(Known {
            path: PathPlan::clone(&plan.path),
            keyring: Some(Keyring::clone(&plan.keyring)),
        }),
        // Whoever reads a message need not have the secrets.
        Err(_) => Ok(Known {
            path: PathPlan::clone(&config::load_without_secrets(&path)?.path),
            keyring: None,
        }),
    }
}

fn read(file: &str) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    if file == "-" {
        std::io::stdin().take(LIMIT).read_to_end(&mut raw)?;
    } else {
        std::fs::File::open(file)?
            .take(LIMIT)
            .read_to_end(&mut raw)?;
    }
    Ok(raw)
}

fn find_token(raw: &[u8], keyring: Option<&Keyring>) -> Option<Token> {
    let text = token::find(&String::from_utf8_lossy(raw))?;
    let claims = keyring.and_then(|keyring| keyring.verify(&text));
    Some(Token {
        text,
        claims,
        checked: keyring.is_some(),
    })
}

fn has_finding(read: &Arrival, path: &PathPlan, token: Option<&Token>) -> bool {
    !read.warnings.is_empty()
        || token.is_some_and(|token| token.checked && token.claims.is_none())
        || match &read.authentication {
            Some(believed) => has_failed(believed),
            None => is_taken_at_its_word(path) && claims_failure(read),
        }
}

/// Whether nothing says whose results are to be believed, so that what a message claims is all there is to go by.
fn is_taken_at_its_word(path: &PathPlan) -> bool {
    path.authserv_ids.is_empty()
}

fn claims_failure(read: &Arrival) -> bool {
    let statements = read.claims.iter().map(|claim| &claim.statement);
    statements
        .filter_map(|statement| auth_results::combine(std::slice::from_ref(statement), None))
        .any(|claimed| has_failed(&claimed))
}

fn has_failed(authentication: &Authentication) -> bool {
    [
        &authentication.spf,
        &authentication.dkim,
        &authentication.dmarc,
    ]
    .into_iter()
    .flatten()
    .any(|one| is_bad(one.result))
}

/// A check that says no, or that a broken record makes impossible.
fn is_bad(result: AuthResult) -> bool {
    matches!(
        result,
        AuthResult::Fail | AuthResult::Softfail | AuthResult::Temperror | AuthResult::Permerror
    )
}

fn json(read: &Arrival, is_cut: bool, token: Option<&Token>) -> serde_json::Value {
    let claims: Vec<_> = read
        .claims
        .iter()
        .map(|claim| {
            let results: Vec<_> = claim
                .statement
                .results
                .iter()
                .map(|(method, one)| json!({"method": method.name(), "result": one}))
                .collect();
            json!({
                "authserv_id": claim.statement.authserv_id,
                "believed": claim.trust == Trust::Believed,
                "results": results,
            })
        })
        .collect();
    let token = token.map(|token| {
        json!({
            "token": token.text,
            "verified": token.checked.then_some(token.claims.is_some()),
            "probe": token.claims.as_ref().map(|claims| &claims.probe),
            "sent_at": token.claims.as_ref().map(|claims| rfc3339(claims.sent_at)),
        })
    });
    json!({
        "schema": 1,
        "date": read.date.map(rfc3339),
        "header_is_cut": is_cut,
        "hops": read.hops,
        "authentication": read.authentication,
        "authentication_results": claims,
        "spam": read.spam,
        "dkim_signatures": read.signatures,
        "token": token,
        "warnings": read.warnings,
    })
}

fn text(read: &Arrival, token: Option<&Token>, known: &Known) -> Vec<Line> {
    let mut lines: Vec<Line> = hops(read).iter().map(Line::from).collect();
    lines.push(Line::default());
    lines.extend(authentication(read, known));
    if let Some(spam) = &read.spam {
        lines.push(Line::default());
        lines.extend(spam_lines(spam).iter().map(Line::from));
    }
    if let Some(token) = token {
        lines.push(Line::default());
        lines.push(token_line(token).into());
    }
    for warning in &read.warnings {
        lines.push(Line::default());
        lines.push(warning_line(&format!(
            "{} ({})",
            warning.summary, warning.code
        )));
        let evidence = warning.evidence.iter();
        lines.extend(evidence.map(|one| format!("  evidence: {one}").into()));
        lines.push(format!("  hint: {}", warning.hint).into());
    }
    lines
}

fn warning_line(text: &str) -> Line {
    Line::default()
        .coloured("warning", Colour::Yellow)
        .plain(&format!(": {text}"))
}

fn cut() -> [Line; 3] {
    [
        Line::default(),
        warning_line(&format!(
            "the header is longer than the {} KiB or {FIELD_LIMIT} fields that are read; what stands below is not in this",
            HEADER_LIMIT / 1024
        )),
        Line::from(
            "  hint: what the last servers wrote stands at the top and was read; what is missing is older",
        ),
    ]
}

/// Oldest first, a bar for each delay, the longest one full.
fn hops(read: &Arrival) -> Vec<String> {
    let mut lines = vec!["hops, oldest first".to_owned()];
    if let Some(date) = read.date {
        lines.push(format!("     {}  written", rfc3339(date)));
    }
    let longest = arrival::slowest(&read.hops).map_or(0.0, |(seconds, _)| seconds);
    for (index, hop) in read.hops.iter().enumerate() {
        let at = hop.at.map_or_else(|| format!("{:<24}", "no time"), rfc3339);
        let role = hop.role.map_or("", |role| role.name());
        lines.push(format!(
            "{:>3}  {at}  {:>9}  {:<BAR$}  {:<9}  {}",
            index + 1,
            delay(hop),
            bar(hop.certain_delay_seconds().unwrap_or(0.0), longest),
            role,
            way(hop),
        ));
    }
    if read.hops.is_empty() {
        lines.push("  none: the message has no Received field".to_owned());
    }
    lines
}

fn delay(hop: &Hop) -> String {
    let delay = match hop.delay_seconds {
        Some(seconds) if seconds >= 100.0 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{seconds:.1} s"),
        None => "-".to_owned(),
    };
    match hop.skew_seconds {
        Some(_) => format!("{delay} ?"),
        None => delay,
    }
}

/// A delay too short for a bar has none; every other one has at least one sign.
fn bar(part: f64, whole: f64) -> String {
    if part <= 0.0 || whole <= 0.0 {
        return String::new();
    }
    // Between 0 and the width of the bar.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let width = (part / whole * BAR as f64).round() as usize;
    "#".repeat(width.clamp(1, BAR))
}

fn way(hop: &Hop) -> String {
    let from = &hop.from;
    let who = match (&from.helo, &from.name, from.address) {
        (Some(helo), Some(name), address) if helo != name => {
            format!("{helo} ({name}{})", bracketed(address))
        }
        (Some(helo), _, address) => format!("{helo}{}", bracketed(address)),
        (None, name, address) => {
            format!("{}{}", name.as_deref().unwrap_or("-"), bracketed(address))
        }
    };
    let tls = hop.tls.as_ref().map(|tls| {
        let version = tls.version.as_deref().unwrap_or("TLS");
        format!(" {version}")
    });
    let id = hop.id.as_ref().map(|id| format!(" id {id}"));
    format!(
        "{who} -> {} {}{}{}",
        hop.by.as_deref().unwrap_or("-"),
        hop.with.as_deref().unwrap_or("-"),
        tls.unwrap_or_default(),
        id.unwrap_or_default()
    )
}

fn bracketed(address: Option<core::net::IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" [{address}]"))
}

fn authentication(read: &Arrival, known: &Known) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    if let Some(one) = &read.authentication {
        let who = one.authserv_id.as_deref().unwrap_or("our border");
        lines.push(format!("authentication, as {who} saw it").into());
        let dkim: Vec<_> = one.dkim_signatures.iter().map(Some).collect();
        lines.extend(method("spf", one.spf.as_ref()));
        lines.extend(dkim.into_iter().filter_map(|one| method("dkim", one)));
        lines.extend(method("dmarc", one.dmarc.as_ref()));
        lines.extend(method("arc", one.arc.as_ref()));
    } else if read.claims.is_empty() {
        lines.push("authentication: the message has no Authentication-Results".into());
    } else if is_taken_at_its_word(&known.path) {
        lines.push("authentication, as the message claims; name your border and its id in [path] to know what is true".into());
        for claim in &read.claims {
            lines.push(format!("  {}", claim.statement.authserv_id).into());
            let results = claim.statement.results.iter();
            lines.extend(results.filter_map(|(name, one)| method(name.name(), Some(one))));
        }
    } else {
        lines.push("authentication: no Authentication-Results that can be believed".into());
    }
    for signature in &read.signatures {
        let domain = signature.domain.as_deref().unwrap_or("-");
        let selector = signature.selector.as_deref().unwrap_or("-");
        lines.push(format!("  signed by {domain} with selector {selector}").into());
    }
    lines
}

fn method(name: &str, told: Option<&MethodResult>) -> Option<Line> {
    let told = told?;
    let colour = match told.result {
        AuthResult::Pass => Colour::Green,
        one if is_bad(one) => Colour::Red,
        _ => Colour::Yellow,
    };
    let domain = told.domain.as_deref().unwrap_or("-");
    let selector = told.selector.as_ref().map(|one| format!(" selector {one}"));
    let reason = told.reason.as_ref().map(|one| format!(" ({one})"));
    let rest = format!(
        "{domain}{}{}",
        selector.unwrap_or_default(),
        reason.unwrap_or_default()
    );
    Some(
        Line::from(format!("  {name:<5}  "))
            .coloured(&format!("{:<9}", told.result.name()), colour)
            .plain(&format!("  {rest}")),
    )
}

/// Symbols by weight, those without any left out.
fn spam_lines(spam: &Spam) -> Vec<String> {
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let action = spam
        .action
        .as_ref()
        .map(|action| format!(", action: {action}"));
    let mut lines = vec![format!(
        "spam filter: {} of {}{}",
        number(spam.score),
        number(spam.threshold),
        action.unwrap_or_default()
    )];
    let mut symbols: Vec<_> = spam.symbols.iter().collect();
    let weight = |points: &Option<f64>| points.unwrap_or(0.0).abs();
    symbols.sort_by(|(_, a), (_, b)| weight(b).total_cmp(&weight(a)));
    let weightless = symbols
        .iter()
        .filter(|(_, points)| **points == Some(0.0))
        .count();
    for (name, points) in symbols.iter().filter(|(_, points)| **points != Some(0.0)) {
        lines.push(format!("  {:>7}  {name}", number(**points)));
    }
    if weightless > 0 {
        lines.push(format!("  and {weightless} symbols without points"));
    }
    lines
}

fn token_line(token: &Token) -> String {
    match &token.claims {
        Some(claims) => format!(
            "token: {} of probe `{}`, sent {}, verified",
            token.text,
            claims.probe,
            rfc3339(claims.sent_at)
        ),
        None if token.checked => format!(
            "token: {}, which does not verify: another key, another recipient, or forged",
            token.text
        ),
        None => format!(
            "token: {}, not verified: the keys are not at hand",
            token.text
        ),
    }
}
