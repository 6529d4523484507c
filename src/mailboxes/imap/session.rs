//! A logged-in IMAP session in which every command is checked.
//!
//! async-imap 0.12 answers success on a tagged NO, on BAD and on a closed connection for half its commands, and has no
//! time limits. So its commands are not used: what is sent here ([`Session::command`], `append`, `idle`) insists on the
//! tagged OK within a limit. The tests with a scripted server beside this file are the regression suite for that crate.

use super::wire::Wire;
use crate::log::About;
use crate::net::quotable;
use crate::net::{milliseconds, spelled};
use async_imap::imap_proto::{MailboxDatum, RequestId, Response, ResponseCode, Status};
use std::fmt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a command may take.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What is said of bytes that cannot be read: they may be long and hold anything.
pub(super) const NOT_IMAP: &str = "the server's answer is not IMAP";

/// How long the server may take to begin or end IDLE; a server that answers IDLE with NO leaves a client waiting.
const IDLE_GRACE: Duration = Duration::from_secs(10);

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The tagged answer was NO.
    #[error("{reply}")]
    No {
        /// The server's words, from `NO` on.
        reply: String,
    },
    /// The tagged answer was BAD.
    #[error("{reply}")]
    Bad {
        /// The server's words, from `BAD` on.
        reply: String,
    },
    /// The connection ended: closed, reset, BYE, or an answer that is not IMAP.
    #[error("{reason}")]
    Lost {
        /// What was seen of it.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("no answer to {command} within {}", spelled(*limit))]
    Deadline {
        /// The command's name.
        command: String,
        /// The limit that ran out.
        limit: Duration,
    },
}

impl Fault {
    /// Whether the session can still be used.
    pub(super) fn leaves_session_usable(&self) -> bool {
        matches!(self, Self::No { .. } | Self::Bad { .. })
    }

    /// The response code in brackets (RFC 3501 section 7.1, RFC 5530), upper case, without arguments.
    pub(super) fn code(&self) -> Option<String> {
        let (Self::No { reply } | Self::Bad { reply } | Self::Lost { reason: reply }) = self else {
            return None;
        };
        let (_, rest) = reply.split_once('[')?;
        let (code, _) = rest.split_once(']')?;
        Some(code.split(' ').next()?.to_ascii_uppercase())
    }

    /// Whether the server asks for fewer questions: by RFC 5530's code or Gmail's, or in the words of Microsoft
    /// ("Request is throttled") and Gmail (`[ALERT] Too many simultaneous connections`).
    pub(super) fn is_throttling(&self) -> bool {
        let words = self.to_string().to_ascii_lowercase();
        self.code()
            .is_some_and(|code| ["LIMIT", "THROTTLED"].contains(&code.as_str()))
            || ["throttl", "too many", "bandwidth limits"]
                .iter()
                .any(|sign| words.contains(sign))
    }
}

/// Why IDLE ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// The server announced mail.
    NewMail,
    /// The time was over.
    Time,
    /// Somebody wants something else.
    Wanted,
}

/// What ends IDLE early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Announced mail.
    NewMail,
    /// No mail: it is only taken note of.
    Nothing,
}

/// One answer of the server, as far as the command layer cares.
enum Said {
    /// A tagged answer.
    Done(RequestId, Outcome),
    /// `+`.
    GoOn,
    /// The connection is about to end.
    Bye,
    /// Untagged data, handed on.
    Other,
}

/// What a tagged answer says.
#[derive(Clone, Copy)]
enum Outcome {
    Ok,
    No,
    Bad,
}

/// A logged-in session.
pub(super) struct Session {
    inner: async_imap::Session<Wire>,
    capabilities: Vec<String>,
    /// Mail was announced that no fetch has asked for yet.
    news: bool,
    /// UIDVALIDITY, as the server told it last; 0 where it did not since the folder was opened.
    uid_validity: u32,
    /// Set by everything that leaves the stream in an unknown state: a late answer must not be read as another's.
    broken: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("capabilities", &self.capabilities)
            .field("news", &self.news)
            .field("uid_validity", &self.uid_validity)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(inner: async_imap::Session<Wire>) -> Self {
        Self {
            inner,
            capabilities: Vec::new(),
            news: false,
            uid_validity: 0,
            broken: false,
        }
    }

    /// Asks for the capabilities, which change with the log-in.
    pub(super) async fn learn_capabilities(&mut self, limit: Duration) -> Result<(), Fault> {
        let mut capabilities = Vec::new();
        self.command("CAPABILITY", limit, |response| {
            if let Response::Capabilities(list) = response {
                super::connect::take_names(&mut capabilities, list);
            }
        })
        .await?;
        self.capabilities = capabilities;
        Ok(())
    }

