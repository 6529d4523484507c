//! Senders: does the account take our key, and what may it send?

use super::PART_LIMIT;
use super::finding::{Finding, Level, certificate};
use crate::config::plan::{Plan, SenderPlan};
use crate::probe::budget::{Budget, Fit};
use crate::senders::Sender;
use crate::senders::api;
use crate::senders::brevo::{Account, Brevo, Identity};
use chrono::Utc;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) async fn check(part: String, plan: &Plan, sender: Arc<SenderPlan>) -> Vec<Finding> {
    let (part, sender) = (part.as_str(), sender.as_ref());
    let made = match Sender::new(sender) {
        Ok(made) => made,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = match &made {
        Sender::Brevo(account) => brevo(part, account, &recipients(plan, sender)).await,
        Sender::Api(provider) => vec![match provider.account(PART_LIMIT).await {
            Err(cause) => Finding::of_cause(part, cause),
            Ok(api::Account::Good(what)) => {
                Finding::new(part, Level::Ok, format!("{} {what}", provider.endpoint()))
            }
            Ok(api::Account::Useless { what, hint }) => {
                Finding::new(part, Level::Fail, format!("{} {what}", provider.endpoint()))
                    .hint(hint)
            }
            Ok(api::Account::Unasked) => Finding::new(
                part,
                Level::Ok,
                format!(
                    "{}: whether it takes the key shows with the first run",
                    provider.endpoint()
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

/// Who gets messages by this sender.
fn recipients<'p>(plan: &'p Plan, sender: &SenderPlan) -> BTreeSet<&'p str> {
    plan.probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name())
        .map(|probe| probe.to.as_str())
        .collect()
}

async fn brevo(part: &str, brevo: &Brevo, recipients: &BTreeSet<&str>) -> Vec<Finding> {
    let account = match brevo.account(PART_LIMIT).await {
        Ok(account) => account,
        // Whatever else is asked would be answered in the same way.
        Err(cause) => return vec![Finding::of_cause(part, cause)],
    };
    let mut findings = of_account(part, &brevo.endpoint(), &account);
    findings.push(match brevo.identity(PART_LIMIT).await {
        Ok(identity) => of_identity(part, &brevo.from().address, identity),
        Err(cause) => cannot_tell(
            part,
            "whether the account may send from this address",
            &cause.summary,
        ),
    });
    for to in recipients {
        findings.push(match brevo.block(to, PART_LIMIT).await {
            Ok(None) => Finding::new(part, Level::Ok, format!("`{to}` is not on the block list")),
            Ok(Some((cause, true))) => Finding {
                level: Level::Warn,
                ..Finding::of_cause(part, cause)
            },
            Ok(Some((cause, false))) => Finding::of_cause(part, cause),
            Err(cause) => cannot_tell(
                part,
                &format!("whether `{to}` is on the block list"),
                &cause.summary,
            ),
        });
    }
    findings
}

fn cannot_tell(part: &str, what: &str, why: &str) -> Finding {
    Finding::new(part, Level::Warn, format!("cannot tell {what}: {why}"))
        .hint("a key with limited rights may not be allowed to ask")
}

fn of_account(part: &str, endpoint: &str, account: &Account) -> Vec<Finding> {
    let credits = account
        .credits
        .map_or("unknown".to_owned(), |credits| credits.to_string());
    let summary = format!(
        "{endpoint} takes the key; plan {}, {credits} messages left",
        account.plan
    );
    let mut findings = vec![Finding::new(part, Level::Ok, summary)];
    if account.relay_enabled == Some(false) {
        let summary = "transactional mail is switched off for this account";
        let finding = Finding::new(part, Level::Fail, summary);
        findings.push(finding.hint("have Brevo's support activate it"));
    }
    if account.credits.is_some_and(|credits| credits < 1.0) {
        let finding = Finding::new(part, Level::Fail, "the account has no messages left");
        findings.push(
            finding.hint("the free plan's 300 a day are shared with all other mail of the account"),
        );
    }
    findings
}

/// Brevo takes a message from any address, and drops it where it is no sender's.
fn of_identity(part: &str, from: &str, identity: Identity) -> Finding {
    let Identity { sender, domain } = identity;
    let finding = |level, summary: String| Finding::new(part, level, summary);
    match (sender, domain) {
        (_, Some(true)) => finding(
            Level::Ok,
            format!("the domain of `{from}` is authenticated, so Brevo may send from it and signs for it"),
        ),
        (Some(true), _) => finding(
            Level::Warn,
            format!("`{from}` is a verified sender, and its domain is not authenticated"),
        )
        .hint("Brevo sends under an address of its own (brevosend.com) then: authenticate the domain under Senders, Domains"),
        (Some(false), _) => finding(Level::Fail, format!("`{from}` is a sender that was not verified"))
            .hint("messages are taken and dropped (event `error`): verify it under Senders, Domains"),
        (None, _) => finding(Level::Fail, format!("`{from}` is no sender of this account"))
            .hint("messages are taken and dropped (event `error`): add it, or authenticate its domain, under Senders, Domains"),
    }
}

/// Holds what the schedules send in a day against what the account may.
fn budget(part: &str, plan: &Plan, sender: &SenderPlan) -> Option<Finding> {
    let limit = sender.daily_limit()?;
    let of_this = plan
        .probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name())
        .map(|probe| (sender.name(), limit, &probe.schedule));
    let budget = *Budget::of_each(of_this, Utc::now()).get(sender.name())?;
    let finding = |level| Finding::new(part, level, budget.to_string());
    Some(match budget.fit() {
        Fit::Fits => finding(Level::Ok),
        Fit::Tight => finding(Level::Warn)
            .hint("run less often; all other mail of the account shares the limit"),
        Fit::Exceeds => {
            finding(Level::Warn).hint("run less often, or raise the limit with the provider")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_brevo_would_drop_mail_from_fails() {
        for (sender, domain, level, words) in [
            (Some(true), Some(true), Level::Ok, "is authenticated"),
            (None, Some(true), Level::Ok, "is authenticated"),
            (Some(true), Some(false), Level::Warn, "is not authenticated"),
            (Some(true), None, Level::Warn, "is not authenticated"),
            (Some(false), Some(false), Level::Fail, "was not verified"),
            (
                None,
                Some(false),
                Level::Fail,
                "is no sender of this account",
            ),
            (None, None, Level::Fail, "is no sender of this account"),
        ] {
            let found = of_identity("sender", "a@example.org", Identity { sender, domain });
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.summary.contains(words), "{found:?}");
            assert_eq!(found.hint.is_some(), level != Level::Ok, "{found:?}");
        }
    }
}
