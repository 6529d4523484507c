//! Lines over a connection: bounded, within a limit, and without what came in clear text once TLS begins.

use crate::net::spelled;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// RFC 5321 section 4.5.3.1.5 allows 512 octets, IMAP's lists of capabilities need more.
const LONGEST_LINE: usize = 8 * 1024;
/// More lines than this are no answer.
const MOST_LINES: usize = 100;
/// So much of what comes first is kept, to tell what a server spoke where TLS failed.
const OPENING: usize = 512;

/// TCP, or TLS over it.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Why there is no line.
#[derive(Debug)]
pub(super) enum NoLine {
    /// The connection was closed.
    Closed,
    /// It was reset.
    Reset,
    /// Nothing came for so long.
    Silent(Duration),
    /// It is no text, too long, or the connection failed otherwise.
    Broken(String),
}

impl fmt::Display for NoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Reset => f.write_str("the server reset the connection"),
            Self::Silent(waited) => write!(f, "no answer within {}", spelled(*waited)),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for NoLine {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            // rustls says so where TLS ends without its own goodbye.
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// A conversation in lines.
pub(super) struct Lines {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: impl Io + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// The stream below, and whether bytes had come that nobody asked for.
    pub(super) fn into_inner(self) -> (Box<dyn Io>, bool) {
        (self.stream, !self.buffer.is_empty())
    }

    /// The next line, its end left out.
    pub(super) async fn line(&mut self, limit: Duration) -> Result<String, NoLine> {
        timeout(limit, self.next())
            .await
            .unwrap_or(Err(NoLine::Silent(limit)))
    }

    async fn next(&mut self) -> Result<String, NoLine> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(NoLine::Broken(format!(
                    "a line longer than {LONGEST_LINE} bytes"
                )));
            }
            let mut chunk = [0; 1024];
            let count = self.stream.read(&mut chunk).await?;
            if count == 0 {
                return Err(NoLine::Closed);
            }
            self.buffer
                .extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    /// Lines up to the one that `is_last` says is the last, that one included.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        is_last: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, NoLine> {
        let all = async {
            let mut lines = Vec::new();
            while lines.len() < MOST_LINES {
                let line = self.next().await?;
                let ends = is_last(&line);
                lines.push(line);
                if ends {
                    return Ok(lines);
                }
            }
            Err(NoLine::Broken(format!(
                "an answer of more than {MOST_LINES} lines"
            )))
        };
        timeout(limit, all)
            .await
            .unwrap_or(Err(NoLine::Silent(limit)))
    }

    /// Sends a command.
    pub(super) async fn say(&mut self, command: &str, limit: Duration) -> Result<(), NoLine> {
        let text = format!("{command}\r\n");
        let write = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(NoLine::Silent(limit)),
        }
    }
}

/// The first bytes that came over a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstBytes(Arc<Mutex<Vec<u8>>>);

impl FirstBytes {
    /// The bytes so far.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stream whose first bytes are kept.
pub(super) struct Noting<S> {
    inner: S,
    first: FirstBytes,
}

impl<S> Noting<S> {
    pub(super) fn new(inner: S) -> (Self, FirstBytes) {
        let first = FirstBytes::default();
        let noting = Self {
            inner,
            first: first.clone(),
        };
        (noting, first)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        let mut first = self.first.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OPENING.saturating_sub(first.len()).min(new.len());
        first.extend_from_slice(new.get(..room).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
