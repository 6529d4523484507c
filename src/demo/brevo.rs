//! A stand-in for the Brevo API: takes messages as it does, relays them over SMTP, and records what became of them.

use super::http::{Request, Response, serve};
use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use lettre::address::Envelope;
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What Brevo's servers call themselves.
const NAME: &str = "ab.d.sender-sib.com";

/// How the stand-in answers one request to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// As Brevo does: 201, and the message goes out.
    Accept,
    /// This, and nothing goes out.
    Answer(Response),
    /// The message goes out, and this is all that is heard of it.
    TakeAndAnswer(Response),
}

/// An entry of the block list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The recipient.
    pub email: String,
    /// Such as `hardBounce`.
    pub code: String,
}

/// An entry of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub date: DateTime<Utc>,
    /// Such as `delivered`, in the log's own words.
    pub event: String,
    /// Recipient.
    pub email: String,
    /// Subject.
    pub subject: String,
    /// Brackets included.
    pub message_id: String,
    /// What the receiving server said.
    pub reason: Option<String>,
}

/// What the stand-in is, and what it has seen.
#[derive(Debug, Default)]
pub struct State {
    /// How the next requests to send are answered; then, all as Brevo does.
    pub next: VecDeque<Behaviour>,
    /// How every request to send is answered once `next` is used up.
    pub then: Option<Behaviour>,
    /// Where messages are handed to; none before the stand-in is made.
    mx: Option<SocketAddr>,
    /// What is left of the account's allowance.
    pub credits: u32,
    /// The block list.
    pub blocked: Vec<Blocked>,
    /// The event log.
    pub events: Vec<Event>,
    /// How long messages stay here before they go out.
    pub hold: Duration,
    /// Gives up after so many temporary refusals; none: never.
    pub patience: Option<u32>,
    /// Every request.
    pub requests: Vec<Request>,
    /// Idempotency keys that were used, and the ids that their messages got.
    keys: BTreeMap<String, String>,
}

/// A running stand-in.
#[derive(Debug, Clone)]
pub struct Brevo {
    state: Arc<Mutex<State>>,
    key: String,
}

impl Brevo {
    /// Takes requests with this API key, and relays to this MX.
    #[must_use]
    pub fn new(key: &str, mx: SocketAddr) -> Self {
        let state = State {
            credits: 300,
            mx: Some(mx),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            key: key.to_owned(),
        }
    }

    /// What it is and has seen; not to be held while something waits.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands messages to this server from now on.
    pub fn relay_to(&self, mx: SocketAddr) {
        self.state().mx = Some(mx);
    }

