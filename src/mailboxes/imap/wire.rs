//! The byte stream under an IMAP session: bounded, and able to quote the server's last line word for word.

use crate::net::quotable;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// Bytes of one answer at the most: four times the part of a message that is read. async-imap itself would take 512 MiB.
pub(super) const ANSWER_LIMIT: usize = 256 * 1024;

/// All that may come between a command and the next: somebody who empties a folder causes a line a message, and every
/// line costs async-imap a buffer of its own.
const MOST_LINES: usize = 100_000;
/// The same in bytes: the fields of 500 messages may be 8 MiB.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Opening brackets in one answer at the most. imap-proto reads a nested structure by recursion, so that a line of them
/// would use up the stack; what is asked for has a handful.
const MOST_BRACKETS: usize = 200;

/// How much of what was received is kept for quoting, in whole lines.
const TAIL: usize = 16 * 1024;
/// So much of one line. Access tokens, which a server may echo, have a quarter of it.
const LONGEST_LINE: usize = 8 * 1024;

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
    /// Bytes of the answer that is being read.
    received: usize,
    allowed: usize,
    /// Bytes since the last command.
    since_command: usize,
    scan: Scan,
    tail: Tail,
}

/// Finds, in what a server sends, what would cost more than its bytes: the lengths of literals (RFC 3501 section 4.3),
/// for which async-imap makes room as soon as they are announced, so that a line of twenty bytes would cost half a
/// gigabyte; lines; brackets.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of the literal that are still to come.
    literal: usize,
    /// What stands behind the last `{` of the line.
    length: Option<usize>,
    closed: bool,
    /// The largest literal that was announced.
    largest: usize,
    /// Lines since the last command.
    lines: usize,
    /// Opening brackets of the answer that is being read, and the most that one had.
    brackets: usize,
    most_brackets: usize,
}

impl Scan {
    /// Reads on.
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.literal > 0 {
                self.literal -= 1;
                continue;
            }
            match byte {
                b'(' => {
                    self.brackets += 1;
                    self.most_brackets = self.most_brackets.max(self.brackets);
                }
                b'\n' => {
                    self.lines += 1;
                    // Behind a literal the same answer goes on.
                    if !(self.closed && self.length.is_some()) {
                        self.brackets = 0;
                    }
                }
                _ => {}
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
                    self.largest = self.largest.max(length);
                    self.literal = length;
                    self.length = None;
                }
                _ => self.length = None,
            }
        }
    }
}

/// The last lines that were received. They begin with a whole one: a secret that a server echoes is recognised as a
/// whole, and half of it would be quoted.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Length of the line that has no end yet.
    open: usize,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_end = piece.ends_with(b"\n");
            let room = LONGEST_LINE.saturating_sub(self.open);
            let kept = piece.get(..room).unwrap_or(piece);
            self.bytes.extend_from_slice(kept);
            if is_end && kept.len() < piece.len() {
                self.bytes.push(b'\n');
            }
            self.open = if is_end { 0 } else { self.open + kept.len() };
        }
        let too_many = self.bytes.len().saturating_sub(TAIL);
        if too_many > 0 {
            let rest = self.bytes.get(too_many..).unwrap_or_default();
            let end_of_line = rest.iter().position(|byte| *byte == b'\n');
            let old = end_of_line.map_or(self.bytes.len(), |at| too_many + at + 1);
            self.bytes.drain(..old);
        }
    }
}

