//! The message as bytes: the same as through an API, with the fields that an API would add.

use crate::probe::compose::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use std::time::SystemTime;

/// `<UUID@domain of the author>`: ours, and the same for every attempt.
pub(super) fn message_id(message: &Message) -> String {
    let domain = message.from.address.rsplit_once('@');
    let domain = domain.map_or("localhost", |(_, domain)| domain);
    format!("<{}@{domain}>", message.idempotency_key)
}

/// The message, lines ended by CRLF, not dot-stuffed.
///
/// # Errors
/// What lettre has against an address.
pub(super) fn bytes(message: &Message) -> Result<Vec<u8>, String> {
    let address = |text: &str| {
        text.parse()
            .map_err(|error| format!("`{text}` is no mail address: {error}"))
    };
    let from = Mailbox::new(message.from.name.clone(), address(&message.from.address)?);
    let to = Mailbox::new(None, address(&message.to)?);
    let mut builder = lettre::Message::builder()
        .from(from)
        .to(to)
        .subject(&message.subject)
        .date(SystemTime::from(message.sent_at))
        .message_id(Some(message_id(message)));
    for (name, value) in &message.headers {
        let name = HeaderName::new_from_ascii(name.clone())
            .map_err(|error| format!("`{name}` is no name of a field: {error}"))?;
        builder = builder.raw_header(HeaderValue::new(name, value.clone()));
    }
    let body = MultiPart::alternative_plain_html(message.text.clone(), message.html.clone());
    let whole = builder.multipart(body).map_err(|error| error.to_string())?;
    let mut bytes = whole.formatted();
    // lettre ends the data by a line break of its own.
    if bytes.ends_with(b"\r\n") {
        bytes.truncate(bytes.len() - 2);
    }
    Ok(bytes)
}
