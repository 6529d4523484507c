//! Resend's `POST /emails` (resend.com/docs, API reference of send email, errors and usage limits).

use super::{Reading, Refusal, address, author, rate_limited};
use crate::config::plan::{ApiPlan, SecretPlan};
use crate::net::http::Answer;
use crate::probe::compose::{Message, TAG};
use crate::probe::send::{Retry, Taken};
use crate::probe::verdict::CauseCode;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    name: String,
}

/// A User-Agent, without which it is refused, comes with the client.
pub(super) fn request(
    plan: &ApiPlan,
    api_key: &SecretPlan,
    client: &Client,
    message: &Message,
) -> RequestBuilder {
    let headers: Map<String, Value> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    client
        .post(address(plan, &["emails"]))
        .bearer_auth(api_key.value.expose())
        // Kept for 24 hours: a message with the same key is taken once.
        .header("idempotency-key", &message.idempotency_key)
        .json(&json!({
            "from": author(message),
            "to": [message.to],
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "headers": headers,
            "tags": [{ "name": "category", "value": TAG }],
        }))
}

pub(super) fn read(answer: &Answer) -> Reading {
    if let (200 | 201, Some(accepted)) = (answer.status, answer.json::<Accepted>()) {
        return Reading::Taken(Some(accepted.id));
    }
    let refused: Refused = answer.json().unwrap_or_default();
    let wait = || {
        answer
            .seconds("retry-after")
            .or_else(|| answer.seconds("ratelimit-reset"))
    };
    let refusal = match (answer.status, refused.name.as_str()) {
        // A 429 as well, and no wait of ours would help.
        (_, "daily_quota_exceeded") => Refusal::new(
            CauseCode::SenderQuotaExhausted,
            "has no messages left for today",
            "the free plan sends 100 a day; it comes back 24 hours after the first of them: raise the plan, or probe less often",
        ),
        (_, "monthly_quota_exceeded") => Refusal::new(
            CauseCode::SenderQuotaExhausted,
            "has no messages left for this month",
            "raise the plan, or probe less often",
        ),
        (_, "concurrent_idempotent_requests") => Refusal {
            taken: Taken::Unknown,
            retry: Retry::Soon,
            ..Refusal::new(
                CauseCode::SenderFailed,
                "is still at work on the attempt before",
                "nothing to do: the next attempt tells what came of it",
            )
        },
        (_, "missing_api_key" | "invalid_api_key" | "restricted_api_key" | "suspended_api_key") => {
            Refusal::new(
                CauseCode::SenderUnauthorized,
                "does not accept the API key",
                "make a new key under API Keys, with permission to send from this domain",
            )
        }
        (403, "validation_error" | "invalid_from_address") => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "does not know the domain of `from` as verified",
            "verify the domain under Domains; until then mail goes to the account's own address only",
        ),
        (429, _) => rate_limited(wait()),
        _ => return Reading::Usual,
    };
    refusal.into()
}