    /// Whether the server announced this capability, in any case.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities
            .iter()
            .any(|one| one.eq_ignore_ascii_case(capability))
    }

    /// Whether mail was announced since the last call.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether mail was announced that nobody has asked for yet.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// UIDVALIDITY of the folder that is open, as the server told it last; 0 where it did not.
    pub(super) fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// Another folder is about to be opened, or the same anew.
    pub(super) fn forget_uid_validity(&mut self) {
        self.uid_validity = 0;
    }

    /// Whether an earlier fault made the session unusable.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends one command, hands every untagged answer to `on`, and returns once the tagged OK is there.
    ///
    /// # Errors
    /// Anything else: NO, BAD, BYE, a closed connection, an answer that is not IMAP or is too large, no answer within `limit`.
    pub(super) async fn command(
        &mut self,
        command: &str,
        limit: Duration,
        on: impl FnMut(&Response<'_>),
    ) -> Result<(), Fault> {
        self.usable()?;
        let started = Instant::now();
        // Broken until proven whole, so that a caller who drops this future leaves no session behind that would
        // read the answer to this command as the answer to the next.
        self.broken = true;
        let answer = timeout_at(started + limit, self.converse(command, on)).await;
        let result = answer.unwrap_or_else(|_| {
            Err(Fault::Deadline {
                command: command_name(command),
                limit,
            })
        });
        self.broken = result
            .as_ref()
            .is_err_and(|fault| !fault.leaves_session_usable());
        let about = About::current();
        tracing::trace!(
            mailbox = about.mailbox,
            folder = about.folder,
            probe = about.probe,
            token = about.token(),
            command = %quotable(command),
            milliseconds = milliseconds(started.elapsed()),
            result = %result.as_ref().err().map_or_else(|| "OK".to_owned(), ToString::to_string),
            "imap"
        );
        result
    }

    async fn converse(
        &mut self,
        command: &str,
        mut on: impl FnMut(&Response<'_>),
    ) -> Result<(), Fault> {
        let tag = self.send(command).await?;
        loop {
            match self.read(&mut on).await? {
                Said::Done(done, outcome) if done == tag => return self.tagged(&tag, outcome),
                Said::Bye => return Err(self.bye()),
                Said::Done(..) | Said::GoOn | Said::Other => {}
            }
        }
    }

    /// Stores a message in a folder, its name quoted; the folder's UIDVALIDITY and the message's UID, where the server
    /// tells.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub(super) async fn append(
        &mut self,
        folder: &str,
        message: &str,
        limit: Duration,
    ) -> Result<Option<(u32, u32)>, Fault> {
        self.usable()?;
        self.broken = true;
        let command = format!("APPEND {folder} {{{}}}", message.len());
        let stored = timeout(limit, self.append_inner(&command, message)).await;
        let stored = stored.unwrap_or_else(|_| {
            let command = command_name(&command);
            Err(Fault::Deadline { command, limit })
        });
        self.broken = stored
            .as_ref()
            .is_err_and(|fault| !fault.leaves_session_usable());
        stored
    }

    async fn append_inner(
        &mut self,
        command: &str,
        message: &str,
    ) -> Result<Option<(u32, u32)>, Fault> {
        let tag = self.send(command).await?;
        // The server asks for the message (RFC 3501 section 7.5), or says at once that it does not want it.
        loop {
            match self.read(&mut |_| ()).await? {
                Said::GoOn => break,
                Said::Bye => return Err(self.bye()),
                Said::Done(done, outcome) if done == tag => {
                    self.tagged(&tag, outcome)?;
                    return Ok(None);
                }
                Said::Done(..) | Said::Other => {}
            }
        }
        let sent = self.inner.run_command_untagged(message).await;
        sent.map_err(|error| self.lost(&error.to_string()))?;
        loop {
            match self.read(&mut |_| ()).await? {
                Said::Done(done, outcome) if done == tag => {
                    self.tagged(&tag, outcome)?;
                    return Ok(append_uid(&self.inner.get_ref().reply(&tag.0)));
                }
                Said::Bye => return Err(self.bye()),
                Said::Done(..) | Said::GoOn | Said::Other => {}
            }
        }
    }

    /// Waits for mail, until `end`, or until `wanted` changes. The session is fit for other commands afterwards.
    ///
    /// # Errors
    /// As [`Session::command`]; also a server that refuses to IDLE, or ends it by itself.
    pub(super) async fn idle(
        &mut self,
        end: Instant,
        wanted: &mut watch::Receiver<u64>,
        heed: Heed,
    ) -> Result<Woken, Fault> {
        self.usable()?;
        if self.news && heed == Heed::NewMail {
            return Ok(Woken::NewMail);
        }
        self.broken = true;
        let result = self.idle_inner(end, wanted, heed).await;
        self.broken = result
            .as_ref()
            .is_err_and(|fault| !fault.leaves_session_usable());
        result
    }

    async fn idle_inner(
        &mut self,
        end: Instant,
        wanted: &mut watch::Receiver<u64>,
        heed: Heed,
    ) -> Result<Woken, Fault> {
        let deadline = |command: &str| Fault::Deadline {
            command: command.to_owned(),
            limit: IDLE_GRACE,
        };
        let begin = timeout_at(Instant::now() + IDLE_GRACE, async {
            let tag = self.send("IDLE").await?;
            while !matches!(self.while_idle(&tag).await?, Said::GoOn) {}
            Ok(tag)
        });
        let tag = begin.await.map_err(|_| deadline("IDLE"))??;
        let woken = loop {
            if self.news && heed == Heed::NewMail {
                break Woken::NewMail;
            }
            tokio::select! {
                biased;
                // An error means that the mailbox is let go, which wants an end as well.
                _ = wanted.changed() => break Woken::Wanted,
                said = self.while_idle(&tag) => { said?; }
                () = tokio::time::sleep_until(end) => break Woken::Time,
            }
        };
        let done = timeout_at(Instant::now() + IDLE_GRACE, async {
            let sent = self.inner.run_command_untagged("DONE").await;
            sent.map_err(|error| self.lost(&error.to_string()))?;
            loop {
                match self.read(&mut |_| ()).await? {
                    Said::Done(done, outcome) if done == tag => return self.tagged(&tag, outcome),
                    Said::Bye => return Err(self.bye()),
                    _ => {}
                }
            }
        });
        done.await.map_err(|_| deadline("DONE"))??;
        Ok(woken)
    }

    /// One answer before DONE was sent, when the tagged one must not come.
    async fn while_idle(&mut self, tag: &RequestId) -> Result<Said, Fault> {
        match self.read(&mut |_| ()).await? {
            Said::Bye => Err(self.bye()),
            Said::Done(done, outcome) if done == *tag => {
                self.tagged(tag, outcome)?;
                Err(self.lost("the server ended IDLE by itself"))
            }
            said => Ok(said),
        }
    }

    fn usable(&self) -> Result<(), Fault> {
        if self.broken {
            return Err(Fault::Lost {
                reason: "the connection failed before".to_owned(),
            });
        }
        Ok(())
    }

    async fn send(&mut self, command: &str) -> Result<RequestId, Fault> {
        // Nothing that a person configured or a server sent may end a line and begin a command of its own.
        if command.contains(['\r', '\n', '\0']) {
            return Err(Fault::Bad {
                reply: "BAD a line break inside a command".to_owned(),
            });
        }
        self.inner.get_mut().command_sent();
        let sent = self.inner.run_command(command).await;
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    /// Reads one answer. Dropping the future loses nothing: the bytes stay in the stream's buffer.
    async fn read(&mut self, on: &mut impl FnMut(&Response<'_>)) -> Result<Said, Fault> {
        let response = match self.inner.read_response().await {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.lost("the server closed the connection")),
            // Its text carries the raw buffer where an answer cannot be parsed.
            Err(error) if error.to_string().contains("during parsing of") => {
                return Err(self.lost(NOT_IMAP));
            }
            Err(error) => return Err(self.lost(&error.to_string())),
        };
        self.inner.get_mut().answer_read();
        Ok(match response.parsed() {
            Response::Done { tag, status, .. } => Said::Done(
                tag.clone(),
                match status {
                    Status::Ok => Outcome::Ok,
                    Status::No => Outcome::No,
                    _ => Outcome::Bad,
                },
            ),
            Response::Continue(_) => Said::GoOn,
            Response::Data {
                status: Status::Bye,
                ..
            } => Said::Bye,
            untagged => {
                match untagged {
                    Response::MailboxData(MailboxDatum::Exists(_)) => self.news = true,
                    Response::Data { outcome, .. } => {
                        if let Some(ResponseCode::UidValidity(value)) = outcome.code {
                            self.uid_validity = value;
                        }
                    }
                    _ => {}
                }
                on(untagged);
                Said::Other
            }
        })
    }

    fn tagged(&self, tag: &RequestId, outcome: Outcome) -> Result<(), Fault> {
        let reply = || self.inner.get_ref().reply(&tag.0);
        match outcome {
            Outcome::Ok => Ok(()),
            Outcome::No => Err(Fault::No { reply: reply() }),
            Outcome::Bad => Err(Fault::Bad { reply: reply() }),
        }
    }

    fn bye(&self) -> Fault {
        Fault::Lost {
            reason: format!(
                "the server said goodbye: {}",
                self.inner.get_ref().reply("*")
            ),
        }
    }

    fn lost(&self, reason: &str) -> Fault {
        Fault::Lost {
            reason: quotable(reason),
        }
    }

    /// Says goodbye, so that the server's count of our sessions goes down at once.
    pub(super) async fn logout(mut self, limit: Duration) {
        if !self.broken {
            let _ = self.command("LOGOUT", limit, |_| ()).await;
        }
    }
}

/// UIDVALIDITY and UID in `OK [APPENDUID <validity> <uid>] …` (RFC 4315 section 3).
fn append_uid(reply: &str) -> Option<(u32, u32)> {
    let (_, rest) = reply.split_once("[APPENDUID ")?;
    let (code, _) = rest.split_once(']')?;
    let (uid_validity, uid) = code.split_once(' ')?;
    Some((uid_validity.parse().ok()?, uid.parse().ok()?))
}

/// The word or two that name a command, for messages: everything behind may be long.
fn command_name(command: &str) -> String {
    let mut words = command.split(' ');
    match (words.next(), words.next()) {
        (Some("UID"), Some(second)) => format!("UID {second}"),
        (Some(first), _) => first.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
