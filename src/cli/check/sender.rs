//! Senders: does the account take our key, and what may it send?

use super::PART_LIMIT;
use super::finding::{Finding, Level, certificate};
use crate::config::plan::{Plan, SenderPlan};
use crate::senders::Sender;
use chrono::{TimeDelta, Utc};

pub(super) async fn check_sender(part: &str, plan: &Plan, sender: &SenderPlan) -> Vec<Finding> {
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
    };
    findings.extend(budget(part, plan, sender));
    findings.extend(certificate(part, made.certificate_expiry()));
    findings
}

/// Holds what the schedules send in a day against what the account may.
fn budget(part: &str, plan: &Plan, sender: &SenderPlan) -> Option<Finding> {
    let SenderPlan::Brevo(brevo) = sender;
    let limit = brevo.daily_limit?;
    let now = Utc::now();
    let end = now + TimeDelta::days(1);
    let of_this = plan
        .probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name());
    let runs: usize = of_this
        .map(|probe| {
            let fires = std::iter::successors(probe.schedule.next_after(now), |at| {
                probe.schedule.next_after(*at)
            });
            fires.take_while(|at| *at < end).count()
        })
        .sum();
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    Some(if runs > limit {
        Finding::new(
            part,
            Level::Warn,
            format!("the schedules send {runs} messages a day, `daily_limit` is {limit}"),
        )
        .hint("run less often; other mail of the account needs some of it, too")
    } else {
        Finding::new(
            part,
            Level::Ok,
            format!("the schedules send {runs} of `daily_limit` {limit} messages a day"),
        )
    })
}
