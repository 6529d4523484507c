//! From a configured mailbox to a logged-in session, each step with its own limit.

use super::session::{COMMAND_LIMIT, Fault, NOT_IMAP, Session};
use super::trouble::{Step, Trouble};
use super::wire::{Io, Wire};
use crate::config::plan::{MailboxAuth, MailboxPlan, TlsMode};
use crate::log::About;
use crate::net::tls::Tls;
use crate::net::{milliseconds, tcp};
use crate::secret::Secret;
use async_imap::imap_proto::{Capability, Response, Status};
use async_imap::types::UnsolicitedResponse;
use async_imap::{Authenticator, Client};
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// TCP and TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Dovecot delays a refusal, by up to 15 s for an address that failed before.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// Answers to the first CAPABILITY that are kept: the one that matters, and what a server says beside it.
const MOST_ANSWERS: usize = 16;
/// More capabilities than any server has, and no name is as long.
const MOST_CAPABILITIES: usize = 500;
const LONGEST_CAPABILITY: usize = 100;

/// Connects, secures the connection, and logs in. The whole is over by `end`.
pub(super) async fn connect(
    plan: &MailboxPlan,
    tls: &Tls,
    end: Instant,
) -> Result<Session, Trouble> {
    let client = greeted(plan, tls, end).await?;
    let mut session = log_in(plan, client, end).await?;
    let limit = remaining(end, COMMAND_LIMIT);
    session
        .learn_capabilities(limit)
        .await
        .map_err(|fault| Trouble::of_command(Step::LogIn, &fault))?;
    Ok(session)
}

/// A connection on which the server has said hello, under TLS if it is to be.
async fn greeted(plan: &MailboxPlan, tls: &Tls, end: Instant) -> Result<Client<Wire>, Trouble> {
    let tcp = within(Step::Connect, end, CONNECT_LIMIT, async {
        tcp::connect(&plan.host, plan.port, remaining(end, CONNECT_LIMIT))
            .await
            .map_err(|error| Trouble::unreachable(Step::Connect, &error.to_string()))
    })
    .await?;
    let stream: Box<dyn Io> = match plan.tls {
        TlsMode::Implicit => Box::new(secure(plan, tls, tcp, end).await?),
        TlsMode::StartTls | TlsMode::None => Box::new(tcp),
    };
    let mut client = Client::new(Wire::new(stream));
    within(Step::Greeting, end, COMMAND_LIMIT, greeting(&mut client)).await?;
    if plan.tls != TlsMode::StartTls {
        return Ok(client);
    }
    within(Step::StartTls, end, COMMAND_LIMIT, async {
        client
            .run_command_and_check_ok("STARTTLS", None)
            .await
            .map_err(|error| refusal(Step::StartTls, &client, &error))
    })
    .await?;
    let stream = secure(plan, tls, client.into_inner().into_inner(), end).await?;
    // The server does not greet again (RFC 3501 section 6.2.1).
    Ok(Client::new(Wire::new(Box::new(stream))))
}

async fn secure<S: Io + 'static>(
    plan: &MailboxPlan,
    tls: &Tls,
    stream: S,
    end: Instant,
) -> Result<tokio_rustls::client::TlsStream<S>, Trouble> {
    let name = ServerName::try_from(plan.tls_server_name.clone())
        .map_err(|error| Trouble::unreachable(Step::Tls, &error.to_string()))?;
    within(Step::Tls, end, CONNECT_LIMIT, async {
        TlsConnector::from(tls.config())
            .connect(name, stream)
            .await
            .map_err(|error| Trouble::of_handshake(&error, plan, tls.certificate().as_ref()))
    })
    .await
}

