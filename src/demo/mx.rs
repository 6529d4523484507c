//! The mail servers of the demo world: take SMTP, stamp what Postfix, Rspamd and Dovecot stamp, and store, or hand on.

use super::store::Store;
use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The name of the first server, which has the mailbox.
pub const PRIMARY: &str = "mail.example.org";
/// The name of the server that takes mail while the first is away.
pub const BACKUP: &str = "mx2.example.org";
/// The client that the servers see. Brevo's own servers come from the internet; those of the demo stand in for one.
const OUTSIDE: (&str, &str) = ("ab.d.sender-sib.com", "192.0.2.20");
/// The same where the backup MX hands on.
const FROM_BACKUP: (&str, &str) = (BACKUP, "203.0.113.25");
/// What the content filter takes before the 250.
const FILTER: Duration = Duration::from_millis(120);
/// From the queue into the mailbox.
const QUEUE: Duration = Duration::from_millis(40);

/// How a server treats what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Takes it and delivers it.
    Deliver,
    /// Answers MAIL FROM with this.
    RefuseSender(&'static str),
    /// Answers the end of the message with this.
    RefuseMessage(&'static str),
    /// Takes it, and its queue does not move for so long.
    Stall(Duration),
    /// Takes it, and a filter behind it throws it away.
    Discard,
    /// Takes it, holds it for spam, and files it so.
    Junk,
}

/// Where a server hands mail on to.
#[derive(Debug, Clone)]
pub enum Next {
    /// Into this mailbox.
    Mailbox(Arc<Store>),
    /// To this server.
    Server(SocketAddr),
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it calls itself.
    pub name: &'static str,
    /// How it treats what it gets.
    pub conduct: Conduct,
    /// Where that goes.
    pub next: Next,
}

impl Server {
    /// Serves until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            number += 1;
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                // A client that goes away is nothing to tell of.
                let _ = server.converse(stream, number).await;
            });
        }
    }

    async fn converse(self: &Arc<Self>, stream: TcpStream, number: u32) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let name = self.name;
        reply(&mut stream, &format!("220 {name} ESMTP Postfix")).await?;
        let (mut helo, mut from, mut to) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let answer = match (verb.to_ascii_uppercase().as_str(), self.conduct) {
                ("EHLO" | "HELO", _) => {
                    rest.clone_into(&mut helo);
                    format!("250-{name}\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME")
                }
                ("MAIL", Conduct::RefuseSender(no)) => no.to_owned(),
                ("MAIL", _) => {
                    from = address(rest);
                    "250 2.1.0 Ok".to_owned()
                }
                ("RCPT", _) => {
                    to = address(rest);
                    "250 2.1.5 Ok".to_owned()
                }
                ("DATA", _) => {
                    reply(&mut stream, "354 End data with <CR><LF>.<CR><LF>").await?;
                    let received_at = Utc::now();
                    let raw = data(&mut stream).await?;
                    let hop = Hop {
                        helo: helo.clone(),
                        from: from.clone(),
                        to: to.clone(),
                        id: format!("4F2A{number:07X}"),
                        received_at,
                    };
                    self.take(hop, raw).await
                }
                ("QUIT", _) => return reply(&mut stream, "221 2.0.0 Bye").await,
                ("RSET" | "NOOP", _) => "250 2.0.0 Ok".to_owned(),
                _ => "502 5.5.2 Error: command not recognized".to_owned(),
            };
            reply(&mut stream, &answer).await?;
        }
    }

    /// Takes a message, or not; the reply to its end.
    async fn take(self: &Arc<Self>, hop: Hop, raw: Vec<u8>) -> String {
        tokio::time::sleep(FILTER).await;
        if let Conduct::RefuseMessage(no) = self.conduct {
            return no.to_owned();
        }
        let answer = format!("250 2.0.0 Ok: queued as {}", hop.id);
        let server = Arc::clone(self);
        tokio::spawn(async move {
            let held = match server.conduct {
                Conduct::Stall(held) => held,
                _ => QUEUE,
            };
            tokio::time::sleep(held).await;
            server.hand_on(&hop, &raw).await;
        });
        answer
    }

    async fn hand_on(&self, hop: &Hop, raw: &[u8]) {
        match &self.next {
            Next::Mailbox(_) if self.conduct == Conduct::Discard => {}
            Next::Mailbox(store) => {
                let is_junk = self.conduct == Conduct::Junk;
                let folder = if is_junk { "Junk" } else { "INBOX" };
                store.deliver(folder, hop.delivered(raw, is_junk), &[]);
            }
            Next::Server(next) => {
                let mut message = hop.received(self.name, OUTSIDE, "ESMTP").into_bytes();
                message.extend_from_slice(raw);
                let server =
                    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(next.ip().to_string())
                        .port(next.port())
                        .hello_name(lettre::transport::smtp::extension::ClientId::Domain(
                            self.name.to_owned(),
                        ))
                        .build();
                let envelope = hop.from.parse().ok().zip(hop.to.parse().ok());
                if let Some((from, to)) = envelope
                    && let Ok(envelope) = Envelope::new(Some(from), vec![to])
                {
                    // The demo ends before a backup MX would try again.
                    let _ = server.send_raw(&envelope, &message).await;
                }
            }
        }
    }
}

