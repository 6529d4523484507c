//! What `check` can learn of an account without sending: whether the key is taken, and whether it may send as `from`.

use super::{Api, Refusal, address};
use crate::config::plan::{ApiPlan, ProviderPlan};
use crate::net::http::{Answer, with_basic};
use crate::probe::verdict::{Cause, CauseCode};
use serde::Deserialize;
use std::time::Duration;

/// What a provider says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The key is taken, and something about the account.
    Good(String),
    /// The key is taken, and mail would not come of it: why, and what to do.
    Useless {
        /// Behind the endpoint.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// There is no question that a key which may only send could ask.
    Unasked,
}

#[derive(Deserialize)]
struct Server {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "DeliveryType")]
    delivery_type: Option<String>,
}

#[derive(Deserialize)]
struct Scopes {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Senders {
    #[serde(rename = "Data")]
    data: Vec<MailjetSender>,
}

#[derive(Deserialize)]
struct MailjetSender {
    /// An address, or `*@` and a domain.
    #[serde(rename = "Email")]
    email: String,
    #[serde(rename = "Status")]
    status: String,
}

impl Api {
    /// Asks the provider about the account.
    ///
    /// # Errors
    /// Why it cannot be asked, or does not take the key.
    pub async fn account(&self, limit: Duration) -> Result<Account, Cause> {
        let client = self.http.client();
        let request = match &self.plan.provider {
            ProviderPlan::Postmark { server_token, .. } => client
                .get(address(&self.plan, &["server"]))
                .header("x-postmark-server-token", server_token.value.expose()),
            ProviderPlan::Sendgrid { api_key } => client
                .get(address(&self.plan, &["v3", "scopes"]))
                .bearer_auth(api_key.value.expose()),
            ProviderPlan::Mailjet {
                api_key,
                secret_key,
            } => with_basic(
                client.get(all_senders(&self.plan)),
                api_key.value.expose(),
                &secret_key.value,
            ),
            // Sending keys of these two may ask nothing, and for the third it takes a permission of its own.
            ProviderPlan::Mailgun { .. } | ProviderPlan::Resend { .. } | ProviderPlan::Ses(_) => {
                return Ok(Account::Unasked);
            }
        };
        let request = request.header("accept", "application/json");
        let answer = match self.http.send(request, limit).await {
            Ok(answer) => answer,
            Err(fault) => return Err(self.of_silence("ask", &fault).cause),
        };
        match (answer.status == 200)
            .then(|| self.understand(&answer))
            .flatten()
        {
            Some(account) => Ok(account),
            None => {
                let usual = self.usual(&answer);
                let refusal = match usual.code {
                    // No message was part of it.
                    CauseCode::SenderRejectedMessage => Refusal::new(
                        CauseCode::SenderFailed,
                        "refuses the question",
                        "the provider's words say why; nothing was sent",
                    ),
                    _ => usual,
                };
                Err(self.failure(&answer, refusal).cause)
            }
        }
    }

    fn understand(&self, answer: &Answer) -> Option<Account> {
        match &self.plan.provider {
            ProviderPlan::Postmark { .. } => answer.json().map(of_postmark),
            ProviderPlan::Sendgrid { .. } => answer.json().map(of_sendgrid),
            ProviderPlan::Mailjet { .. } => answer
                .json()
                .map(|senders| of_mailjet(senders, &self.plan.from)),
            ProviderPlan::Mailgun { .. } | ProviderPlan::Resend { .. } | ProviderPlan::Ses(_) => {
                None
            }
        }
    }
}

/// More than the ten that a page has by itself.
fn all_senders(plan: &ApiPlan) -> url::Url {
    let mut url = address(plan, &["v3", "REST", "sender"]);
    url.set_query(Some("Limit=1000"));
    url
}

fn of_postmark(server: Server) -> Account {
    if server.delivery_type.as_deref() == Some("Sandbox") {
        return Account::Useless {
            what: format!(
                "takes the token of server `{}`, which is a sandbox",
                server.name
            ),
            hint: "use the token of a live server: a sandbox delivers nothing".to_owned(),
        };
    }
    Account::Good(format!("takes the token of server `{}`", server.name))
}

fn of_sendgrid(scopes: Scopes) -> Account {
    if scopes.scopes.iter().any(|scope| scope == "mail.send") {
        return Account::Good("takes the key, which may send".to_owned());
    }
    Account::Useless {
        what: "takes the key, which may not send".to_owned(),
        hint: "give the key the permission Mail Send, under Settings, API Keys".to_owned(),
    }
}

/// An address counts by itself, or by its domain.
fn of_mailjet(senders: Senders, from: &str) -> Account {
    let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain);
    let catch_all = format!("*@{domain}");
    let is_active = senders.data.iter().any(|sender| {
        let is_meant = [from, &catch_all]
            .iter()
            .any(|one| sender.email.eq_ignore_ascii_case(one));
        is_meant && sender.status.eq_ignore_ascii_case("active")
    });
    if is_active {
        return Account::Good(format!(
            "takes the key, and knows `{from}` as an active sender"
        ));
    }
    Account::Useless {
        what: format!("takes the key, and does not know `{from}` as an active sender"),
        hint: "add the address or its domain under Sender domains & addresses, and confirm it: what is sent before that can be taken and never delivered".to_owned(),
    }
}
