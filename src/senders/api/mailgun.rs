//! Mailgun's `POST /v3/{domain}/messages` (documentation.mailgun.com, API reference of messages).

use super::{Reading, Refusal, address, author};
use crate::config::plan::{ApiPlan, SecretPlan};
use crate::net::http::{Answer, with_basic};
use crate::probe::compose::{Message, TAG};
use crate::probe::verdict::CauseCode;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

pub(super) fn request(
    plan: &ApiPlan,
    api_key: &SecretPlan,
    domain: &str,
    client: &Client,
    message: &Message,
) -> RequestBuilder {
    let mut form = Serializer::new(String::new());
    form.append_pair("from", &author(message))
        .append_pair("to", &message.to)
        .append_pair("subject", &message.subject)
        .append_pair("text", &message.text)
        .append_pair("html", &message.html)
        // Links and pictures of their making would change the message.
        .append_pair("o:tracking", "no")
        .append_pair("o:tag", TAG);
    for (name, value) in &message.headers {
        form.append_pair(&format!("h:{name}"), value);
    }
    let request = client.post(address(plan, &["v3", domain, "messages"]));
    with_basic(request, "api", &api_key.value)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.finish())
}

pub(super) fn read(answer: &Answer, domain: &str) -> Reading {
    match (answer.status, answer.json::<Accepted>()) {
        (200, Some(accepted)) => Reading::Taken(Some(accepted.id)),
        // Every path that there is not is answered so.
        (200, None) if answer.quote().contains("Mailgun Magnificent API") => Refusal::new(
            CauseCode::SenderFailed,
            "has nothing at this address, and says so with a 200",
            "correct `base_url`: it is https://api.mailgun.net or https://api.eu.mailgun.net, without a path",
        )
        .into(),
        (404, _) => Refusal::new(
            CauseCode::SenderUnauthorized,
            format!("does not know the domain `{domain}`"),
            "is it in the other region? domains in the EU answer with `region = \"eu\"` only; else correct `domain`",
        )
        .into(),
        _ => Reading::Usual,
    }
}