async fn reply(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// The message, dots undone (RFC 5321 section 4.5.2).
async fn data(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_slice() {
            b".\r\n" | b".\n" => return Ok(raw),
            [b'.', rest @ ..] => raw.extend_from_slice(rest),
            line => raw.extend_from_slice(line),
        }
    }
}

/// What stands between the angle brackets.
fn address(text: &str) -> String {
    let start = text.split_once('<').map_or(text, |(_, rest)| rest);
    start.split('>').next().unwrap_or_default().to_owned()
}

/// A message's way through one server.
struct Hop {
    helo: String,
    from: String,
    to: String,
    id: String,
    received_at: DateTime<Utc>,
}

impl Hop {
    /// The field that Postfix 3.7 stamps.
    fn received(&self, by: &str, (name, ip): (&str, &str), with: &str) -> String {
        format!(
            "Received: from {helo} ({name} [{ip}])\r\n\
             \tby {by} (Postfix) with {with} id {id}\r\n\
             \tfor <{to}>; {date} (UTC)\r\n",
            helo = self.helo,
            id = self.id,
            to = self.to,
            date = date(self.received_at),
        )
    }

    /// The message as it lies in the mailbox: fields in the shapes of Postfix 3.7, Rspamd 3.4 and Dovecot 2.3.
    fn delivered(&self, raw: &[u8], is_junk: bool) -> Vec<u8> {
        let Self { from, to, helo, .. } = self;
        let client = if helo == BACKUP { FROM_BACKUP } else { OUTSIDE };
        let (results, opinion) = if is_junk {
            (failed(from, client.1), SPAM)
        } else {
            (passed(from, client.1), OPINION)
        };
        let mut message = format!(
            "Return-Path: <{from}>\r\n\
             Delivered-To: {to}\r\n\
             Received: from {PRIMARY} ([127.0.0.1])\r\n\
             \tby mailserver-0 with LMTP\r\n\
             \tid SKuOH3qGI2kdBwAAXk2OPw\r\n\
             \t(envelope-from <{from}>)\r\n\
             \tfor <{to}>; {lmtp}\r\n\
             {received}{results}",
            lmtp = date(Utc::now()),
            received = self.received(PRIMARY, client, "ESMTP"),
        )
        .into_bytes();
        // Measured behind Postfix: the milter puts its results above all that came with the message, and its points at
        // the end of the header.
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
        let (header, body) = raw.split_at(end.map_or(raw.len(), |end| end + 2));
        message.extend_from_slice(header);
        message.extend_from_slice(opinion.as_bytes());
        message.extend_from_slice(body);
        message
    }
}

fn date(at: DateTime<Utc>) -> String {
    at.format("%a, %e %b %Y %H:%M:%S +0000").to_string()
}

/// What Rspamd finds out about the sender of a message that is in order.
fn passed(from: &str, ip: &str) -> String {
    format!(
        "Authentication-Results: {PRIMARY};\r\n\
         \tdkim=pass header.d=example.org header.s=brevo1 header.b=dzdVyOfA;\r\n\
         \tspf=pass ({PRIMARY}: domain of {from} designates {ip} as permitted sender) smtp.mailfrom={from};\r\n\
         \tdmarc=pass (policy=reject) header.from=example.org\r\n"
    )
}

/// What it thinks of such a message. The second figure is the threshold of refusal.
const OPINION: &str = "X-Spamd-Result: default: False [0.20 / 15.00];\r\n\
    \tR_DKIM_ALLOW(-0.20)[example.org:s=brevo1];\r\n\
    \tMIME_GOOD(-0.10)[multipart/alternative,text/plain];\r\n\
    \tMV_CASE(0.50)[]\r\n\
    X-Rspamd-Server: mailserver-0\r\n\
    X-Rspamd-Action: no action\r\n";

/// The same where its resolver finds neither the key of the signature nor an SPF record.
fn failed(from: &str, ip: &str) -> String {
    format!(
        "Authentication-Results: {PRIMARY};\r\n\
         \tdkim=none (\"invalid DKIM record\") header.d=example.org header.s=brevo1 header.b=dzdVyOfA;\r\n\
         \tspf=none ({PRIMARY}: domain of {from} has no SPF policy when checking {ip}) smtp.mailfrom={from};\r\n\
         \tdmarc=fail reason=\"No valid SPF, No valid DKIM\" header.from=example.org (policy=none)\r\n"
    )
}

/// What it thinks of that, on a server that refuses nothing and files from six points on.
const SPAM: &str = "X-Spamd-Result: default: True [6.09 / 6.00];\r\n\
    \tR_DKIM_PERMFAIL(4.50)[example.org:s=brevo1];\r\n\
    \tDMARC_POLICY_SOFTFAIL(1.50)[example.org : No valid SPF, No valid DKIM,none];\r\n\
    \tMV_CASE(0.19)[];\r\n\
    \tMIME_GOOD(-0.10)[multipart/alternative,text/plain]\r\n\
    X-Rspamd-Server: mailserver-0\r\n\
    X-Rspamd-Action: add header\r\n\
    X-Spam: Yes\r\n";
