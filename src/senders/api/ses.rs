//! Amazon SES v2, `POST /v2/email/outbound-emails` (its API reference of SendEmail).

use super::sigv4::{Request, Signer, timestamp};
use super::{Reading, Refusal, address, rate_limited};
use crate::config::plan::{ApiPlan, SesPlan};
use crate::net::http::Answer;
use crate::probe::compose::{Author, Message, TAG};
use crate::probe::send::Retry;
use crate::probe::verdict::CauseCode;
use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "MessageId")]
    message_id: String,
}

pub(super) async fn request(
    plan: &ApiPlan,
    ses: &SesPlan,
    client: &Client,
    message: &Message,
    now: DateTime<Utc>,
) -> RequestBuilder {
    let url = address(plan, &["v2", "email", "outbound-emails"]);
    let body = body(ses, message).to_string();
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let date = timestamp(now);
    let mut request = client
        .post(url.clone())
        .header("content-type", "application/json")
        .header("x-amz-date", &date);
    // Temporary credentials are renewed while we run.
    let token = match &ses.session_token {
        Some(token) => Some(token.current().await),
        None => None,
    };
    let mut headers = vec![
        ("content-type", "application/json"),
        ("host", host.as_str()),
        ("x-amz-date", date.as_str()),
    ];
    if let Some(token) = &token {
        headers.push(("x-amz-security-token", token.expose()));
        request = request.header("x-amz-security-token", token.expose());
    }
    let secret = ses.secret_access_key.current().await;
    let signer = Signer {
        access_key_id: &ses.access_key_id,
        secret_access_key: secret.expose(),
        region: &ses.region,
        service: "ses",
    };
    let signed = Request {
        method: "POST",
        path: url.path(),
        query: "",
        headers: &headers,
        body: body.as_bytes(),
    };
    let authorization = signer.authorization(signed, now);
    request.header("authorization", authorization).body(body)
}

fn body(ses: &SesPlan, message: &Message) -> Value {
    let text = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
    let headers: Vec<Value> = message
        .headers
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect();
    let mut body = json!({
        "FromEmailAddress": encoded(&message.from),
        "Destination": { "ToAddresses": [message.to] },
        "Content": { "Simple": {
            "Subject": text(&message.subject),
            "Body": { "Text": text(&message.text), "Html": text(&message.html) },
            "Headers": headers,
        } },
        "EmailTags": [{ "Name": "category", "Value": TAG }],
    });
    if let (Some(name), Some(body)) = (&ses.configuration_set, body.as_object_mut()) {
        body.insert("ConfigurationSetName".to_owned(), json!(name));
    }
    body
}

/// `Name <address>`; SES takes ASCII only, so that other names come as an encoded word (RFC 2047).
fn encoded(from: &Author) -> String {
    let Author { address, name } = from;
    match name {
        None => address.clone(),
        Some(name) => {
            let name = data_encoding::BASE64.encode(name.as_bytes());
            format!("=?utf-8?B?{name}?= <{address}>")
        }
    }
}

pub(super) fn read(answer: &Answer, region: &str) -> Reading {
    match (answer.status, answer.json::<Accepted>()) {
        (200, Some(accepted)) => Reading::Taken(Some(accepted.message_id)),
        (200..=399, _) => Reading::Usual,
        _ => refused(answer, region),
    }
}

fn refused(answer: &Answer, region: &str) -> Reading {
    let kind = kind(answer);
    let text = answer.quote();
    let refusal = match kind.as_str() {
        "MessageRejected" | "MailFromDomainNotVerifiedException" => Refusal::new(
            CauseCode::SenderRejectedMessage,
            format!("refuses the message ({kind})"),
            format!(
                "verify `from` or its domain in {region}, where it counts on its own; in the sandbox `to` has to be verified as well"
            ),
        ),
        "AccountSuspendedException" | "SendingPausedException" => Refusal::new(
            CauseCode::SenderUnauthorized,
            format!("does not let this account send ({kind})"),
            "see the account's dashboard of SES: bounces or complaints stop an account, and a configuration set can be paused",
        ),
        "NotFoundException" => Refusal::new(
            CauseCode::SenderRejectedMessage,
            format!("does not know what the request names ({kind})"),
            format!("is there a configuration set of this name in {region}?"),
        ),
        "TooManyRequestsException" | "LimitExceededException" | "ThrottlingException"
            if text.contains("aily message quota exceeded")
                || text.contains("aily sending quota exceeded") =>
        {
            Refusal::new(
                CauseCode::SenderQuotaExhausted,
                "has no messages left for these 24 hours",
                "the quota is per region and for all that the account sends: ask AWS to raise it, or probe less often",
            )
        }
        "TooManyRequestsException" | "ThrottlingException" => {
            rate_limited(answer.seconds("retry-after"))
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" => Refusal::new(
            CauseCode::SenderUnauthorized,
            format!("does not accept the signature ({kind})"),
            "does `secret_access_key` belong to `access_key_id`, and is this machine's clock right? five minutes off are too much",
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "MissingAuthenticationTokenException" => Refusal::new(
            CauseCode::SenderUnauthorized,
            format!("does not know the access key ({kind})"),
            "was the key deleted or deactivated in IAM? temporary keys need their `session_token`, and expire",
        ),
        "AccessDeniedException" | "AccessDenied" => Refusal::new(
            CauseCode::SenderUnauthorized,
            format!("does not allow this key to send ({kind})"),
            "give the user or role the permission ses:SendEmail for this identity",
        ),
        "InternalServiceErrorException" | "InternalFailure" | "ServiceUnavailable" => Refusal::new(
            CauseCode::SenderFailed,
            format!("fails ({kind})"),
            "see https://health.aws.amazon.com; nothing is wrong with the way to the mailbox",
        )
        .again(Retry::Soon),
        _ => return Reading::Usual,
    };
    refusal.into()
}

/// The name of the error: from a header, without what follows a colon there, or from the body.
fn kind(answer: &Answer) -> String {
    let header = answer.headers.get("x-amzn-errortype");
    let header = header.and_then(|kind| kind.to_str().ok().map(str::to_owned));
    let body: Value = answer.json().unwrap_or_default();
    let body = body.get("__type").and_then(Value::as_str);
    let kind = header
        .or_else(|| body.map(str::to_owned))
        .unwrap_or_default();
    let kind = kind.split(':').next().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().to_owned()
}
