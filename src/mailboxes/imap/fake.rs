//! An IMAP server on loopback that says, for tests, what no right server would, and keeps a few messages.

use crate::config::plan::{
    JunkFolder, MailboxAuth, MailboxPlan, SecretPlan, SecretSource, TlsMode,
};
use crate::secret::Secret;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does about one command; `{tag}` is the command's tag.
#[derive(Debug, Clone)]
pub(super) enum Does {
    /// What a right server does.
    Right,
    Say(String),
    /// Says this and closes.
    Last(String),
    Nothing,
}

pub(super) fn say(text: &str) -> Does {
    Does::Say(text.to_owned())
}

#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub(super) uid: u32,
    pub(super) fields: String,
    pub(super) stored: String,
    pub(super) is_deleted: bool,
}

/// Decides about a command: the number of the connection, from 0 on, and the line without its tag.
type Decide = Box<dyn Fn(usize, &str) -> Does + Send + Sync>;

pub(crate) struct Fake {
    pub(super) greeting: Does,
    pub(crate) capabilities: &'static str,
    pub(super) folders: &'static [&'static str],
    pub(super) decide: Decide,
    pub(super) inbox: Mutex<Vec<Mail>>,
    pub(super) uid_validity: Mutex<u32>,
    /// Every line that was received, without its tag.
    pub(super) heard: Mutex<Vec<String>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            greeting: say("* OK ready\r\n"),
            capabilities: "IMAP4rev1 SASL-IR IDLE UIDPLUS MOVE SPECIAL-USE LIST-EXTENDED AUTH=PLAIN",
            folders: &["INBOX", "Trash"],
            decide: Box::new(|_, _| Does::Right),
            inbox: Mutex::default(),
            uid_validity: Mutex::new(7),
            heard: Mutex::default(),
        }
    }
}

impl Fake {
    pub(super) fn deciding(decide: impl Fn(usize, &str) -> Does + Send + Sync + 'static) -> Self {
        Self {
            decide: Box::new(decide),
            ..Self::default()
        }
    }

    /// Stores a message with these header fields.
    pub(crate) fn deliver(&self, fields: &str, stored: &str) {
        let mut inbox = self.inbox.lock().unwrap();
        let uid = inbox.last().map_or(100, |mail| mail.uid + 1);
        inbox.push(Mail {
            uid,
            fields: format!("{fields}\r\n"),
            stored: stored.to_owned(),
            is_deleted: false,
        });
    }

