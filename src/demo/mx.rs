//! The mail server of the demo world: takes SMTP, stamps what Postfix, Rspamd and Dovecot stamp, and stores.

use super::store::Store;
use chrono::{DateTime, Utc};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the content filter takes before the 250.
const FILTER: Duration = Duration::from_millis(120);
/// From the queue into the mailbox.
const QUEUE: Duration = Duration::from_millis(40);

/// The client that the server sees. Brevo's own servers come from the internet; those of the demo stand in for one.
const CLIENT: &str = "192.0.2.20";
const CLIENT_NAME: &str = "ab.d.sender-sib.com";
/// What Rspamd thinks of the message. The second figure is the threshold of refusal.
const OPINION: &str = "X-Spamd-Result: default: False [0.20 / 15.00];\r\n\
    \tR_DKIM_ALLOW(-0.20)[example.org:s=brevo1];\r\n\
    \tMIME_GOOD(-0.10)[multipart/alternative,text/plain];\r\n\
    \tMV_CASE(0.50)[]\r\n\
    X-Rspamd-Server: mailserver-0\r\n\
    X-Rspamd-Action: no action\r\n";

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, store: Arc<Store>) {
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // A client that goes away is nothing to tell of.
            let _ = converse(stream, &store, number).await;
        });
    }
}

async fn converse(stream: TcpStream, store: &Arc<Store>, number: u32) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    reply(&mut stream, "220 mail.example.org ESMTP Postfix").await?;
    let mut helo = String::new();
    let mut from = String::new();
    let mut to = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                helo = rest.to_owned();
                reply(
                    &mut stream,
                    "250-mail.example.org\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME",
                )
                .await?;
            }
            "MAIL" => {
                from = address(rest);
                reply(&mut stream, "250 2.1.0 Ok").await?;
            }
            "RCPT" => {
                to = address(rest);
                reply(&mut stream, "250 2.1.5 Ok").await?;
            }
            "DATA" => {
                reply(&mut stream, "354 End data with <CR><LF>.<CR><LF>").await?;
                let received_at = Utc::now();
                let raw = data(&mut stream).await?;
                tokio::time::sleep(FILTER).await;
                let id = format!("4F2A{number:07X}");
                reply(&mut stream, &format!("250 2.0.0 Ok: queued as {id}")).await?;
                let hop = Hop {
                    helo: helo.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    id,
                    received_at,
                };
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    tokio::time::sleep(QUEUE).await;
                    store.deliver("INBOX", hop.stamp(&raw), &[]);
                });
            }
            "QUIT" => return reply(&mut stream, "221 2.0.0 Bye").await,
            "RSET" | "NOOP" => reply(&mut stream, "250 2.0.0 Ok").await?,
            _ => reply(&mut stream, "502 5.5.2 Error: command not recognized").await?,
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

/// A message's way through this server.
struct Hop {
    helo: String,
    from: String,
    to: String,
    id: String,
    received_at: DateTime<Utc>,
}

impl Hop {
    /// Fields in the shapes of Postfix 3.7, Rspamd 3.4 and Dovecot 2.3.
    fn stamp(&self, raw: &[u8]) -> Vec<u8> {
        let Self {
            helo,
            from,
            to,
            id,
            received_at,
        } = self;
        let date = |at: DateTime<Utc>| at.format("%a, %e %b %Y %H:%M:%S +0000").to_string();
        let (smtp, lmtp) = (date(*received_at), date(Utc::now()));
        let mut message = format!(
            "Return-Path: <{from}>\r\n\
             Delivered-To: {to}\r\n\
             Received: from mail.example.org ([127.0.0.1])\r\n\
             \tby mailserver-0 with LMTP\r\n\
             \tid SKuOH3qGI2kdBwAAXk2OPw\r\n\
             \t(envelope-from <{from}>)\r\n\
             \tfor <{to}>; {lmtp}\r\n\
             Received: from {helo} ({CLIENT_NAME} [{CLIENT}])\r\n\
             \tby mail.example.org (Postfix) with ESMTP id {id}\r\n\
             \tfor <{to}>; {smtp} (UTC)\r\n\
             Authentication-Results: mail.example.org;\r\n\
             \tdkim=pass header.d=example.org header.s=brevo1 header.b=dzdVyOfA;\r\n\
             \tspf=pass (mail.example.org: domain of {from} designates {CLIENT} as permitted sender) smtp.mailfrom={from};\r\n\
             \tdmarc=pass (policy=reject) header.from=example.org\r\n"
        )
        .into_bytes();
        // Measured behind Postfix: the milter puts its results above all that came with the message, and its points at
        // the end of the header.
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
        let (header, body) = raw.split_at(end.map_or(raw.len(), |end| end + 2));
        message.extend_from_slice(header);
        message.extend_from_slice(OPINION.as_bytes());
        message.extend_from_slice(body);
        message
    }
}