/// Reads `* OK`. A Dovecot that has just started says another one first, which `log_in` passes over as untagged.
async fn greeting(client: &mut Client<Wire>) -> Result<(), Trouble> {
    let response = client.read_response().await;
    let quoted = client.get_ref().reply("*");
    match response {
        Ok(Some(response)) => match response.parsed() {
            Response::Data {
                status: Status::Ok, ..
            } => Ok(()),
            // Somebody between us and the server logged in for us: not the account that the config names.
            Response::Data {
                status: Status::PreAuth,
                ..
            } => Err(Trouble::refused(
                Step::LogIn,
                &format!("{TAKEN_AS_IN}: {quoted}"),
            )),
            Response::Data {
                status: Status::Bye,
                ..
            } => Err(turned_away(Step::Greeting, &quoted)),
            _ => Err(Trouble::unreachable(Step::Greeting, &quoted)),
        },
        Ok(None) => Err(Trouble::unreachable(
            Step::Greeting,
            "the server closed the connection",
        )),
        Err(_) if !quoted.is_empty() => Err(Trouble::unreachable(
            Step::Greeting,
            &format!("not an IMAP server: {quoted}"),
        )),
        Err(error) => Err(Trouble::unreachable(Step::Greeting, &error.to_string())),
    }
}

async fn log_in(
    plan: &MailboxPlan,
    mut client: Client<Wire>,
    end: Instant,
) -> Result<Session, Trouble> {
    let offers = within(Step::LogIn, end, COMMAND_LIMIT, capabilities(&mut client)).await?;
    let offers = |name: &str| offers.iter().any(|one| one.eq_ignore_ascii_case(name));
    let method = match plan.auth {
        MailboxAuth::Auto if offers("AUTH=PLAIN") => MailboxAuth::Plain,
        MailboxAuth::Auto => MailboxAuth::Login,
        chosen => chosen,
    };
    // RFC 3501 section 6.2.3: such a server must not be sent the password.
    if method == MailboxAuth::Login && offers("LOGINDISABLED") {
        return Err(Trouble::refused(
            Step::LogIn,
            "the server announces LOGINDISABLED",
        ));
    }
    let password = match method {
        MailboxAuth::XOauth2 => plan.password.current().await,
        _ => plan.password.value.clone(),
    };
    let limit = remaining(end, LOGIN_LIMIT);
    let started = Instant::now();
    let attempt = async {
        match method {
            MailboxAuth::Login | MailboxAuth::Auto => {
                client.login(&plan.username, password.expose()).await
            }
            MailboxAuth::Plain => {
                let response = format!("\0{}\0{}", plan.username, password.expose());
                let response = password.derived(response);
                authenticate(client, "PLAIN", &response, offers("SASL-IR")).await
            }
            MailboxAuth::XOauth2 => {
                let token = password.expose();
                let response = format!("user={}\x01auth=Bearer {token}\x01\x01", plan.username);
                let response = password.derived(response);
                authenticate(client, "XOAUTH2", &response, offers("SASL-IR")).await
            }
        }
    };
    let outcome = timeout_at(Instant::now() + limit, attempt).await;
    // async-imap would log the password: its target is silenced, and this line stands for it.
    let about = About::current();
    tracing::trace!(
        mailbox = about.mailbox,
        folder = about.folder,
        probe = about.probe,
        token = about.token(),
        command = %format!("log in as {} by {method:?} with {}", plan.username, plan.password.value),
        milliseconds = milliseconds(started.elapsed()),
        ok = matches!(outcome, Ok(Ok(_))),
        "imap"
    );
    match outcome {
        Ok(Ok(session)) => Ok(Session::new(session)),
        Ok(Err((error, client))) => Err(refusal(Step::LogIn, &client, &error)),
        Err(_) => Err(Trouble::log_in_hangs(limit)),
    }
}

/// SASL with the response in the command where the server takes that (RFC 4959), else after `+`.
async fn authenticate(
    client: Client<Wire>,
    mechanism: &str,
    response: &Secret,
    at_once: bool,
) -> Result<async_imap::Session<Wire>, (async_imap::error::Error, Client<Wire>)> {
    if at_once {
        let encoded = data_encoding::BASE64.encode(response.expose().as_bytes());
        // Any challenge after that is an error report, to which the answer is empty.
        client
            .authenticate(format!("{mechanism} {encoded}"), Once(None))
            .await
    } else {
        client
            .authenticate(mechanism, Once(Some(response.expose().to_owned())))
            .await
    }
}

