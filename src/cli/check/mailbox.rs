//! Mailboxes: can we log in, which folders are there, can messages be deleted, is there room, and is its clock right?

use super::PART_LIMIT;
use super::finding::{Finding, Level, certificate};
use crate::config::plan::MailboxPlan;
use crate::mailboxes::Mailbox;
use crate::mailboxes::imap::{Clock, Folders};
use crate::probe::diagnosis::Quota;
use std::sync::Arc;

/// A clock that is off by more makes times of arrival and delays of hops hard to believe.
const LARGEST_SKEW: f64 = 2.0;

/// `writes` allows a message to be stored and deleted.
pub(super) async fn check(part: String, plan: Arc<MailboxPlan>, writes: bool) -> Vec<Finding> {
    let part = part.as_str();
    let mailbox = match Mailbox::new(plan) {
        Ok(mailbox) => mailbox,
        Err(error) => return vec![Finding::new(part, Level::Fail, error.to_string())],
    };
    let mut findings = Vec::new();
    match mailbox.open(PART_LIMIT).await {
        Err(failure) => findings.push(Finding::of_cause(part, failure.cause)),
        Ok(folders) => {
            findings.extend(of_folders(part, &folders));
            folders.close().await;
            let quotas = mailbox.quota(PART_LIMIT).await;
            findings.extend(quotas.iter().map(|quota| of_quota(part, quota)));
            if writes {
                findings.push(match mailbox.clock(PART_LIMIT).await {
                    Ok(clock) => of_clock(part, clock),
                    Err(cause) => Finding::of_cause(part, cause),
                });
            }
        }
    }
    findings.extend(certificate(part, mailbox.certificate_expiry()));
    findings
}

fn of_folders(part: &str, folders: &Folders) -> Vec<Finding> {
    let names = folders.names().join(", ");
    let mut findings = vec![Finding::new(
        part,
        Level::Ok,
        format!("logged in; watches {names}"),
    )];
    if folders.junk().is_none() {
        let summary = "no junk folder is watched: a message filed as spam is missing, not junked";
        let finding = Finding::new(part, Level::Warn, summary);
        findings.push(finding.hint("name it with `junk = \"…\"`"));
    }
    findings.push(match folders.deletion() {
        Some(way) => Finding::new(part, Level::Ok, format!("messages are deleted by {way}")),
        None => Finding::new(
            part,
            Level::Warn,
            "the server offers neither UIDPLUS, nor MOVE and a trash folder: messages stay",
        )
        .hint("have messages from the probe deleted by a rule of the server after a day"),
    });
    findings
}

fn of_quota(part: &str, quota: &Quota) -> Finding {
    let Quota {
        root,
        resource,
        usage,
        limit,
    } = quota;
    let unit = if resource == "STORAGE" { " KiB" } else { "" };
    let summary = format!("{resource} of `{root}`: {usage} of {limit}{unit} used");
    if quota.is_full() {
        Finding::new(part, Level::Fail, format!("{summary}: it is full"))
            .hint("delete mail, or raise the quota; until then nothing arrives")
    } else if usage.saturating_mul(10) > limit.saturating_mul(9) {
        Finding::new(part, Level::Warn, format!("{summary}: it is nearly full"))
            .hint("delete mail, or raise the quota")
    } else {
        Finding::new(part, Level::Ok, summary)
    }
}

fn of_clock(part: &str, clock: Clock) -> Finding {
    match clock {
        Clock::Ahead(seconds) if seconds.abs() <= LARGEST_SKEW => {
            Finding::new(part, Level::Ok, "its clock agrees with ours, to the second")
        }
        Clock::Ahead(seconds) => {
            let side = if seconds > 0.0 { "ahead of" } else { "behind" };
            let off = seconds.abs();
            Finding::new(
                part,
                Level::Warn,
                format!("its clock is {off:.0} s {side} ours"),
            )
            .hint(
                "which of the two is wrong, and does it run NTP? delays of hops are off by as much",
            )
        }
        Clock::Unmeasured => Finding::new(
            part,
            Level::Warn,
            "its clock was not measured: without UIDPLUS the message for it could not be deleted alone",
        ),
        Clock::Refused(reply) => Finding::new(
            part,
            Level::Warn,
            format!("its clock was not measured: the server refuses APPEND: {reply}"),
        )
        .hint(
            "runs do not need it; where delays look wrong, compare the clocks of both machines by hand",
        ),
        Clock::Astray(uid) => {
            let uid = uid.map_or("the server does not say under which UID".to_owned(), |uid| {
                format!("under UID {uid}, where the server says that it is, there is another")
            });
            Finding::new(
                part,
                Level::Warn,
                format!("the message that was stored to measure the clock was not deleted: {uid}"),
            )
            .hint("delete the message with the subject `mailprobe check` by hand")
        }
        Clock::Left(uid) => Finding::new(
            part,
            Level::Warn,
            format!(
                "the message that was stored to measure the clock (UID {uid}) cannot be deleted"
            ),
        )
        .hint("delete it by hand; does a retention rule hold messages?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_is_full_fails_and_one_that_soon_will_be_warns() {
        for (usage, limit, level) in [
            (10, 1000, Level::Ok),
            (950, 1000, Level::Warn),
            (1000, 1000, Level::Fail),
        ] {
            let quota = Quota {
                root: "User quota".to_owned(),
                resource: "MESSAGE".to_owned(),
                usage,
                limit,
            };
            assert_eq!(of_quota("mailbox", &quota).level, level, "{quota:?}");
        }
    }

    #[test]
    fn a_server_that_refuses_append_is_quoted_and_is_no_failure() {
        let reply = "BAD Error in IMAP command: Unknown command.".to_owned();
        let finding = of_clock("m", Clock::Refused(reply));
        assert_eq!(finding.level, Level::Warn);
        assert_eq!(
            finding.summary,
            "its clock was not measured: the server refuses APPEND: BAD Error in IMAP command: Unknown command."
        );
        assert!(finding.hint.is_some());
    }

    #[test]
    fn a_clock_says_which_way_it_is_off() {
        assert_eq!(of_clock("m", Clock::Ahead(-1.5)).level, Level::Ok);
        let ahead = of_clock("m", Clock::Ahead(61.2));
        assert_eq!(ahead.summary, "its clock is 61 s ahead of ours");
        let behind = of_clock("m", Clock::Ahead(-61.2));
        assert_eq!(behind.summary, "its clock is 61 s behind ours");
        assert_eq!(behind.level, Level::Warn);
    }
}
