//! One SMTP session, step by step, each step with the reply that it must get.

use super::trouble::{Kind, Step, Trouble};
use super::wire::{Io, Wire};
use crate::config::plan::{SmtpAuth, SmtpLogin, SmtpPlan, TlsMode};
use crate::log::About;
use crate::net::tls::{Tls, certificate_fault};
use crate::net::{quotable, tcp};
use crate::secret::Secret;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Address, transport::smtp};
use rustls_pki_types::ServerName;
use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// TCP alone, over all addresses of the host.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Saying good-bye.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// A session that is under way.
pub(super) struct Session<'p> {
    plan: &'p SmtpPlan,
    tls: &'p Tls,
    wire: Wire,
    connection: AsyncSmtpConnection,
    helo: ClientId,
    /// All of it is over by then.
    end: Instant,
    limit: Duration,
    offers: Offers,
}

/// What the server's answer to EHLO offers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    auth: Vec<String>,
}

impl<'p> Session<'p> {
    /// Connects, secures the connection, and logs in: ready for a message.
    pub(super) async fn open(
        plan: &'p SmtpPlan,
        tls: &'p Tls,
        limit: Duration,
    ) -> Result<Self, Trouble> {
        let end = Instant::now() + limit;
        let mut tcp = connect(plan, end).await?;
        let lost = |step| {
            move |error: io::Error| Trouble::new(step, Kind::Lost(quotable(&error.to_string())))
        };
        let peer = tcp.peer_addr().map_err(lost(Step::Connect))?;
        let helo = client_id(plan, &tcp);
        if let Some(proxy) = plan.proxy {
            proxy.send(&mut tcp).await.map_err(lost(Step::Proxy))?;
        }
        let stream: Box<dyn Io> = match plan.tls {
            TlsMode::Implicit => secure(plan, tls, Box::new(tcp), end).await?,
            TlsMode::StartTls | TlsMode::None => Box::new(tcp),
        };
        let wire = Wire::new(stream, peer);
        let connection = AsyncSmtpConnection::connect_with_transport(Box::new(wire.clone()), &helo)
            .await
            .map_err(|error| Trouble::new(Step::Greeting, Kind::Lost(error.to_string())))?;
        wire.go_live();
        let mut session = Self {
            plan,
            tls,
            wire,
            connection,
            helo,
            end,
            limit,
            offers: Offers::default(),
        };
        session.greet().await?;
        Ok(session)
    }

    async fn greet(&mut self) -> Result<(), Trouble> {
        let greeting = timeout_at(self.end, self.connection.read_response()).await;
        self.understand(Step::Greeting, greeting, 220..=220)?;
        self.ehlo().await?;
        if self.plan.tls == TlsMode::StartTls {
            self.start_tls().await?;
        }
        let plan = self.plan;
        match &plan.login {
            Some(login) => self.log_in(login).await,
            None => Ok(()),
        }
    }

    async fn ehlo(&mut self) -> Result<(), Trouble> {
        let command = Ehlo::new(self.helo.clone());
        self.command(Step::Ehlo, command, 250..=250).await?;
        self.offers = Offers::of(&self.wire.reply_lines());
        Ok(())
    }

    async fn start_tls(&mut self) -> Result<(), Trouble> {
        if !self.offers.starttls {
            return Err(Trouble::new(Step::StartTls, Kind::StartTlsMissing));
        }
        self.command(Step::StartTls, Starttls, 220..=220).await?;
        // RFC 3207 section 4.2: nothing that came before TLS may count after it.
        if self.wire.surplus().is_some() {
            return Err(Trouble::new(Step::StartTls, Kind::Injected));
        }
        let Some(stream) = self.wire.take() else {
            let reason = "there is no connection to secure".to_owned();
            return Err(Trouble::new(Step::Tls, Kind::Lost(reason)));
        };
        let stream = secure(self.plan, self.tls, stream, self.end).await?;
        self.wire.put_back(stream);
        self.ehlo().await
    }