/// Answers the first challenge, and any further one with an empty line: XOAUTH2 reports errors in a challenge, and
/// both sides would wait for each other.
struct Once(Option<String>);

impl Authenticator for Once {
    type Response = String;

    fn process(&mut self, _challenge: &[u8]) -> String {
        self.0.take().unwrap_or_default()
    }
}

async fn capabilities(client: &mut Client<Wire>) -> Result<Vec<String>, Trouble> {
    // Each answer that is kept costs a buffer of async-imap: without a bound, a flood of short lines is half a gigabyte.
    let (sender, receiver) = async_channel::bounded(MOST_ANSWERS);
    client
        .run_command_and_check_ok("CAPABILITY", Some(sender))
        .await
        .map_err(|error| refusal(Step::LogIn, client, &error))?;
    let mut names = Vec::new();
    while let Ok(answer) = receiver.try_recv() {
        if let UnsolicitedResponse::Other(data) = answer
            && let Response::Capabilities(list) = data.parsed()
        {
            take_names(&mut names, list);
        }
    }
    Ok(names)
}

/// Adds the names that the server announces, as far as a right server would go.
pub(super) fn take_names(names: &mut Vec<String>, announced: &[Capability<'_>]) {
    let room = MOST_CAPABILITIES.saturating_sub(names.len());
    let announced = announced.iter().map(capability_name);
    names.extend(
        announced
            .filter(|name| name.len() <= LONGEST_CAPABILITY)
            .take(room),
    );
}

/// The name as the server writes it.
fn capability_name(capability: &Capability<'_>) -> String {
    match capability {
        Capability::Imap4rev1 => "IMAP4rev1".to_owned(),
        Capability::Auth(mechanism) => format!("AUTH={mechanism}"),
        Capability::Atom(name) => name.to_string(),
    }
}

/// How the trouble with a connection begins on which somebody else has logged in.
pub(super) const TAKEN_AS_IN: &str =
    "the server takes the connection as logged in already, without asking for whom";

/// A goodbye in place of an answer, which may say that the server wants fewer connections.
fn turned_away(step: Step, goodbye: &str) -> Trouble {
    let reason = format!("the server turned the connection away: {goodbye}");
    Trouble::of_command(step, &Fault::Lost { reason })
}

/// What a refusal by the server, or the loss of it, means at this step.
fn refusal(step: Step, client: &Client<Wire>, error: &async_imap::error::Error) -> Trouble {
    use async_imap::error::Error;
    let last = client.get_ref().last_line_of_reply();
    let goodbye = client.get_ref().goodbye();
    match error {
        Error::No(_) => Trouble::of_command(step, &Fault::No { reply: last }),
        Error::Bad(_) => Trouble::of_command(step, &Fault::Bad { reply: last }),
        // async-imap takes a goodbye for a remark.
        Error::ConnectionLost | Error::Io(_) if goodbye.is_some() => {
            turned_away(step, &goodbye.unwrap_or_default())
        }
        Error::ConnectionLost => {
            Trouble::unreachable(step, "the server closed the connection without an answer")
        }
        // An unparsable answer is reported with the raw buffer, which may be long and hold anything.
        other if other.to_string().contains("during parsing of") => {
            Trouble::unreachable(step, NOT_IMAP)
        }
        other => {
            let text = other.to_string();
            Trouble::unreachable(step, text.strip_prefix("io: ").unwrap_or(&text))
        }
    }
}

async fn within<T>(
    step: Step,
    end: Instant,
    limit: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let limit = remaining(end, limit);
    timeout_at(Instant::now() + limit, work)
        .await
        .unwrap_or_else(|_| Err(Trouble::hangs(step, limit)))
}

/// The limit of a step, cut to what is left of the whole.
pub(super) fn remaining(end: Instant, limit: Duration) -> Duration {
    limit.min(end.saturating_duration_since(Instant::now()))
}
