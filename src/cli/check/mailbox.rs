//! Mailboxes: can we log in, which folders are there, and can messages be deleted?

use super::PART_LIMIT;
use super::finding::{Finding, Level, certificate};
use crate::config::plan::MailboxPlan;
use crate::mailboxes::Mailbox;
use std::sync::Arc;

pub(super) async fn check(part: String, plan: Arc<MailboxPlan>) -> Vec<Finding> {
    let part = part.as_str();
    let mailbox = match Mailbox::new(plan) {
        Ok(mailbox) => mailbox,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = Vec::new();
    match mailbox.open(PART_LIMIT).await {
        Err(failure) => findings.push(Finding::of_cause(part, failure.cause)),
        Ok(folders) => {
            let names = folders.names().join(", ");
            findings.push(Finding::new(
                part,
                Level::Ok,
                format!("logged in; watches {names}"),
            ));
            if folders.junk().is_none() {
                findings.push(
                    Finding::new(
                        part,
                        Level::Warn,
                        "no junk folder is watched: a message filed as spam is missing, not junked",
                    )
                    .hint("name it with `junk = \"…\"`"),
                );
            }
            findings.push(match folders.deletion() {
                Some(way) => {
                    Finding::new(part, Level::Ok, format!("messages are deleted by {way}"))
                }
                None => Finding::new(
                    part,
                    Level::Warn,
                    "the server offers neither UIDPLUS, nor MOVE and a trash folder: messages stay",
                )
                .hint("have messages from the probe deleted by a rule of the server after a day"),
            });
            folders.close().await;
        }
    }
    findings.extend(certificate(part, mailbox.certificate_expiry()));
    findings
}
