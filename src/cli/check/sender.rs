//! Senders: does the account take our key, and what may it send?

use super::PART_LIMIT;
use super::finding::{Finding, Level, certificate};
use crate::config::plan::{Plan, SenderPlan};
use crate::probe::budget::{self, Fit};
use crate::senders::Sender;
use crate::senders::api::Account;
use chrono::Utc;
use std::sync::Arc;

pub(super) async fn check(part: String, plan: &Plan, sender: Arc<SenderPlan>) -> Vec<Finding> {
    let (part, sender) = (part.as_str(), sender.as_ref());
    let made = match Sender::new(sender) {
        Ok(made) => made,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = match &made {
        Sender::Brevo(brevo) => match brevo.account(PART_LIMIT).await {
            Err(cause) => vec![Finding::of_cause(part, cause)],
            Ok(account) => {
                let credits = account
                    .credits
                    .map_or("unknown".to_owned(), |credits| credits.to_string());
                let summary = format!(
                    "{} takes the key; plan {}, {credits} messages left",
                    brevo.endpoint(),
                    account.plan
                );
                let mut findings = vec![Finding::new(part, Level::Ok, summary)];
                if account.relay_enabled == Some(false) {
                    findings.push(
                        Finding::new(
                            part,
                            Level::Fail,
                            "transactional mail is switched off for this account",
                        )
                        .hint("have Brevo's support activate it"),
                    );
                }
                if account.credits.is_some_and(|credits| credits < 1.0) {
                    findings.push(
                        Finding::new(part, Level::Fail, "the account has no messages left")
                            .hint("the free plan's 300 a day are shared with all other mail of the account"),
                    );
                }
                findings
            }
        },
        Sender::Api(api) => vec![match api.account(PART_LIMIT).await {
            Err(cause) => Finding::of_cause(part, cause),
            Ok(Account::Good(what)) => {
                Finding::new(part, Level::Ok, format!("{} {what}", api.endpoint()))
            }
            Ok(Account::Useless { what, hint }) => {
                Finding::new(part, Level::Fail, format!("{} {what}", api.endpoint())).hint(hint)
            }
            Ok(Account::Unasked) => Finding::new(
                part,
                Level::Ok,
                format!(
                    "{}: whether it takes the key shows with the first run",
                    api.endpoint()
                ),
            ),
        }],
        Sender::Smtp(smtp) => vec![match smtp.log_in(PART_LIMIT).await {
            Ok(()) => Finding::new(part, Level::Ok, format!("{} lets us in", smtp.endpoint())),
            Err(failure) => Finding::of_cause(part, failure.cause),
        }],
    };
    findings.extend(budget(part, plan, sender));
    findings.extend(certificate(part, made.certificate_expiry()));
    findings
}

/// Holds what the schedules send in a day against what the account may.
fn budget(part: &str, plan: &Plan, sender: &SenderPlan) -> Option<Finding> {
    let SenderPlan::Brevo(brevo) = sender else {
        return None;
    };
    let limit = brevo.daily_limit?;
    let of_this = plan
        .probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name());
    let schedules = of_this.map(|probe| &probe.schedule);
    let messages = budget::messages_a_day(schedules, Utc::now());
    let summary = format!("the schedules send {messages} of `daily_limit` {limit} messages a day");
    Some(match budget::fit(messages, limit) {
        Fit::Fits => Finding::new(part, Level::Ok, summary),
        Fit::Tight => Finding::new(
            part,
            Level::Warn,
            format!("{summary}: little is left for other mail"),
        )
        .hint("run less often; all other mail of the account shares the limit"),
        Fit::Exceeds => Finding::new(
            part,
            Level::Warn,
            format!("{summary}: the last runs of the day will be refused"),
        )
        .hint("run less often, or raise the limit with the provider"),
    })
}