    async fn log_in(&mut self, login: &SmtpLogin) -> Result<(), Trouble> {
        let offers = |name: &str| self.offers.auth.iter().any(|one| one == name);
        let method = match login.auth {
            SmtpAuth::Auto if offers("PLAIN") => Some(SmtpAuth::Plain),
            SmtpAuth::Auto if offers("LOGIN") => Some(SmtpAuth::Login),
            SmtpAuth::Plain if offers("PLAIN") => Some(SmtpAuth::Plain),
            SmtpAuth::Login if offers("LOGIN") => Some(SmtpAuth::Login),
            SmtpAuth::XOauth2 if offers("XOAUTH2") => Some(SmtpAuth::XOauth2),
            _ => None,
        };
        let user = &login.username;
        match method {
            Some(SmtpAuth::Plain) => {
                let password = &login.password.value;
                let response = encoded(password, &format!("\0{user}\0{}", password.expose()));
                self.auth(&format!("AUTH PLAIN {response}"), 235..=235)
                    .await
            }
            Some(SmtpAuth::Login) => {
                // Prompts differ from server to server, their order does not.
                self.auth("AUTH LOGIN", 334..=334).await?;
                let name = data_encoding::BASE64.encode(user.as_bytes());
                self.auth(&name, 334..=334).await?;
                let password = &login.password.value;
                self.auth(&encoded(password, password.expose()), 235..=235)
                    .await
            }
            Some(SmtpAuth::XOauth2) => {
                let token = login.password.current().await;
                let response = format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose());
                let response = encoded(&token, &response);
                self.xoauth2(&format!("AUTH XOAUTH2 {response}")).await
            }
            Some(SmtpAuth::Auto) | None => {
                let offered = self.offers.auth.clone();
                Err(Trouble::new(Step::Auth, Kind::NoMechanism(offered)))
            }
        }
    }

    async fn auth(&mut self, line: &str, expected: RangeInclusive<u16>) -> Result<(), Trouble> {
        self.command(Step::Auth, format!("{line}\r\n"), expected)
            .await?;
        Ok(())
    }

    /// The reason for a refusal comes in a challenge, to which the answer is empty; the 5xx comes then.
    async fn xoauth2(&mut self, line: &str) -> Result<(), Trouble> {
        let response = self
            .command(Step::Auth, format!("{line}\r\n"), 235..=334)
            .await?;
        if response.has_code(235) {
            return Ok(());
        }
        let challenge = response.first_line().unwrap_or_default();
        let reason = data_encoding::BASE64.decode(challenge.trim().as_bytes());
        let mut refused = match self.auth("", 235..=235).await {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        if let Ok(reason) = reason {
            refused
                .evidence
                .push(quotable(&String::from_utf8_lossy(&reason)));
        }
        Err(refused)
    }

    /// Hands a message over; the server's reply to it.
    pub(super) async fn hand_over(
        &mut self,
        from: Address,
        to: Address,
        message: &[u8],
    ) -> Result<String, Trouble> {
        self.command(Step::Mail, Mail::new(Some(from), Vec::new()), 250..=250)
            .await?;
        self.command(Step::Rcpt, Rcpt::new(to, Vec::new()), 250..=252)
            .await?;
        self.command(Step::Data, Data, 354..=354).await?;
        let outcome = timeout_at(self.end, self.connection.message(message)).await;
        match self.understand(Step::EndOfData, outcome, 250..=250) {
            Ok(_) => Ok(self.wire.reply()),
            Err(trouble) => Err(Trouble {
                is_uncertain: self.wire.has_ended_message()
                    && !matches!(trouble.kind, Kind::Reply { .. }),
                ..trouble
            }),
        }
    }

    /// Says good-bye, beside whatever happens next: nothing depends on the answer.
    pub(super) fn quit(self) {
        let mut connection = self.connection;
        tokio::spawn(async move {
            let _ = timeout(QUIT_LIMIT, connection.command(Quit)).await;
        });
    }

    async fn command(
        &mut self,
        step: Step,
        command: impl Display,
        expected: RangeInclusive<u16>,
    ) -> Result<Response, Trouble> {
        // Whatever stands there would be taken for the answer to what comes next.
        if let Some(surplus) = self.wire.surplus() {
            let reason = format!("it talks without being asked: {}", quotable(&surplus));
            return Err(Trouble::new(step, Kind::Nonsense(reason)));
        }
        let answer = timeout_at(self.end, self.connection.command(command)).await;
        self.understand(step, answer, expected)
    }

    fn understand(
        &self,
        step: Step,
        answer: Result<Result<Response, smtp::Error>, tokio::time::error::Elapsed>,
        expected: RangeInclusive<u16>,
    ) -> Result<Response, Trouble> {
        let reply = quotable(&self.wire.reply());
        let about = About::current();
        tracing::trace!(probe = about.probe, token = about.token(), step = ?step, reply, "smtp");
        let kind = match answer {
            Err(_) => Kind::TimedOut(self.limit),
            Ok(Ok(response)) if expected.contains(&u16::from(response.code())) => {
                return Ok(response);
            }
            Ok(Ok(_)) => Kind::Nonsense(format!("an answer that does not belong here: {reply}")),
            Ok(Err(error)) => self.fault(&error, reply),
        };
        Err(Trouble::new(step, kind))
    }

    fn fault(&self, error: &smtp::Error, reply: String) -> Kind {
        if let Some(code) = error.status() {
            let code = u16::from(code);
            return Kind::Reply { code, text: reply };
        }
        let io = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        match io {
            Some(io) if io.kind() == io::ErrorKind::InvalidData => Kind::Nonsense(io.to_string()),
            Some(io) => Kind::Lost(quotable(&io.to_string())),
            None if self.wire.is_at_end() && reply.is_empty() => {
                Kind::Lost("the server closed the connection".to_owned())
            }
            None if self.wire.is_at_end() => {
                Kind::Lost(format!("the server closed the connection behind `{reply}`"))
            }
            None => Kind::Nonsense(format!("`{reply}`")),
        }
    }
}

