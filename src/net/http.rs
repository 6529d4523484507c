//! One way to HTTP: every answer bounded in size and time, no redirect followed, certificates checked.

use super::tls::{CertificateFault, Tls, TlsError, certificate_fault};
use super::{milliseconds, quotable, spelled};
use crate::log::About;
use crate::secret::Secret;
use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// How long a connection may take, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection is kept this long for the run's next request. The next run comes later than servers keep one.
const KEPT_ALIVE: Duration = Duration::from_secs(15);
/// So many idle ones are kept, however many requests there were at once.
const MOST_IDLE: usize = 8;
/// Longer answers are cut off. Lists of a hundred blocked contacts have a tenth of it.
const LARGEST_BODY: usize = 512 * 1024;
/// What a server asks to wait is read up to this; nobody waits so long.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A client for one endpoint.
#[derive(Debug)]
pub struct Http {
    client: Client,
    tls: Tls,
    host: String,
    is_tls: bool,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body, as far as it was read.
    pub body: Vec<u8>,
    /// Why the end of the body is missing, as a clause; none where it came whole.
    pub cut: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection: nothing was sent.
    Unreachable(String),
    /// The server's certificate is not valid for it: nothing was sent.
    Certificate(CertificateFault),
    /// The request may have been received, and no answer came in this time.
    TimedOut(Duration),
    /// The request may have been received, and the connection ended or made no sense.
    Broken(String),
}

impl Http {
    /// A client for this endpoint, and no other. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(endpoint: &Url, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let tls = Tls::new(ca_file)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls.config().as_ref().clone())
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(KEPT_ALIVE)
            .pool_max_idle_per_host(MOST_IDLE)
            .user_agent(concat!("mailprobe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TlsError::Rustls(chain(&error)))?;
        Ok(Self {
            client,
            tls,
            host: endpoint.host_str().unwrap_or_default().to_owned(),
            is_tls: endpoint.scheme() == "https",
        })
    }

    /// The client, to make requests with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the answer, both within `limit`.
    ///
    /// # Errors
    /// No answer.
    pub async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Answer, Fault> {
        let end = Instant::now() + limit;
        let begun = Instant::now();
        let answer = match timeout_at(end, request.send()).await {
            Ok(Ok(response)) => Ok(read(response, end, limit).await),
            Ok(Err(error)) => Err(self.fault(error)),
            Err(_) => Err(Fault::TimedOut(limit)),
        };
        let milliseconds = milliseconds(begun.elapsed());
        let about = About::current();
        match &answer {
            Ok(answer) => {
                tracing::trace!(
                    probe = about.probe,
                    token = about.token(),
                    host = self.host,
                    status = answer.status,
                    bytes = answer.body.len(),
                    milliseconds,
                    "http answer"
                );
            }
            Err(fault) => {
                tracing::trace!(
                    probe = about.probe,
                    token = about.token(),
                    host = self.host,
                    fault = fault.to_string(),
                    milliseconds,
                    "http failure"
                );
            }
        }
        answer
    }

    fn fault(&self, error: reqwest::Error) -> Fault {
        let error = error.without_url();
        let certificate = self.tls.certificate();
        if let Some(fault) = certificate_fault(&error, &self.host, certificate.as_ref()) {
            return Fault::Certificate(fault);
        }
        if error.is_connect() {
            Fault::Unreachable(chain(&error))
        } else {
            Fault::Broken(chain(&error))
        }
    }

    /// Whether the endpoint speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The end of validity of the certificate that the server showed last.
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<DateTime<Utc>> {
        self.tls.certificate().map(|one| one.not_after)
    }
}

async fn read(mut response: Response, end: Instant, limit: Duration) -> Answer {
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: Vec::new(),
        cut: None,
    };
    loop {
        answer.cut = match timeout_at(end, response.chunk()).await {
            Ok(Ok(Some(chunk))) if answer.body.len() + chunk.len() <= LARGEST_BODY => {
                answer.body.extend_from_slice(&chunk);
                continue;
            }
            Ok(Ok(Some(_))) => Some(format!("it goes on beyond {LARGEST_BODY} bytes")),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => {
                let error = chain(&error.without_url());
                Some(format!("the connection broke off: {error}"))
            }
            Err(_) => Some(format!("it has no end within {}", spelled(limit))),
        };
        return answer;
    }
}

