//! The IMAP server of the demo world: as much of RFC 3501, UIDPLUS, SPECIAL-USE and IDLE as a probe and `check` use.

use super::store::{Folder, Store, Stored};
use chrono::NaiveDate;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const UIDVALIDITY: u32 = 1_795_000_000;
/// More is not taken by APPEND.
const LARGEST_APPEND: usize = 1024 * 1024;
const CAPABILITIES: &str =
    "IMAP4rev1 SASL-IR LITERAL+ IDLE UIDPLUS MOVE SPECIAL-USE LIST-EXTENDED AUTH=PLAIN";
/// Dovecot tells IDLE so much later.
const IDLE_DELAY: Duration = Duration::from_millis(500);

/// Who may log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, account: Account, store: Arc<Store>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (tls, account, store) = (tls.clone(), account.clone(), Arc::clone(&store));
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                let session = Session {
                    stream: BufReader::new(stream),
                    account,
                    store,
                    is_in: false,
                    folder: None,
                };
                // A client that goes away is nothing to tell of.
                let _ = session.run().await;
            }
        });
    }
}

struct Session<S> {
    stream: BufReader<S>,
    account: Account,
    store: Arc<Store>,
    is_in: bool,
    folder: Option<Open>,
}

/// The selected folder, as the client knows it.
struct Open {
    name: String,
    is_read_only: bool,
    uids: Vec<u32>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn run(mut self) -> io::Result<()> {
        self.say(&format!(
            "* OK [CAPABILITY {CAPABILITIES}] Dovecot ready.\r\n"
        ))
        .await?;
        while let Some(line) = self.line().await? {
            let Some((tag, rest)) = line.split_once(' ') else {
                self.say("* BAD Error in IMAP command received by server.\r\n")
                    .await?;
                continue;
            };
            let (tag, rest) = (tag.to_owned(), rest.to_owned());
            let (verb, arguments) = rest.split_once(' ').unwrap_or((&rest, ""));
            let verb = verb.to_ascii_uppercase();
            if verb == "LOGOUT" {
                return self
                    .say(&format!(
                        "* BYE Logging out\r\n{tag} OK Logout completed.\r\n"
                    ))
                    .await;
            }
            let answer = match verb.as_str() {
                "IDLE" => self.idle().await?,
                "AUTHENTICATE" => self.authenticate(arguments).await?,
                "APPEND" if self.is_in => self.append(arguments).await?,
                _ => self.answer(&verb, arguments),
            };
            self.say(&answer.replace("%TAG%", &tag)).await?;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    async fn authenticate(&mut self, arguments: &str) -> io::Result<String> {
        let initial = arguments
            .split_once(' ')
            .map(|(_, initial)| initial.to_owned());
        let response = match initial {
            Some(initial) => initial,
            None => {
                self.say("+ \r\n").await?;
                self.line().await?.unwrap_or_default()
            }
        };
        let Account { username, password } = &self.account;
        let expected = data_encoding::BASE64.encode(format!("\0{username}\0{password}").as_bytes());
        Ok(self.log_in(response == expected))
    }

    /// `APPEND "<folder>" {<length>}`, with flags or a date in between; the message follows (RFC 3501 section 6.3.11).
    async fn append(&mut self, arguments: &str) -> io::Result<String> {
        let bad = || Ok("%TAG% BAD Error in IMAP command APPEND.\r\n".to_owned());
        let literal = arguments
            .rsplit_once(" {")
            .and_then(|(before, length)| Some((before, length.strip_suffix('}')?)));
        let Some((before, length)) = literal else {
            return bad();
        };
        let waits = !length.ends_with('+');
        let length = match length.trim_end_matches('+').parse() {
            Ok(length) if length <= LARGEST_APPEND => length,
            _ => return bad(),
        };
        let name = before.split('"').nth(1).unwrap_or(before).to_owned();
        if waits {
            self.say("+ OK\r\n").await?;
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await?;
        self.line().await?;
        Ok(match self.store.deliver(&name, message, &[]) {
            Some(uid) => format!("%TAG% OK [APPENDUID {UIDVALIDITY} {uid}] Append completed.\r\n"),
            None => format!("%TAG% NO [TRYCREATE] Mailbox doesn't exist: {name}\r\n"),
        })
    }

    fn log_in(&mut self, is_right: bool) -> String {
        self.is_in = is_right;
        if is_right {
            format!("%TAG% OK [CAPABILITY {CAPABILITIES}] Logged in\r\n")
        } else {
            "%TAG% NO [AUTHENTICATIONFAILED] Authentication failed.\r\n".to_owned()
        }
    }

    fn answer(&mut self, verb: &str, arguments: &str) -> String {
        match verb {
            "CAPABILITY" => format!("* CAPABILITY {CAPABILITIES}\r\n%TAG% OK Capability completed.\r\n"),
            "LOGIN" => {
                let Account { username, password } = &self.account;
                let is_right = arguments == format!("\"{username}\" \"{password}\"");
                self.log_in(is_right)
            }
            _ if !self.is_in => "%TAG% BAD Please login first.\r\n".to_owned(),
            "LIST" => "* LIST (\\HasNoChildren \\Junk) \"/\" Junk\r\n* LIST (\\HasNoChildren) \"/\" INBOX\r\n%TAG% OK List completed.\r\n".to_owned(),
            "EXAMINE" | "SELECT" => self.open(verb, arguments.trim_matches('"')),
            "NOOP" => format!("{}%TAG% OK NOOP completed.\r\n", self.news()),
            "UID" => {
                let (verb, arguments) = arguments.split_once(' ').unwrap_or((arguments, ""));
                self.uid(&verb.to_ascii_uppercase(), arguments)
            }
            _ => "%TAG% BAD Error in IMAP command: Unknown command.\r\n".to_owned(),
        }
    }

    fn open(&mut self, verb: &str, name: &str) -> String {
        let Some(folder) = self.store.folder(name) else {
            self.folder = None;
            return format!("%TAG% NO [NONEXISTENT] Mailbox doesn't exist: {name}\r\n");
        };
        let uids: Vec<u32> = folder.messages.iter().map(|one| one.uid).collect();
        let answer = format!(
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* {} EXISTS\r\n* 0 RECENT\r\n\
             * OK [UIDVALIDITY {UIDVALIDITY}] UIDs valid\r\n* OK [UIDNEXT {}] Predicted next UID\r\n\
             %TAG% OK [READ-{}] {verb} completed.\r\n",
            uids.len(),
            folder.next_uid,
            if verb == "EXAMINE" { "ONLY" } else { "WRITE" }
        );
        self.folder = Some(Open {
            name: name.to_owned(),
            is_read_only: verb == "EXAMINE",
            uids,
        });
        answer
    }

    /// What has changed since the client heard last.
    fn news(&mut self) -> String {
        let mut text = String::new();
        let Some(open) = &mut self.folder else {
            return text;
        };
        let now = self
            .store
            .with(&open.name, |folder| uids_of(folder))
            .unwrap_or_default();
        let gone: Vec<usize> = (0..open.uids.len())
            .filter(|index| {
                open.uids
                    .get(*index)
                    .is_some_and(|uid| now.binary_search(uid).is_err())
            })
            .collect();
        for index in gone.into_iter().rev() {
            open.uids.remove(index);
            let _ = write!(text, "* {} EXPUNGE\r\n", index + 1);
        }
        if now.len() > open.uids.len() {
            let _ = write!(text, "* {} EXISTS\r\n* 0 RECENT\r\n", now.len());
            open.uids = now;
        }
        text
    }

    fn uid(&mut self, verb: &str, arguments: &str) -> String {
        let Some(open) = &self.folder else {
            return "%TAG% BAD No mailbox selected.\r\n".to_owned();
        };
        let (name, is_read_only) = (open.name.clone(), open.is_read_only);
        let (set, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let mut text = String::new();
        match verb {
            "FETCH" => {
                self.store.with(&name, |folder| {
                    let last = folder.messages.last().map_or(0, |one| one.uid);
                    for (index, message) in folder.messages.iter().enumerate() {
                        if is_in(set, message.uid, last) {
                            text.push_str(&fetched(index + 1, message, rest));
                        }
                    }
                });
                // In the order in which Dovecot tells: what was asked for, then what is new.
                text.push_str(&self.news());
            }
            "SEARCH" => {
                let hits = self
                    .store
                    .with(&name, |folder| search(folder, arguments))
                    .unwrap_or_default();
                let hits: Vec<String> = hits.iter().map(u32::to_string).collect();
                let _ = write!(text, "* SEARCH {}\r\n", hits.join(" "));
            }
            "STORE" | "EXPUNGE" if is_read_only => {
                return "%TAG% NO [READ-ONLY] Mailbox is read-only\r\n".to_owned();
            }
            "STORE" => {
                self.store.with(&name, |folder| {
                    for message in folder
                        .messages
                        .iter_mut()
                        .filter(|one| is_in(set, one.uid, u32::MAX))
                    {
                        message.flags.insert("\\Deleted".to_owned());
                    }
                });
            }
            "EXPUNGE" => {
                self.store.with(&name, |folder| {
                    folder.messages.retain(|one| {
                        !is_in(set, one.uid, u32::MAX) || !one.flags.contains("\\Deleted")
                    });
                });
                text.push_str(&self.news());
            }
            _ => return "%TAG% BAD Error in IMAP command UID: Unknown command.\r\n".to_owned(),
        }
        format!("{text}%TAG% OK {verb} completed.\r\n")
    }

    async fn idle(&mut self) -> io::Result<String> {
        let mut changes = self.store.changes();
        self.say("+ idling\r\n").await?;
        loop {
            let news = self.news();
            self.say(&news).await?;
            tokio::select! {
                line = self.line() => {
                    let is_done = line?.is_none_or(|line| line.eq_ignore_ascii_case("DONE"));
                    if is_done {
                        return Ok("%TAG% OK Idle completed.\r\n".to_owned());
                    }
                }
                _ = changes.changed() => tokio::time::sleep(IDLE_DELAY).await,
            }
        }
    }
}

fn uids_of(folder: &Folder) -> Vec<u32> {
    folder.messages.iter().map(|one| one.uid).collect()
}

/// Whether a sequence set names this UID; `*` is the last one (RFC 3501 section 9).
fn is_in(set: &str, uid: u32, last: u32) -> bool {
    let number = |text: &str| {
        if text == "*" {
            Some(last)
        } else {
            text.parse().ok()
        }
    };
    set.split(',').any(|item| {
        let (first, second) = item.split_once(':').unwrap_or((item, item));
        match (number(first), number(second)) {
            (Some(a), Some(b)) => (a.min(b)..=a.max(b)).contains(&uid),
            _ => false,
        }
    })
}

fn fetched(sequence: usize, message: &Stored, items: &str) -> String {
    let mut text = format!("* {sequence} FETCH (UID {}", message.uid);
    if items.contains("INTERNALDATE") {
        let _ = write!(
            text,
            " INTERNALDATE \"{}\"",
            message.stored_at.format("%d-%b-%Y %H:%M:%S +0000")
        );
    }
    let raw = String::from_utf8_lossy(&message.raw);
    if let Some((_, names)) = items.split_once("HEADER.FIELDS (") {
        let names = names.split(')').next().unwrap_or_default();
        let fields = fields(&raw, names);
        let _ = write!(
            text,
            " BODY[HEADER.FIELDS ({names})]<0> {{{}}}\r\n{fields}",
            fields.len()
        );
    } else if items.contains("BODY.PEEK[]") {
        let _ = write!(text, " BODY[]<0> {{{}}}\r\n{raw}", raw.len());
    }
    text + ")\r\n"
}

/// The named fields of a header, folded lines with them, and the empty line behind them.
fn fields(raw: &str, names: &str) -> String {
    let mut wanted = false;
    let mut text = String::new();
    for line in raw.split_inclusive('\n') {
        if line.trim_end().is_empty() {
            break;
        }
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default();
            wanted = names.split(' ').any(|one| one.eq_ignore_ascii_case(name));
        }
        if wanted {
            text.push_str(line);
        }
    }
    text + "\r\n"
}

/// `HEADER <name> "" SINCE <day>`, which is all that a probe asks for.
fn search(folder: &Folder, criteria: &str) -> Vec<u32> {
    let words: Vec<&str> = criteria.split(' ').collect();
    let after = |word: &str| {
        words
            .iter()
            .position(|one| *one == word)
            .and_then(|at| words.get(at + 1))
    };
    let since = after("SINCE").and_then(|day| NaiveDate::parse_from_str(day, "%d-%b-%Y").ok());
    let has_field = |message: &Stored| match after("HEADER") {
        Some(name) => fields(&String::from_utf8_lossy(&message.raw), name).len() > 2,
        None => true,
    };
    folder
        .messages
        .iter()
        .filter(|one| since.is_none_or(|day| one.stored_at.date_naive() >= day) && has_field(one))
        .map(|one| one.uid)
        .collect()
}
