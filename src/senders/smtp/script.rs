//! A server that follows a script, for tests: it can say what no right server would.

use super::wire::Io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server does next.
pub(super) enum Do {
    /// Says this unasked.
    Say(&'static str),
    /// Reads a line that begins with this, and answers.
    On(&'static str, &'static str),
    /// Reads a message up to its dot, and answers.
    Message(&'static str),
    /// Reads so many bytes.
    Bytes(usize),
    /// Accepts TLS.
    Tls,
    /// Says this over and over, until the client has had enough.
    Flood(&'static str),
    /// Closes the connection.
    Close,
}

/// The usual beginning of a session without TLS.
pub(super) const HELLO: [Do; 2] = [
    Do::Say("220 mail.example.org ESMTP Postfix\r\n"),
    Do::On(
        "EHLO ",
        "250-mail.example.org\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    ),
];

/// A server for one client that follows the script to its end, then stays silent until the client says good-bye or goes; hands back
/// every line that it heard.
pub(super) async fn serve(
    script: Vec<Do>,
    acceptor: Option<TlsAcceptor>,
) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut client = Client {
            stream: Box::new(tcp),
            heard: Vec::new(),
        };
        for step in script {
            if !client.follow(step, acceptor.as_ref()).await {
                return client.heard;
            }
        }
        while client.line().await.is_some_and(|line| line != "QUIT") {}
        client.heard
    });
    (address, task)
}

struct Client {
    stream: Box<dyn Io>,
    heard: Vec<String>,
}

impl Client {
    /// Whether there is more to come.
    async fn follow(&mut self, step: Do, acceptor: Option<&TlsAcceptor>) -> bool {
        match step {
            Do::Say(text) => return self.say(text).await,
            Do::On(expected, reply) => {
                let Some(line) = self.line().await else {
                    return false;
                };
                assert!(line.starts_with(expected), "{line:?}, not {expected:?}");
                return self.say(reply).await;
            }
            Do::Message(reply) => {
                while self.line().await.is_some_and(|line| line != ".") {}
                return self.say(reply).await;
            }
            Do::Bytes(count) => {
                let mut bytes = vec![0; count];
                if self.stream.read_exact(&mut bytes).await.is_err() {
                    return false;
                }
                self.heard
                    .push(String::from_utf8_lossy(&bytes).into_owned());
            }
            Do::Tls => {
                let (nothing, _) = tokio::io::duplex(1);
                let plain = std::mem::replace(&mut self.stream, Box::new(nothing));
                match acceptor.unwrap().accept(plain).await {
                    Ok(secure) => self.stream = Box::new(secure),
                    Err(_) => return false,
                }
            }
            Do::Flood(text) => while self.say(text).await {},
            Do::Close => return false,
        }
        true
    }

    /// Whether the client is still there.
    async fn say(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Byte by byte: what comes behind a line may belong to the TLS handshake.
    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            match self.stream.read_u8().await {
                Ok(b'\n') => break,
                Ok(byte) => line.push(byte),
                Err(_) => return None,
            }
        }
        let line = String::from_utf8_lossy(&line)
            .trim_end_matches('\r')
            .to_owned();
        self.heard.push(line.clone());
        Some(line)
    }
}
