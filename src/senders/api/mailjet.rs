//! Mailjet's `POST /v3.1/send` (dev.mailjet.com, Send API v3.1).

use super::{Reading, Refusal, address};
use crate::config::plan::{ApiPlan, SecretPlan};
use crate::net::http::{Answer, with_basic};
use crate::probe::compose::{Message, TAG};
use crate::probe::verdict::CauseCode;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Messages")]
    messages: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "To", default)]
    to: Vec<Recipient>,
    #[serde(rename = "Errors", default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Recipient {
    /// Beyond 2^53, where a floating number loses digits.
    #[serde(rename = "MessageID")]
    message_id: Option<u64>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(rename = "ErrorMessage", default)]
    message: String,
    #[serde(rename = "StatusCode")]
    status: Option<u16>,
}

pub(super) fn request(
    plan: &ApiPlan,
    api_key: &SecretPlan,
    secret_key: &SecretPlan,
    client: &Client,
    message: &Message,
) -> RequestBuilder {
    let headers: Map<String, Value> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let mut from = json!({ "Email": message.from.address });
    if let (Some(name), Some(from)) = (&message.from.name, from.as_object_mut()) {
        from.insert("Name".to_owned(), json!(name));
    }
    let request = client.post(address(plan, &["v3.1", "send"]));
    with_basic(request, api_key.value.expose(), &secret_key.value).json(&json!({
        "Messages": [{
            "From": from,
            "To": [{ "Email": message.to }],
            "Subject": message.subject,
            "TextPart": message.text,
            "HTMLPart": message.html,
            "Headers": headers,
            "CustomID": message.token,
            "CustomCampaign": TAG,
            "TrackOpens": "disabled",
            "TrackClicks": "disabled",
        }],
    }))
}

pub(super) fn read(answer: &Answer) -> Reading {
    let Some(body) = answer.json::<Body>() else {
        return match answer.status {
            403 => Refusal::new(
                CauseCode::SenderUnauthorized,
                "does not allow this account to send",
                "new accounts are blocked until Mailjet has looked at them: see its dashboard",
            )
            .into(),
            _ => Reading::Usual,
        };
    };
    // The status of the answer is that of all messages together; there is one.
    let Some(outcome) = body.messages.first() else {
        return Reading::Usual;
    };
    if answer.status == 200 && outcome.status == "success" {
        let id = outcome.to.first().and_then(|to| to.message_id);
        return Reading::Taken(id.map(|id| id.to_string()));
    }
    let fault = outcome.errors.first();
    let text = fault.map_or_else(String::new, |fault| fault.message.to_ascii_lowercase());
    let status = fault
        .and_then(|fault| fault.status)
        .unwrap_or(answer.status);
    if text.contains("not an authorized sender") || text.contains("sender email address") {
        return Refusal::new(
            CauseCode::SenderRejectedMessage,
            "does not know `from` as an active sender",
            "add the address or its domain under Sender domains & addresses, and confirm it",
        )
        .into();
    }
    match status {
        200 | 400 => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "refuses the message",
            "Mailjet's words say which part: is `from` a confirmed sender there, and `to` an address?",
        )
        .into(),
        401 | 403 => Refusal::new(
            CauseCode::SenderUnauthorized,
            "does not allow this account or key to send",
            "see Mailjet's dashboard for a suspension, and what the key may do",
        )
        .into(),
        _ => Reading::Usual,
    }
}