impl Offers {
    /// Reads the lines of an answer to EHLO. Keywords have no case (RFC 5321 section 2.4).
    fn of(lines: &[String]) -> Self {
        let mut offers = Self::default();
        for line in lines.iter().skip(1) {
            // `AUTH=PLAIN` is how it was written before RFC 2554.
            let line = line
                .get(4..)
                .unwrap_or_default()
                .replacen("AUTH=", "AUTH ", 1);
            let mut words = line.split_whitespace().map(str::to_ascii_uppercase);
            match words.next().as_deref() {
                Some("STARTTLS") => offers.starttls = true,
                Some("AUTH") => offers.auth.extend(words),
                _ => {}
            }
        }
        offers.auth.dedup();
        offers
    }
}

async fn connect(plan: &SmtpPlan, end: Instant) -> Result<TcpStream, Trouble> {
    let limit = CONNECT_LIMIT.min(end.saturating_duration_since(Instant::now()));
    let connected = tcp::connect(&plan.host, plan.port, limit).await;
    connected.map_err(|error| {
        Trouble::new(
            Step::Connect,
            Kind::Unreachable(quotable(&error.to_string())),
        )
    })
}

async fn secure(
    plan: &SmtpPlan,
    tls: &Tls,
    stream: Box<dyn Io>,
    end: Instant,
) -> Result<Box<dyn Io>, Trouble> {
    let trouble = |kind| Trouble::new(Step::Tls, kind);
    let name = ServerName::try_from(plan.tls_server_name.clone())
        .map_err(|error| trouble(Kind::Handshake(error.to_string())))?;
    let left = end.saturating_duration_since(Instant::now());
    let handshake = TlsConnector::from(tls.config()).connect(name, stream);
    match timeout(left, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Err(_) => Err(trouble(Kind::TimedOut(left))),
        Ok(Err(error)) => {
            let certificate = tls.certificate();
            let fault = certificate_fault(&error, &plan.tls_server_name, certificate.as_ref());
            Err(trouble(match fault {
                Some(fault) => Kind::Certificate(fault),
                None if error.kind() == io::ErrorKind::InvalidData => {
                    Kind::Handshake(quotable(&error.to_string()))
                }
                None => Kind::Lost(quotable(&error.to_string())),
            }))
        }
    }
}

/// What EHLO says: as configured, else the host's name, else the address that the connection comes from.
fn client_id(plan: &SmtpPlan, tcp: &TcpStream) -> ClientId {
    let configured = plan.helo.clone().or_else(host_name);
    match (configured, tcp.local_addr()) {
        (Some(name), _) => ClientId::Domain(name),
        (None, Ok(address)) => match address.ip() {
            std::net::IpAddr::V4(v4) => ClientId::Ipv4(v4),
            std::net::IpAddr::V6(v6) => ClientId::Ipv6(v6),
        },
        (None, Err(_)) => ClientId::default(),
    }
}

/// The host's name, where it can stand in EHLO.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    ServerName::try_from(name)
        .is_ok_and(|name| matches!(name, ServerName::DnsName(_)))
        .then(|| name.to_owned())
}

/// What goes over the wire, and from now on into no output.
fn encoded(password: &Secret, response: &str) -> String {
    let encoded = data_encoding::BASE64.encode(response.as_bytes());
    password.remember_derived(&encoded);
    encoded
}
