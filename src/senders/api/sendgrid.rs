//! SendGrid's `POST /v3/mail/send` (Twilio's reference of the v3 mail send API).

use super::{Reading, Refusal, address, rate_limited};
use crate::config::plan::{ApiPlan, SecretPlan};
use crate::net::http::Answer;
use crate::probe::compose::{Message, TAG};
use crate::probe::verdict::CauseCode;
use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Smaller numbers are seconds to wait, greater ones a time.
const EPOCH_BEGINS: u64 = 1_000_000_000;

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
    let mut from = json!({ "email": message.from.address });
    if let (Some(name), Some(from)) = (&message.from.name, from.as_object_mut()) {
        from.insert("name".to_owned(), json!(name));
    }
    client
        .post(address(plan, &["v3", "mail", "send"]))
        // Without it the answer is 406.
        .header("accept", "application/json")
        .bearer_auth(api_key.value.expose())
        .json(&json!({
            "personalizations": [{ "to": [{ "email": message.to }] }],
            "from": from,
            "subject": message.subject,
            // In this order, or it is refused.
            "content": [
                { "type": "text/plain", "value": message.text },
                { "type": "text/html", "value": message.html },
            ],
            "headers": headers,
            "categories": [TAG],
            "tracking_settings": {
                "click_tracking": { "enable": false, "enable_text": false },
                "open_tracking": { "enable": false },
            },
        }))
}

pub(super) fn read(answer: &Answer, now: DateTime<Utc>) -> Reading {
    let text = answer.quote().to_ascii_lowercase();
    let header = |name: &str| answer.headers.get(name)?.to_str().ok();
    match answer.status {
        // The body is empty; the id is in a header.
        202 => Reading::Taken(header("x-message-id").map(str::to_owned)),
        200 => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "checked the message and sent nothing: 200 is the answer of its sandbox",
            "switch the sandbox mode off in the account's mail settings",
        )
        .into(),
        401 | 403 if text.contains("maximum credits exceeded") => Refusal::new(
            CauseCode::SenderQuotaExhausted,
            "has no credits left for this account",
            "the plan's messages are used up: raise the plan, or probe less often",
        )
        .into(),
        403 if text.contains("verified sender") => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "does not know `from` as a verified sender",
            "verify the address as a Single Sender, or authenticate its domain, under Sender Authentication",
        )
        .into(),
        429 => rate_limited(answer.seconds("retry-after").or_else(|| {
            let reset: u64 = header("x-ratelimit-reset")?.trim().parse().ok()?;
            let epoch = u64::try_from(now.timestamp()).unwrap_or_default();
            Some(Duration::from_secs(if reset < EPOCH_BEGINS {
                reset
            } else {
                reset.saturating_sub(epoch)
            }))
        }))
        .into(),
        _ => Reading::Usual,
    }
}
