//! The byte stream under an SMTP session: bounded, one line at a time, and able to quote the server word for word.

use lettre::transport::smtp::client::AsyncTokioStream;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Replies have at most 512 bytes a line (RFC 5321 section 4.5.3.1.5); lettre itself would read a line without end.
const LONGEST_LINE: usize = 2000;
/// An answer to EHLO has a few hundred bytes, one with a teaser or a policy's explanation a few thousand. lettre parses
/// an answer anew with each of its lines.
const LONGEST_REPLY: usize = 16 * 1024;
/// What makes lettre take a connection for greeted: it offers no other way to have one that leaves each step to us.
const STAND_IN: &[u8] = b"220 ready\r\n250 ready\r\n";
/// What ends a message.
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// TCP, or TLS over it.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Io for T {}

/// One connection, held by lettre and by whoever watches it.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    inner: Arc<Mutex<Inner>>,
    peer: SocketAddr,
}

#[derive(Debug)]
struct Inner {
    /// None while TLS is being set up.
    stream: Option<Box<dyn Io>>,
    /// Until then, what lettre writes goes nowhere.
    is_live: bool,
    /// Received, and not yet handed on.
    pending: Vec<u8>,
    /// What was handed on since the last command.
    reply: Vec<u8>,
    /// The last bytes written.
    written: Vec<u8>,
    is_at_end: bool,
}

impl Wire {
    /// On which lettre finds a server that has greeted and answered EHLO.
    pub(super) fn new(stream: Box<dyn Io>, peer: SocketAddr) -> Self {
        let inner = Inner {
            stream: Some(stream),
            is_live: false,
            pending: STAND_IN.to_vec(),
            reply: Vec::new(),
            written: Vec::new(),
            is_at_end: false,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            peer,
        }
    }

    /// From now on what is written is sent, and what is read comes from the server.
    pub(super) fn go_live(&self) {
        let mut inner = self.lock();
        inner.is_live = true;
        inner.pending.clear();
        inner.reply.clear();
    }

    /// The server's answer to the last command, as far as it came, lines joined.
    pub(super) fn reply(&self) -> String {
        let inner = self.lock();
        let text = String::from_utf8_lossy(&inner.reply);
        crate::net::quotable(&text)
    }

    /// The same, line by line and not shortened.
    pub(super) fn reply_lines(&self) -> Vec<String> {
        let inner = self.lock();
        let text = String::from_utf8_lossy(&inner.reply);
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the server closed the connection.
    pub(super) fn is_at_end(&self) -> bool {
        self.lock().is_at_end
    }

    /// What the server said beyond its answer, on one line; none if it did not.
    pub(super) fn surplus(&self) -> Option<String> {
        let inner = self.lock();
        let text = String::from_utf8_lossy(&inner.pending);
        (!inner.pending.is_empty()).then(|| crate::net::quotable(&text))
    }

    /// Whether the last thing written was the end of a message.
    pub(super) fn has_ended_message(&self) -> bool {
        self.lock().written == END_OF_DATA
    }

    /// The stream below, to be put back under TLS.
    pub(super) fn take(&self) -> Option<Box<dyn Io>> {
        self.lock().stream.take()
    }

    /// See [`Self::take`].
    pub(super) fn put_back(&self, stream: Box<dyn Io>) {
        self.lock().stream = Some(stream);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn stream(&mut self) -> io::Result<Pin<&mut Box<dyn Io>>> {
        match &mut self.stream {
            Some(stream) => Ok(Pin::new(stream)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Hands on a line, or what there is before the end.
    fn hand_on(&mut self, length: usize, buffer: &mut ReadBuf<'_>) {
        let mut line: Vec<u8> = self.pending.drain(..length).collect();
        // lettre takes UTF-8 and CRLF only; servers' texts come in other charsets, and some have LF.
        if std::str::from_utf8(&line).is_err() {
            for byte in line.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
            line.pop();
            line.extend(b"\r\n");
        }
        self.reply.extend_from_slice(&line);
        let fits = line.len().min(buffer.remaining());
        let (now, later) = line.split_at(fits);
        buffer.put_slice(now);
        self.pending.splice(..0, later.iter().copied());
    }

    /// A server must not make us read without end.
    fn check_bounds(&self) -> io::Result<()> {
        let has_line = self.pending.contains(&b'\n');
        let (what, limit) = if self.reply.len() > LONGEST_REPLY {
            ("an answer", LONGEST_REPLY)
        } else if !has_line && self.pending.len() > LONGEST_LINE {
            ("a line", LONGEST_LINE)
        } else {
            return Ok(());
        };
        let message = format!("{what} of more than {limit} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    fn note_written(&mut self, bytes: &[u8]) {
        self.reply.clear();
        self.written.extend_from_slice(bytes);
        let old = self.written.len().saturating_sub(END_OF_DATA.len());
        self.written.drain(..old);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        loop {
            inner.check_bounds()?;
            let line = inner.pending.iter().position(|byte| *byte == b'\n');
            if let Some(end) = line {
                inner.hand_on(end + 1, buffer);
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; 1024];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(inner.stream()?.poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                inner.is_at_end = true;
                let rest = inner.pending.len();
                inner.hand_on(rest, buffer);
                return Poll::Ready(Ok(()));
            }
            inner.pending.extend_from_slice(chunk.filled());
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        if !inner.is_live {
            return Poll::Ready(Ok(bytes.len()));
        }
        let count = ready!(inner.stream()?.poll_write(context, bytes))?;
        inner.note_written(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().stream()?.poll_shutdown(context)
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