    /// Begins to serve; the mailbox's plan.
    pub(crate) async fn start(self) -> (Arc<Self>, MailboxPlan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Arc::new(self);
        let serving = Arc::clone(&fake);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let fake = Arc::clone(&serving);
                tokio::spawn(async move { fake.converse(stream, number).await });
                number += 1;
            }
        });
        (fake, plan(port))
    }

    pub(super) fn heard(&self, start: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|line| line.starts_with(start)).count()
    }

    async fn converse(&self, stream: TcpStream, number: usize) -> Option<()> {
        let mut stream = BufReader::new(stream);
        carry_out(&mut stream, self.greeting.clone(), "*").await?;
        let mut known = 0;
        let mut idling = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            // DONE has no tag of its own.
            let done = (idling.as_str(), "DONE");
            let (tag, rest) = line.trim_end().split_once(' ').unwrap_or(done);
            self.heard.lock().unwrap().push(rest.to_owned());
            let does = match (self.decide)(number, rest) {
                Does::Right => Does::Say(self.right(rest, &mut known)),
                other => other,
            };
            carry_out(&mut stream, does, tag).await?;
            if rest == "IDLE" {
                idling = tag.to_owned();
            }
        }
    }

    fn right(&self, line: &str, known: &mut usize) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut text = String::new();
        match verb {
            "CAPABILITY" => {
                let _ = write!(text, "* CAPABILITY {}\r\n", self.capabilities);
            }
            "LIST" => {
                for name in self.folders {
                    let _ = write!(text, "* LIST () \"/\" \"{name}\"\r\n");
                }
            }
            "EXAMINE" | "SELECT" => {
                let inbox = self.inbox.lock().unwrap();
                let next = inbox.last().map_or(100, |mail| mail.uid + 1);
                let validity = self.uid_validity.lock().unwrap();
                *known = inbox.len();
                let _ = write!(
                    text,
                    "* {known} EXISTS\r\n* OK [UIDVALIDITY {validity}] x\r\n* OK [UIDNEXT {next}] x\r\n"
                );
            }
            "NOOP" => {
                let count = self.inbox.lock().unwrap().len();
                if count > *known {
                    *known = count;
                    let _ = write!(text, "* {count} EXISTS\r\n");
                }
            }
            "IDLE" => return "+ idling\r\n".to_owned(),
            "LOGOUT" => text.push_str("* BYE bye\r\n"),
            "UID" => text.push_str(&self.uid(rest)),
            _ => {}
        }
        format!("{text}{{tag}} OK done\r\n")
    }

    fn uid(&self, rest: &str) -> String {
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let set = rest.split(' ').next().unwrap_or_default();
        let mut inbox = self.inbox.lock().unwrap();
        let mut text = String::new();
        match verb {
            "SEARCH" => {
                let hits: Vec<String> = inbox
                    .iter()
                    .filter(|mail| mail.fields.to_lowercase().contains("x-mailprobe-token:"))
                    .map(|mail| mail.uid.to_string())
                    .collect();
                let _ = write!(text, "* SEARCH {}\r\n", hits.join(" "));
            }
            "FETCH" => {
                for (index, mail) in inbox.iter().enumerate() {
                    if is_in(set, mail.uid) {
                        let _ = write!(text, "* {} FETCH (UID {}", index + 1, mail.uid);
                        if rest.contains("BODY.PEEK") {
                            let _ = write!(
                                text,
                                " INTERNALDATE \"{}\" BODY[]<0> {{{}}}\r\n{}",
                                mail.stored,
                                mail.fields.len(),
                                mail.fields
                            );
                        }
                        text.push_str(")\r\n");
                    }
                }
            }
            "STORE" => {
                for mail in inbox.iter_mut().filter(|mail| is_in(set, mail.uid)) {
                    mail.is_deleted = true;
                }
            }
            "EXPUNGE" => inbox.retain(|mail| !(mail.is_deleted && is_in(set, mail.uid))),
            "MOVE" => inbox.retain(|mail| !is_in(set, mail.uid)),
            _ => {}
        }
        text
    }
}

fn is_in(set: &str, uid: u32) -> bool {
    set.split(',').any(|item| {
        let (first, last) = item.split_once(':').unwrap_or((item, item));
        let first = first.parse().unwrap_or(0);
        let last = last.parse().unwrap_or(u32::MAX);
        (first..=last).contains(&uid)
    })
}

async fn carry_out(stream: &mut BufReader<TcpStream>, does: Does, tag: &str) -> Option<()> {
    let text = match &does {
        Does::Say(text) | Does::Last(text) => text.replace("{tag}", tag),
        Does::Nothing | Does::Right => String::new(),
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    if matches!(does, Does::Last(_)) {
        // What was sent must arrive: a close with unread input would reset the connection.
        stream.shutdown().await.ok()?;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        return None;
    }
    Some(())
}

fn plan(port: u16) -> MailboxPlan {
    MailboxPlan {
        name: "spam".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: TlsMode::None,
        tls_server_name: "127.0.0.1".to_owned(),
        ca_file: None,
        username: "spam@example.org".to_owned(),
        password: SecretPlan {
            value: Secret::new("pass\"word of the fake"),
            source: SecretSource::Variable("PASSWORD".to_owned()),
        },
        auth: MailboxAuth::Auto,
        folders: vec!["INBOX".to_owned()],
        junk: JunkFolder::None,
    }
}
