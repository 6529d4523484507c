//! Postmark's `POST /email` (postmarkapp.com/developer, email API and API error codes).

use super::{Reading, Refusal, address, author, rate_limited};
use crate::config::plan::{ApiPlan, SecretPlan};
use crate::net::http::Answer;
use crate::probe::compose::{Message, TAG};
use crate::probe::send::Retry;
use crate::probe::verdict::CauseCode;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Default)]
struct Body {
    /// 0 for a yes. On delays of theirs it can be missing from one.
    #[serde(rename = "ErrorCode")]
    error_code: Option<i64>,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
}

pub(super) fn request(
    plan: &ApiPlan,
    server_token: &SecretPlan,
    message_stream: &str,
    client: &Client,
    message: &Message,
) -> RequestBuilder {
    let headers: Vec<Value> = message
        .headers
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect();
    client
        .post(address(plan, &["email"]))
        .header("accept", "application/json")
        .header("x-postmark-server-token", server_token.value.expose())
        .json(&json!({
            "From": author(message),
            "To": message.to,
            "Subject": message.subject,
            "TextBody": message.text,
            "HtmlBody": message.html,
            "Headers": headers,
            "Tag": TAG,
            "TrackOpens": false,
            "TrackLinks": "None",
            "MessageStream": message_stream,
        }))
}

pub(super) fn read(answer: &Answer) -> Reading {
    let body: Body = answer.json().unwrap_or_default();
    match (answer.status, body.error_code) {
        (200, Some(0)) => Reading::Taken(body.message_id),
        (200, None) if body.message_id.is_some() => Reading::Taken(body.message_id),
        // A code is meant whatever the status: a no can come with 200, too.
        (_, Some(code)) if code != 0 => of_code(code, answer),
        _ => Reading::Usual,
    }
}

fn of_code(code: i64, answer: &Answer) -> Reading {
    let refusal = match code {
        10 => Refusal::new(
            CauseCode::SenderUnauthorized,
            "does not accept the server token",
            "`server_token` is that of a server, from its page API Tokens, not the account's",
        ),
        100 => Refusal::new(
            CauseCode::SenderFailed,
            "is closed for maintenance",
            "see https://status.postmarkapp.com",
        )
        .again(Retry::Soon),
        400 | 401 => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "does not know `from` as a confirmed sender",
            "confirm the address under Sender Signatures, or verify its domain",
        ),
        405 => Refusal::new(
            CauseCode::SenderQuotaExhausted,
            "has no messages left for this account",
            "the plan's messages of this month are used up: raise the plan, or probe less often",
        ),
        406 => Refusal::new(
            CauseCode::RecipientBlocked,
            "has the recipient on its suppression list",
            "a bounce or a complaint put it there: reactivate the address in the stream's suppressions, once the reason is gone",
        ),
        412 | 413 => Refusal::new(
            CauseCode::SenderUnauthorized,
            "has not released the account for sending",
            "an account that waits for approval sends within its own domain only; ask Postmark's support",
        ),
        429 => rate_limited(answer.seconds("retry-after")),
        _ if answer.status == 200 => Refusal::new(
            CauseCode::SenderRejectedMessage,
            "refuses the message, and says so with a 200",
            "look the code up in Postmark's list of API error codes",
        ),
        _ => return Reading::Usual,
    };
    refusal.into()
}
