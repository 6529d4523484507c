//! The byte stream under an IMAP session: bounded, and able to quote the server's last line word for word.

use crate::secret::redact;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// Bytes of one answer at the most, unless a command allows more. async-imap itself would take 512 MiB.
pub(super) const ANSWER_LIMIT: usize = 1024 * 1024;

/// How much of what was received is kept for quoting.
const TAIL: usize = 600;

/// Characters of a quoted line at the most.
const QUOTED: usize = 300;

/// TCP, or TLS over it.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Io for T {}

/// A stream that counts and remembers what it receives.
///
/// Writes are gathered until flushed: async-imap writes tag, space, command and line end one by one, which would be
/// four TLS records.
#[derive(Debug)]
pub(super) struct Wire {
    inner: BufWriter<Box<dyn Io>>,
    received: usize,
    allowed: usize,
    announced: Announced,
    tail: Vec<u8>,
}

/// Finds the lengths of literals (RFC 3501 section 4.3) in what a server sends. async-imap makes room for all of one
/// as soon as it is announced: a line of twenty bytes would cost half a gigabyte.
#[derive(Debug, Default)]
struct Announced {
    /// Bytes of the literal that are still to come.
    literal: usize,
    /// What stands behind the last `{` of the line.
    length: Option<usize>,
    closed: bool,
}

impl Announced {
    /// Reads on; the largest literal that was announced.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut largest = 0;
        for byte in bytes {
            if self.literal > 0 {
                self.literal -= 1;
                continue;
            }
            match (byte, self.length) {
                (b'{', _) => (self.length, self.closed) = (Some(0), false),
                (b'0'..=b'9', Some(length)) if !self.closed => {
                    let digit = usize::from(byte - b'0');
                    self.length = Some(length.saturating_mul(10).saturating_add(digit));
                }
                (b'}', Some(_)) => self.closed = true,
                (b'\r', Some(_)) if self.closed => {}
                (b'\n', Some(length)) if self.closed => {
                    largest = largest.max(length);
                    self.literal = length;
                    self.length = None;
                }
                _ => self.length = None,
            }
        }
        largest
    }
}

impl Wire {
    pub(super) fn new(inner: Box<dyn Io>) -> Self {
        Self {
            inner: BufWriter::with_capacity(1024, inner),
            received: 0,
            allowed: ANSWER_LIMIT,
            announced: Announced::default(),
            tail: Vec::new(),
        }
    }

    /// The stream below, for STARTTLS. What the server sent in plain text beyond its answer is lost, as it must be.
    pub(super) fn into_inner(self) -> Box<dyn Io> {
        self.inner.into_inner()
    }

    /// Starts to count anew: an answer was read whole.
    pub(super) fn answer_read(&mut self) {
        self.received = 0;
    }

    /// The last line that begins with `tag`, the tag left out, or else the last line received; fit for a report.
    pub(super) fn reply(&self, tag: &str) -> String {
        let lines = self.tail.split(|byte| *byte == b'\n').rev();
        let mut last = None;
        for line in lines.filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(line);
            match line.strip_prefix(tag) {
                Some(rest) if rest.starts_with(' ') => return quotable(rest),
                _ => last = last.or_else(|| Some(quotable(&line))),
            }
        }
        last.unwrap_or_default()
    }

    /// The last tagged line, its tag left out. While a client logs in, one command at a time is under way.
    pub(super) fn last_line_of_reply(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let tagged = text.lines().rev().find_map(|line| {
            let (tag, rest) = line.split_once(' ')?;
            // async-imap's tags are `A` and digits.
            let digits = tag.strip_prefix('A')?;
            (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| quotable(rest))
        });
        tagged.unwrap_or_else(|| self.reply("*"))
    }

    fn remember(&mut self, bytes: &[u8]) {
        let recent = bytes.len().saturating_sub(TAIL);
        self.tail
            .extend_from_slice(bytes.get(recent..).unwrap_or_default());
        let old = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..old);
    }
}

/// A server's words made fit for a report: no secrets, no control characters, not too long.
pub(super) fn quotable(text: &str) -> String {
    // rustls ends its sentence about a connection that was cut with the address of a manual for programmers.
    let words = text.split(": https://docs.rs/").next().unwrap_or_default();
    // Before it is cut: half a secret is not recognised, and still half a secret.
    redact(words.trim())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(QUOTED)
        .collect()
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let too_large = || {
            let message = format!("the server's answer is larger than {} bytes", this.allowed);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)))
        };
        if this.received > this.allowed {
            return too_large();
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if this.announced.read(new) > this.allowed {
            return too_large();
        }
        this.received = this.received.saturating_add(new.len());
        this.remember(new);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn received(bytes: &[u8]) -> Wire {
        let (mut server, client) = tokio::io::duplex(4096);
        server.write_all(bytes).await.unwrap();
        drop(server);
        let mut wire = Wire::new(Box::new(client));
        let mut sink = Vec::new();
        wire.read_to_end(&mut sink).await.unwrap();
        wire
    }

    #[tokio::test]
    async fn a_reply_is_quoted_without_its_tag_whatever_follows_it() {
        let wire = received(b"* OK hello\r\nA0002 NO [LIMIT] too many\r\n* 5 EXISTS\r\n").await;
        assert_eq!(wire.reply("A0002"), "NO [LIMIT] too many");
        // What was said long before is not quoted for what was said last.
        let wire = received(b"* OK hello\r\n* 5 EXISTS\r\n* BYE restarting\r\n").await;
        assert_eq!(wire.reply("*"), "BYE restarting");
    }

    #[tokio::test]
    async fn without_a_tagged_line_the_last_one_is_quoted() {
        assert_eq!(received(b"* BYE bye\r\n").await.reply("A1"), "* BYE bye");
        assert_eq!(received(b"ABC x\x07y").await.reply("A1"), "ABC x y");
        assert_eq!(received(b"").await.reply("A1"), "");
    }

    #[test]
    fn lengths_of_literals_are_found_at_any_cut_and_not_inside_literals() {
        let text = b"* 1 FETCH (BODY[] {22}\r\nSubject: {999999}\r\n {7}\r\n BODY[1] {5000}\r\n";
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut announced = Announced::default();
            let largest = announced.read(first).max(announced.read(second));
            assert_eq!(largest, 5000, "cut at {cut}");
        }
        for harmless in ["{12} x\r\n", "{}5\r\n", "{12\r\n", "12}\r\n"] {
            assert_eq!(
                Announced::default().read(harmless.as_bytes()),
                0,
                "{harmless}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_beyond_the_limit_is_an_error() {
        let (mut server, client) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::new(Box::new(client));
        wire.allowed = 10_000;
        let writer =
            tokio::spawn(async move { while server.write_all(&[b'x'; 1000]).await.is_ok() {} });
        let mut sink = Vec::new();
        let error = wire.read_to_end(&mut sink).await.unwrap_err();
        assert!(error.to_string().contains("larger than 10000 bytes"));
        drop(wire);
        writer.await.unwrap();
    }
}
