//! How full a mailbox is (RFC 9208), asked on a connection of its own where a message did not arrive.

use super::connect::remaining;
use super::session::{COMMAND_LIMIT, Fault, Session};
use super::{ImapMailbox, LOGOUT_LIMIT};
use crate::net::quotable;
use crate::probe::diagnosis::Quota;
use async_imap::imap_proto::Response;
use async_imap::imap_proto::rfc2087::QuotaResourceName;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// More limits than this are no help to anybody.
const MOST: usize = 20;

impl ImapMailbox {
    /// Every limit of the account, within `limit`; nothing where the server does not tell.
    pub async fn quota(&self, limit: Duration) -> Vec<Quota> {
        let end = Instant::now() + limit;
        let asking = async {
            let mut session = self.account.log_in(end).await.ok()?;
            let quota = if session.can("QUOTA") {
                ask(&mut session, remaining(end, COMMAND_LIMIT)).await.ok()
            } else {
                None
            };
            session.logout(LOGOUT_LIMIT).await;
            quota
        };
        timeout_at(end, asking)
            .await
            .ok()
            .flatten()
            .unwrap_or_default()
    }
}

async fn ask(session: &mut Session, limit: Duration) -> Result<Vec<Quota>, Fault> {
    let mut quotas = Vec::new();
    session
        .command("GETQUOTAROOT \"INBOX\"", limit, |response| {
            if let Response::Quota(quota) = response {
                quotas.extend(quota.resources.iter().map(|one| Quota {
                    root: quotable(&quota.root_name),
                    resource: match &one.name {
                        QuotaResourceName::Storage => "STORAGE".to_owned(),
                        QuotaResourceName::Message => "MESSAGE".to_owned(),
                        QuotaResourceName::Atom(name) => quotable(name),
                    },
                    usage: one.usage,
                    limit: one.limit,
                }));
                quotas.truncate(MOST);
            }
        })
        .await?;
    Ok(quotas)
}

#[cfg(test)]
mod tests {
    use super::super::script::{Line::On, session};
    use super::*;

    #[tokio::test]
    async fn quota_is_read_as_dovecot_tells_it() {
        let answer = "* QUOTAROOT \"INBOX\" \"User quota\"\r\n* QUOTA \"User quota\" (STORAGE 10240 10240 MESSAGE 7 100)\r\n{tag} OK done\r\n";
        let (mut session, _server) = session(vec![On("GETQUOTAROOT \"INBOX\"", answer)]).await;
        let quotas = ask(&mut session, Duration::from_secs(5)).await.unwrap();
        let read: Vec<_> = quotas
            .iter()
            .map(|one| (one.resource.as_str(), one.usage, one.limit, one.is_full()))
            .collect();
        assert_eq!(
            read,
            [
                ("STORAGE", 10_240, 10_240, true),
                ("MESSAGE", 7, 100, false)
            ]
        );
        assert_eq!(quotas[0].root, "User quota");
    }

    #[tokio::test]
    async fn a_mailbox_without_limits_is_never_full() {
        let answer = "* QUOTAROOT \"INBOX\"\r\n{tag} OK done\r\n";
        let (mut session, _server) = session(vec![On("GETQUOTAROOT", answer)]).await;
        assert_eq!(ask(&mut session, Duration::from_secs(5)).await, Ok(vec![]));
        let zero = Quota {
            root: String::new(),
            resource: "STORAGE".to_owned(),
            usage: 5,
            limit: 0,
        };
        assert!(!zero.is_full());
    }
}