    /// Serves until the future is dropped; what was taken goes out all the same.
    pub async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        serve(listener, tls, move |request| {
            let brevo = self.clone();
            async move { brevo.answer(request) }
        })
        .await;
    }

    fn answer(&self, request: Request) -> Response {
        self.state().requests.push(request.clone());
        if request.header("api-key") != Some(self.key.as_str()) {
            return error(401, "unauthorized", "Key not found");
        }
        let path = request.path.strip_prefix("/v3").unwrap_or(&request.path);
        match (request.method.as_str(), path) {
            ("POST", "/smtp/email") => self.send(&request),
            ("GET", "/account") => self.account(),
            ("GET", "/senders") => Response::json(
                200,
                &json!({ "senders": [{ "id": 1, "name": "Monitoring", "email": "monitoring@example.org", "active": true }] }),
            ),
            ("GET", "/senders/domains") => Response::json(
                200,
                &json!({ "domains": [{ "id": "1", "domain_name": "example.org", "authenticated": true, "verified": true }] }),
            ),
            ("GET", "/smtp/blockedContacts") => self.blocked_contacts(&request),
            ("DELETE", path) if path.starts_with("/smtp/blockedContacts/") => self.unblock(path),
            ("GET", "/smtp/statistics/events") => self.events(&request),
            _ => error(404, "document_not_found", "no such resource"),
        }
    }

    fn send(&self, request: &Request) -> Response {
        let behaviour = {
            let mut state = self.state();
            let next = state.next.pop_front();
            next.or_else(|| state.then.clone())
                .unwrap_or(Behaviour::Accept)
        };
        match behaviour {
            Behaviour::Accept => self.take(request),
            Behaviour::Answer(response) => response,
            Behaviour::TakeAndAnswer(response) => {
                self.take(request);
                response
            }
        }
    }

    /// Takes a message, and sends it on its way.
    fn take(&self, request: &Request) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return error(400, "bad_request", "Input must be a valid JSON object");
        };
        let Some(outgoing) = Outgoing::of(&body) else {
            return error(
                400,
                "missing_parameter",
                "sender, to, subject or htmlContent is missing",
            );
        };
        let mut state = self.state();
        if state.credits == 0 {
            return error(400, "not_enough_credits", "You do not have enough credits");
        }
        let key = body
            .pointer("/headers/idempotencyKey")
            .and_then(Value::as_str);
        if let Some(key) = key
            && state.keys.contains_key(key)
        {
            return error(400, "duplicate_request", "Request already processed");
        }
        state.credits -= 1;
        let number = 10_000_000_000_u64 + u64::try_from(state.keys.len()).unwrap_or_default();
        let id = format!(
            "<{}.{number}@smtp-relay.mailin.fr>",
            Utc::now().format("%Y%m%d%H%M")
        );
        state.keys.insert(key.unwrap_or(&id).to_owned(), id.clone());
        let is_blocked = state
            .blocked
            .iter()
            .any(|one| one.email.eq_ignore_ascii_case(&outgoing.to));
        let event = if is_blocked { "blocked" } else { "requests" };
        state.events.push(outgoing.event(event, &id, None));
        let hold = state.hold;
        drop(state);
        if !is_blocked {
            let brevo = self.clone();
            let message_id = id.clone();
            tokio::spawn(async move {
                tokio::time::sleep(hold).await;
                brevo.relay(&outgoing, &message_id).await;
            });
        }
        Response::json(201, &json!({ "messageId": id }))
    }

    /// Hands the message to the MX; what the MX says for now or for good is an event.
    async fn relay(&self, outgoing: &Outgoing, id: &str) {
        let mut pause = Duration::from_millis(500);
        let mut refusals = 0;
        loop {
            let Some(mx) = self.state().mx else { return };
            let outcome = outgoing.hand_to(mx, id).await;
            refusals += 1;
            let given_up = self
                .state()
                .patience
                .is_some_and(|patience| refusals > patience);
            let (event, reason) = match outcome {
                Ok(reply) => ("delivered", reply),
                Err((reason, true)) => ("hardBounces", reason),
                Err((reason, false)) if given_up => ("softBounces", reason),
                Err((reason, false)) => ("deferred", reason),
            };
            self.record(outgoing.event(event, id, Some(reason)));
            if event != "deferred" {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    /// Writes the log; after a hard bounce every message to this address is dropped.
    fn record(&self, event: Event) {
        let mut state = self.state();
        if event.event == "hardBounces" {
            state.blocked.push(Blocked {
                email: event.email.clone(),
                code: "hardBounce".to_owned(),
            });
        }
        state.events.push(event);
    }

    fn account(&self) -> Response {
        let credits = self.state().credits;
        Response::json(
            200,
            &json!({
                "email": "owner@example.org",
                "companyName": "Example",
                "plan": [{ "type": "free", "credits": credits, "creditsType": "sendLimit" }],
                "relay": { "enabled": true, "data": { "relay": "smtp-relay.brevo.com", "port": 587, "userName": "owner@example.org" } },
            }),
        )
    }

    fn blocked_contacts(&self, request: &Request) -> Response {
        let number = |name| {
            request
                .query(name)
                .and_then(|text| text.parse::<usize>().ok())
        };
        let state = self.state();
        let contacts: Vec<Value> = state
            .blocked
            .iter()
            .skip(number("offset").unwrap_or(0))
            .take(number("limit").unwrap_or(50))
            .map(|one| {
                json!({
                    "email": one.email, "senderEmail": "", "blockedAt": "2026-11-20T03:12:44.000Z",
                    "reason": { "code": one.code, "message": format!("blocked: {}", one.code) },
                })
            })
            .collect();
        Response::json(
            200,
            &json!({ "count": state.blocked.len(), "contacts": contacts }),
        )
    }

    fn unblock(&self, path: &str) -> Response {
        let escaped = path
            .trim_start_matches("/smtp/blockedContacts/")
            .replace('+', "%2B");
        let email = url::form_urlencoded::parse(escaped.as_bytes())
            .next()
            .map(|(name, _)| name.into_owned());
        let mut state = self.state();
        let before = state.blocked.len();
        state
            .blocked
            .retain(|one| Some(&one.email) != email.as_ref());
        if state.blocked.len() == before {
            return error(404, "document_not_found", "Contact does not exist");
        }
        Response::text(204, "")
    }

    fn events(&self, request: &Request) -> Response {
        let is_asked = |name, value: &str| request.query(name).is_none_or(|asked| asked == value);
        let state = self.state();
        let events: Vec<Value> = state
            .events
            .iter()
            .rev()
            .filter(|one| {
                is_asked("event", &one.event) && is_asked("email", &one.email) && is_asked("messageId", &one.message_id)
            })
            .map(|one| {
                json!({
                    "email": one.email, "date": local(one.date), "subject": one.subject,
                    "messageId": one.message_id, "event": one.event, "reason": one.reason, "tag": "mailprobe",
                })
            })
            .collect();
        Response::json(200, &json!({ "events": events }))
    }
}

/// The log writes times in the account's zone.
fn local(at: DateTime<Utc>) -> String {
    let zone = FixedOffset::east_opt(2 * 3600);
    zone.map_or_else(
        || at.to_rfc3339(),
        |zone| {
            let at = at.with_timezone(&zone);
            at.to_rfc3339_opts(SecondsFormat::Millis, false)
        },
    )
}

/// What the receiving server said, as it said it, or why nothing was heard of it.
fn said(error: &lettre::transport::smtp::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let text = source.unwrap_or_else(|| error.to_string());
    match error.status() {
        Some(code) => format!("{code} {text}"),
        None => format!("cannot connect: {text}"),
    }
}

/// An error in the shape of the API.
#[must_use]
pub fn error(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({ "code": code, "message": message }))
}

/// A message on its way out.
struct Outgoing {
    from: String,
    from_name: Option<String>,
    to: String,
    subject: String,
    headers: Vec<(String, String)>,
    text: String,
    html: String,
}

impl Outgoing {
    fn of(body: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            body.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let headers = body.get("headers").and_then(Value::as_object);
        Some(Self {
            from: text("/sender/email")?,
            from_name: text("/sender/name"),
            to: text("/to/0/email")?,
            subject: text("/subject")?,
            headers: headers
                .into_iter()
                .flatten()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("idempotencyKey"))
                .filter_map(|(name, value)| Some((title_case(name), value.as_str()?.to_owned())))
                .collect(),
            text: text("/textContent").unwrap_or_default(),
            html: text("/htmlContent")?,
        })
    }

    fn envelope(&self) -> Option<Envelope> {
        let from = "bounces-310273391-29@ab.d.sender-sib.com"
            .parse::<Address>()
            .ok()?;
        Envelope::new(Some(from), vec![self.to.parse().ok()?]).ok()
    }

    /// Hands the message to a server: its reply, or why not and whether that is for good.
    async fn hand_to(&self, mx: SocketAddr, id: &str) -> Result<String, (String, bool)> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mx.ip().to_string())
            .port(mx.port())
            .hello_name(ClientId::Domain(NAME.to_owned()))
            .timeout(Some(Duration::from_secs(10)))
            .build();
        let envelope = self
            .envelope()
            .ok_or_else(|| ("no address".to_owned(), true))?;
        match server.send_raw(&envelope, self.raw(id).as_bytes()).await {
            Ok(response) => {
                let words: Vec<_> = response.message().collect();
                Ok(format!("{} {}", response.code(), words.join(" ")))
            }
            Err(error) => Err((said(&error), error.is_permanent())),
        }
    }

    /// The message as Brevo writes it: own fields, HTML with its tracking image, alternative parts.
    fn raw(&self, id: &str) -> String {
        let Self {
            from,
            from_name,
            to,
            subject,
            ..
        } = self;
        let name = from_name
            .as_deref()
            .map(|name| format!("\"{name}\" "))
            .unwrap_or_default();
        let date = Utc::now().format("%a, %e %b %Y %H:%M:%S +0000");
        let mut raw = format!(
            "Date: {date}\r\nSubject: {subject}\r\nMessage-Id: {id}\r\nOrigin-messageId: {id}\r\n\
             X-sib-id: yVnTNcYIMvPBKXgqTDh7\r\nX-Api-Version: v3\r\nX-CSA-Complaints: csa-complaints@eco.de\r\n\
             To: {to}\r\nFrom: {name}<{from}>\r\nFeedback-ID: 77.32.148.20:7777777_-1:7777777:Sendinblue\r\n\
             DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=brevo1; q=dns/txt;\r\n\
             \th=from:to:subject:date:message-id; t=1795000000;\r\n\
             \tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\
             \tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZ\r\n\
             List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMime-Version: 1.0\r\n\
             Content-Type: multipart/alternative; boundary=\"_=aspNetEmail=_1\"\r\n"
        );
        for (name, value) in &self.headers {
            let _ = write!(raw, "{name}: {value}\r\n");
        }
        let _ = write!(
            raw,
            "\r\n--_=aspNetEmail=_1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n\
             --_=aspNetEmail=_1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
             <img width=\"1\" height=\"1\" src=\"https://r.example.org/tr/op/a\"/>\r\n{}\r\n--_=aspNetEmail=_1--\r\n",
            self.text.trim_end(),
            self.html.replace("</p><p>", "</p>\r\n<p>")
        );
        raw
    }

    fn event(&self, event: &str, id: &str, reason: Option<String>) -> Event {
        Event {
            date: Utc::now(),
            event: event.to_owned(),
            email: self.to.clone(),
            subject: self.subject.clone(),
            message_id: id.to_owned(),
            reason,
        }
    }
}

/// Brevo rewrites names of fields.
fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut chars = word.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first
            .into_iter()
            .chain(chars.map(|c| c.to_ascii_lowercase()))
            .collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}
