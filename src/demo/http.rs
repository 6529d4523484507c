//! A small HTTP/1.1 server: enough for the stand-ins, with the misbehaviour that they play.

use serde_json::Value;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Longer requests are cut off.
const LARGEST_REQUEST: usize = 1024 * 1024;

/// A request that was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path, still escaped.
    pub path: String,
    /// Query, unescaped.
    pub query: Vec<(String, String)>,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// What the server does then.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Answers.
    Answer {
        /// Status.
        status: u16,
        /// More header fields.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// Sends these bytes, whatever they are, and closes.
    Bytes(Vec<u8>),
    /// Says nothing until the client gives up.
    Silence,
}

impl Response {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer {
            status,
            headers: vec![(
                "content-type".to_owned(),
                "application/json; charset=utf-8".to_owned(),
            )],
            body: body.to_string(),
        }
    }

    /// A text answer.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: vec![(
                "content-type".to_owned(),
                "text/plain; charset=utf-8".to_owned(),
            )],
            body: body.to_owned(),
        }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

impl Request {
    /// A header field's value; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
    }

    /// A value of the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Serves until the future is dropped; its connections end with it.
pub async fn serve<F>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: impl Fn(Request) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Response> + Send,
{
    let handler = Arc::new(handler);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => return,
            },
            Some(_) = connections.join_next() => continue,
        };
        let _ = stream.set_nodelay(true);
        let (handler, tls) = (Arc::clone(&handler), tls.clone());
        connections.spawn(async move {
            // A client that goes away is nothing to tell of.
            let _ = match tls {
                None => converse(stream, handler.as_ref()).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse(stream, handler.as_ref()).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn converse<S, F>(mut stream: S, handler: &(impl Fn(Request) -> F + Sync)) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response> + Send,
{
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        match handler(request).await {
            Response::Answer {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                stream
                    .write_all(format!("{head}\r\n{body}").as_bytes())
                    .await?;
                stream.flush().await?;
            }
            Response::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Response::Silence => {
                let mut rest = [0; 64];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The next request; none where the client closed.
async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = parse(buffer)? {
            buffer.drain(..length);
            return Ok(Some(request));
        }
        if buffer.len() > LARGEST_REQUEST {
            return Err(io::Error::other("the request is too large"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The first request in the buffer and how many bytes it has, once it is there in full.
fn parse(buffer: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(start) = head.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|field| {
            (
                field.name.to_ascii_lowercase(),
                String::from_utf8_lossy(field.value).into_owned(),
            )
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let end = start.saturating_add(length);
    let Some(body) = buffer.get(start..end) else {
        return Ok(None);
    };
    let target = head.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers,
        body: body.to_vec(),
    };
    Ok(Some((request, end)))
}
