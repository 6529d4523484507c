//! How HTTP connections are made: directly or through the proxy of the environment, with TLS where the URL says so, and
//! with an end to what a server may send.

use super::spelled;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// How long a connection may take, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that a server may send since it was sent something: four times the longest body that is read. hyper reads
/// `100 Continue` for ever, and hundreds of thousands in one go, in which nothing else is done.
const MOST_BYTES: usize = 2 * 1024 * 1024;

type Failure = Box<dyn Error + Send + Sync>;
type Dialling<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// TCP, or TLS over it.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection to an HTTP server or to a proxy before it.
pub(super) struct Stream {
    inner: Box<dyn Io>,
    /// To a proxy that is asked for whole URLs.
    is_proxied: bool,
    /// Bytes since the last that were sent.
    received: usize,
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dialler {
    proxies: Arc<Matcher>,
    tcp: HttpConnector,
    tls: TlsConnector,
}

/// The same without regard to proxies.
#[derive(Clone)]
struct Direct(Dialler);

impl Dialler {
    /// With the proxies of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        // Requests are small and wait for their answers.
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        Self {
            proxies: Arc::new(Matcher::from_env()),
            tcp,
            tls: TlsConnector::from(tls),
        }
    }

    /// What a proxy that is asked for this URL in plain text wants to be told.
    pub(super) fn proxy_credentials(&self, uri: &Uri) -> Option<HeaderValue> {
        if is_tls(uri) {
            // It is told when the tunnel is made.
            return None;
        }
        self.proxies.intercept(uri)?.basic_auth().cloned()
    }

    async fn direct(mut self, uri: Uri) -> Result<Stream, Failure> {
        let host = uri.host().unwrap_or_default().to_owned();
        let is_tls = is_tls(&uri);
        let tcp = self.tcp.call(uri).await?.into_inner();
        let stream = Stream::new(Box::new(tcp));
        if is_tls {
            return self.secured(&host, stream).await;
        }
        Ok(stream)
    }

    async fn dial(self, uri: Uri) -> Result<Stream, Failure> {
        let Some(proxy) = self.proxies.intercept(&uri) else {
            return self.direct(uri).await;
        };
        if !is_tls(&uri) {
            let stream = self.direct(proxy.uri().clone()).await?;
            return Ok(Stream {
                is_proxied: true,
                ..stream
            });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), Direct(self.clone()));
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        let host = uri.host().unwrap_or_default().to_owned();
        let stream = tunnel.call(uri).await?.into_inner();
        self.secured(&host, stream).await
    }

    async fn secured(&self, host: &str, stream: Stream) -> Result<Stream, Failure> {
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let secured = self.tls.connect(name, stream).await?;
        Ok(Stream::new(Box::new(secured)))
    }
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

async fn within_limit(
    dialling: impl Future<Output = Result<Stream, Failure>>,
) -> Result<TokioIo<Stream>, Failure> {
    match timeout(CONNECT_LIMIT, dialling).await {
        Ok(dialled) => dialled.map(TokioIo::new),
        Err(_) => Err(format!("no answer within {}", spelled(CONNECT_LIMIT)).into()),
    }
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Dialling<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(within_limit(self.clone().dial(uri)))
    }
}

impl Service<Uri> for Direct {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Dialling<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(within_limit(self.0.clone().direct(uri)))
    }
}

impl Stream {
    fn new(inner: Box<dyn Io>) -> Self {
        Self {
            inner,
            is_proxied: false,
            received: 0,
        }
    }
}

impl fmt::Debug for Dialler {
    // The address of a proxy may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("is_proxied", &self.is_proxied)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.received > MOST_BYTES {
            let says = format!("the server does not stop answering: more than {MOST_BYTES} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, says)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        this.received += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?;
        this.received = 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