impl Wire {
    pub(super) fn new(inner: Box<dyn Io>) -> Self {
        Self {
            inner: BufWriter::with_capacity(1024, inner),
            received: 0,
            allowed: ANSWER_LIMIT,
            since_command: 0,
            scan: Scan::default(),
            tail: Tail::default(),
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

    /// Starts to count anew: a command was sent, and what comes from now on may be its answer.
    pub(super) fn command_sent(&mut self) {
        self.since_command = 0;
        self.scan.lines = 0;
    }

    /// What is too much of what has come, if anything is.
    fn excess(&self) -> Option<String> {
        if self.received > self.allowed || self.scan.largest > self.allowed {
            return Some(format!(
                "the server's answer is larger than {} bytes",
                self.allowed
            ));
        }
        if self.scan.most_brackets > MOST_BRACKETS {
            return Some("the server's answer is nested too deeply".to_owned());
        }
        let without_end = |what: &str| {
            Some(format!(
                "the server does not stop sending: more than {what} since the last command"
            ))
        };
        if self.scan.lines > MOST_LINES {
            return without_end(&format!("{MOST_LINES} lines"));
        }
        if self.since_command > MOST_BYTES {
            return without_end(&format!("{MOST_BYTES} bytes"));
        }
        None
    }

    /// The server's goodbye, if it said one: the last line that begins with `* BYE`, without the star.
    pub(super) fn goodbye(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail.bytes);
        let lines = text.lines().rev();
        lines
            .filter_map(|line| line.strip_prefix("* "))
            .find(|rest| {
                rest.get(..3)
                    .is_some_and(|word| word.eq_ignore_ascii_case("BYE"))
            })
            .map(quotable)
    }

    /// The last line that begins with `tag`, the tag left out, or else the last line received; fit for a report.
    pub(super) fn reply(&self, tag: &str) -> String {
        let lines = self.tail.bytes.split(|byte| *byte == b'\n').rev();
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
        let text = String::from_utf8_lossy(&self.tail.bytes);
        let tagged = text.lines().rev().find_map(|line| {
            let (tag, rest) = line.split_once(' ')?;
            // async-imap's tags are `A` and digits.
            let digits = tag.strip_prefix('A')?;
            (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| quotable(rest))
        });
        tagged.unwrap_or_else(|| self.reply("*"))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.excess().is_none() {
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            let new = buffer.filled().get(before..).unwrap_or_default();
            this.scan.read(new);
            this.received = this.received.saturating_add(new.len());
            this.since_command = this.since_command.saturating_add(new.len());
            this.tail.add(new);
        }
        if let Some(excess) = this.excess() {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, excess)));
        }
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
        let (mut server, client) = tokio::io::duplex(64 * 1024);
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
    fn what_is_kept_for_quoting_begins_with_a_whole_line_wherever_the_pieces_are_cut() {
        let line = format!("* OK {}-end\r\n", "token-".repeat(40));
        let text = line.repeat(100);
        for size in [1, 7, 100, 4096, text.len()] {
            let mut tail = Tail::default();
            for piece in text.as_bytes().chunks(size) {
                tail.add(piece);
                assert!(tail.bytes.len() <= TAIL);
                let begun = tail.bytes.len().min(line.len());
                assert_eq!(
                    tail.bytes.get(..begun),
                    line.as_bytes().get(..begun),
                    "{size}"
                );
            }
            assert!(tail.bytes.len() > TAIL / 2, "{size}");
        }
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.add(&[b'x'; 1000]);
        }
        tail.add(b"\r\nA1 NO end\r\n");
        assert_eq!(tail.bytes.len(), LONGEST_LINE + 1 + 11);
        assert!(tail.bytes.ends_with(b"x\nA1 NO end\r\n"));
    }

    #[tokio::test]
    async fn an_echoed_secret_is_not_quoted_from_its_middle_on() {
        let secret = format!("wire-{}", "c2VjcmV0".repeat(60));
        crate::secret::remember(&secret);
        let echo = format!("A0001 NO you said AUTHENTICATE PLAIN {secret}\r\n");
        for junk in 0..TAIL {
            if junk % 97 != 0 {
                continue;
            }
            let filler = format!("* OK {}\r\n", "y".repeat(junk));
            let wire = received(format!("{echo}{filler}* 1 EXISTS").as_bytes()).await;
            for quoted in [
                wire.reply("A0009"),
                wire.reply("A0001"),
                wire.last_line_of_reply(),
            ] {
                assert!(!quoted.contains("c2VjcmV0"), "{quoted}");
            }
        }
    }

    #[test]
    fn brackets_count_by_answer_and_not_inside_literals() {
        let mut scan = Scan::default();
        scan.read(b"* OK (((\r\n* 1 FETCH (BODY[] {5}\r\n((((( BODY[1] {1}\r\n()\r\n* OK ((\r\n");
        assert_eq!((scan.most_brackets, scan.brackets), (3, 0));
    }

    #[test]
    fn lengths_of_literals_are_found_at_any_cut_and_not_inside_literals() {
        let text = b"* 1 FETCH (BODY[] {22}\r\nSubject: {999999}\r\n {7}\r\n BODY[1] {5000}\r\n";
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut scan = Scan::default();
            scan.read(first);
            scan.read(second);
            assert_eq!(scan.largest, 5000, "cut at {cut}");
        }
        for harmless in ["{12} x\r\n", "{}5\r\n", "{12\r\n", "12}\r\n"] {
            let mut scan = Scan::default();
            scan.read(harmless.as_bytes());
            assert_eq!(scan.largest, 0, "{harmless}");
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