impl Answer {
    /// The body as JSON of this shape, if it is.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The beginning of the body on one line, for quoting.
    #[must_use]
    pub fn quote(&self) -> String {
        quotable(&String::from_utf8_lossy(&self.body))
    }

    /// A header field as a number of seconds, rounded up; a year at the most.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        let text = self.headers.get(name)?.to_str().ok()?;
        let seconds: f64 = text.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds.ceil())
            .ok()
            .map(|wait| wait.min(LONGEST_WAIT))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "no connection: {reason}"),
            Self::Certificate(fault) => f.write_str(&fault.reason),
            Self::TimedOut(limit) => {
                write!(f, "no answer within {}", spelled(*limit))
            }
            Self::Broken(reason) => write!(f, "the connection broke off: {reason}"),
        }
    }
}

/// The request with Basic credentials (RFC 7617). A server may echo them as they were sent, so they are a secret as a whole.
pub fn with_basic(request: RequestBuilder, username: &str, password: &Secret) -> RequestBuilder {
    password.remember_derived(&format!("{username}:{}", password.expose()));
    request.basic_auth(username, Some(password.expose()))
}

/// An error and what is behind it, each once.
fn chain(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Layers that say nothing, and those that repeat what they wrap.
        let is_empty = text == "error sending request" || text.starts_with("client error");
        if !is_empty && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    quotable(&parts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that reads a request and answers with these bytes; nothing keeps it from saying nonsense.
    async fn answering(bytes: &'static [u8], hold: bool) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(bytes).await;
                if hold {
                    tokio::spawn(async move {
                        let _ = stream.read(&mut request).await;
                    });
                }
            }
        });
        url.parse().unwrap()
    }

    async fn ask(url: &Url) -> Result<Answer, Fault> {
        let http = Http::new(url, None).unwrap();
        http.send(http.client().get(url.clone()), Duration::from_millis(300))
            .await
    }

    #[tokio::test]
    async fn servers_that_stall_babble_or_cut_off_are_told_apart() {
        let stalls = ask(&answering(b"", true).await).await.unwrap_err();
        assert_eq!(stalls, Fault::TimedOut(Duration::from_millis(300)));
        let cuts = ask(&answering(b"", false).await).await.unwrap_err();
        assert!(matches!(cuts, Fault::Broken(_)), "{cuts:?}");
        let babbles = ask(&answering(b"220 mail.example.org ESMTP\r\n", true).await)
            .await
            .unwrap_err();
        assert!(matches!(babbles, Fault::Broken(_)), "{babbles:?}");
    }

    #[tokio::test]
    async fn nothing_listening_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        drop(listener);
        let fault = ask(&url).await.unwrap_err();
        assert!(
            matches!(&fault, Fault::Unreachable(reason) if reason.contains("refused")),
            "{fault:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_without_its_whole_body_keeps_its_status() {
        let begun = b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{\"mess";
        let answer = ask(&answering(begun, false).await).await.unwrap();
        assert_eq!(answer.status, 201);
        let cut = answer.cut.unwrap();
        assert!(cut.starts_with("the connection broke off: "), "{cut}");
        let answer = ask(&answering(begun, true).await).await.unwrap();
        let cut = answer.cut.as_deref();
        assert_eq!(
            (answer.status, cut),
            (201, Some("it has no end within 300 ms"))
        );
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let url = answering(
            b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            false,
        )
        .await;
        assert_eq!(ask(&url).await.unwrap().status, 301);
    }

    #[test]
    fn basic_credentials_are_a_secret_in_the_form_in_which_they_are_sent() {
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let http = Http::new(&url, None).unwrap();
        let request = http.client().get(url);
        let request = with_basic(
            request,
            "gateway-user",
            &Secret::new("basic-credentials-known"),
        )
        .build()
        .unwrap();
        let sent = request.headers()["authorization"].to_str().unwrap();
        assert!(sent.len() > "Basic ".len());
        assert_eq!(
            quotable(&format!("you sent authorization: {sent}")),
            "you sent authorization: Basic <secret>"
        );
    }
}
