//! `mailprobe find`: where one message is now.

use super::output::{self, Colour, Line};
use super::{Common, Format, USAGE, plan};
use crate::config::plan::Plan;
use crate::probe::provider::Word;
use crate::probe::report::rfc3339;
use crate::probe::token::{self, Claims};
use crate::probe::whereabouts::{Finding, Whereabouts};
use crate::runner::{Edges, Job, Options};
use crate::senders::Inquiry;
use chrono::Utc;
use clap::Args;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Searching the mailbox.
const MAILBOX_LIMIT: Duration = Duration::from_secs(60);
/// Asking the provider.
const PROVIDER_LIMIT: Duration = Duration::from_secs(20);

/// Where one message is now: folders, the provider's events, one sentence
///
/// Searches every watched folder, the junk folder and the trash, read-only, and asks the provider's event log.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0  the message is where it should be
  1  it is not, or that cannot be told
  2  wrong usage or config, a token that no probe of the config has sent, or output that cannot be written

Examples:
  mailprobe find e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4
  mailprobe find --output json e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4 | jq .places")]
pub(super) struct Arguments {
    /// The token, as reports, subjects and logs show it
    #[arg(value_name = "TOKEN", value_parser = token)]
    token: String,
    /// What stdout gets: text for people, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// The token in a text that may be more of what it was copied from: a whole Subject, a line of a log.
fn token(text: &str) -> Result<String, String> {
    token::find(text).ok_or_else(|| {
        let what = if text.trim().is_empty() {
            "is empty"
        } else {
            "has no token in it"
        };
        format!("{what}; a whole token looks like e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4, and `mailprobe run` shows it in its last line")
    })
}

/// Carries the command out; the exit code.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> u8 {
    let plan = match plan(common, &[]) {
        Ok(plan) => plan,
        Err(error) => return fault(&error.to_string()),
    };
    let Some(claims) = plan.keyring.verify(&arguments.token) else {
        return fault(&format!(
            "error: `{}` is no token of a probe in {}\nhint: is it of another config? was the key changed? list the old one in `previous_token_keys`",
            &arguments.token,
            plan.source.display()
        ));
    };
    let edges = match Edges::new(&plan) {
        Ok(edges) => edges,
        Err(error) => return fault(&format!("error: {error}")),
    };
    let Some(job) = job(&edges, &claims.probe) else {
        return fault(&format!(
            "error: the config has no probe `{}`",
            claims.probe
        ));
    };
    let whereabouts = look(&plan, &job, claims).await;
    let finding = whereabouts.finding();
    match arguments.output {
        Format::Text => text(&whereabouts, &finding)
            .into_iter()
            .for_each(output::line),
        Format::Json => output::json(&json(&whereabouts, &finding)),
    }
    u8::from(!finding.is_in_order)
}

fn fault(text: &str) -> u8 {
    output::error(text.trim_end());
    USAGE
}

/// Sender and mailbox of the probe that sent the message.
fn job(edges: &Edges, probe: &str) -> Option<Job> {
    let options = Options {
        keep: true,
        push: false,
        eager: false,
    };
    let jobs = edges.jobs(options, |_| Arc::new(|_| ()));
    jobs.into_iter().find(|job| job.probe.name == probe)
}

async fn look(plan: &Plan, job: &Job, claims: Claims) -> Whereabouts {
    let inquiry = Inquiry {
        message_id: None,
        to: job.probe.to.clone(),
        token: claims.token.clone(),
    };
    let (mailbox, provider) = tokio::join!(
        job.mailbox
            .find(&claims.token, &plan.keyring, MAILBOX_LIMIT),
        job.sender.word(&inquiry, PROVIDER_LIMIT)
    );
    Whereabouts {
        claims,
        to: job.probe.to.clone(),
        sender: job.sender.endpoint(),
        mailbox: mailbox.map_err(|failure| failure.cause),
        provider,
        now: Utc::now(),
    }
}

fn text(whereabouts: &Whereabouts, finding: &Finding) -> Vec<Line> {
    let mut lines: Vec<Line> = details(whereabouts).iter().map(Line::from).collect();
    let colour = if finding.is_in_order {
        Colour::Green
    } else {
        Colour::Red
    };
    lines.push(Line::default().coloured(&finding.sentence, colour));
    lines.extend(
        finding
            .hint
            .iter()
            .map(|hint| format!("hint: {hint}").into()),
    );
    lines
}

/// What each place says.
fn details(whereabouts: &Whereabouts) -> Vec<String> {
    let claims = &whereabouts.claims;
    let mut lines = vec![format!(
        "{} of probe `{}` to `{}`, sent at {}, waited for until {}",
        claims.token,
        claims.probe,
        whereabouts.to,
        rfc3339(claims.sent_at),
        rfc3339(claims.deadline)
    )];
    if let Ok(searched) = &whereabouts.mailbox {
        for folder in &searched.folders {
            let mut places = searched
                .places
                .iter()
                .filter(|place| place.folder == *folder)
                .peekable();
            if places.peek().is_none() {
                lines.push(format!("  folder `{folder}`: nothing"));
            }
            for place in places {
                let what = place.quotes.unwrap_or("the message itself");
                let at = place
                    .stored_at
                    .map(|at| format!(", stored at {}", rfc3339(at)))
                    .unwrap_or_default();
                lines.push(format!(
                    "  folder `{folder}`: UID {}{at}: {what}",
                    place.uid
                ));
            }
        }
        lines.extend(
            searched
                .unreadable
                .iter()
                .map(|trouble| format!("  {trouble}")),
        );
    }
    match &whereabouts.provider {
        Word::None => {}
        Word::Unavailable(why) => lines.push(format!("  provider: {}", why.summary)),
        Word::Events(events) if events.is_empty() => {
            lines.push("  provider: does not know the message, or not yet".to_owned());
        }
        Word::Events(events) => {
            let mut events: Vec<_> = events.iter().collect();
            events.sort_by_key(|event| event.at);
            lines.extend(
                events
                    .iter()
                    .map(|event| format!("  provider: {}", event.quote())),
            );
        }
    }
    lines
}

fn json(whereabouts: &Whereabouts, finding: &Finding) -> serde_json::Value {
    let claims = &whereabouts.claims;
    let (searched, mailbox_error) = match &whereabouts.mailbox {
        Ok(searched) => (Some(searched), None),
        Err(cause) => (None, Some(cause)),
    };
    let (events, provider_error) = match &whereabouts.provider {
        Word::Events(events) => {
            let events: Vec<_> = events
                .iter()
                .map(|event| {
                    json!({
                        "event": event.kind.name(),
                        "at": event.at.map(rfc3339),
                        "message_id": event.message_id,
                        "reason": event.reason,
                    })
                })
                .collect();
            (Some(events), None)
        }
        Word::Unavailable(cause) => (None, Some(cause)),
        Word::None => (None, None),
    };
    json!({
        "token": claims.token,
        "probe": claims.probe,
        "to": whereabouts.to,
        "sent_at": rfc3339(claims.sent_at),
        "deadline": rfc3339(claims.deadline),
        "in_order": finding.is_in_order,
        "sentence": finding.sentence,
        "hint": finding.hint,
        "folders": searched.map(|searched| &searched.folders),
        "places": searched.map(|searched| &searched.places),
        "unreadable": searched.map(|searched| &searched.unreadable),
        "mailbox_error": mailbox_error,
        "events": events,
        "provider_error": provider_error,
    })
}
