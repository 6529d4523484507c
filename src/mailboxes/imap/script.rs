//! A server that follows a script, for tests: it can say what no right server would.

use super::session::Session;
use super::wire::Wire;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

/// What the server does next. In replies `{tag}` is the tag of the command read last; DONE has none of its own.
#[derive(Debug, Clone)]
pub(super) enum Line {
    /// Reads a command that contains this, and answers.
    On(&'static str, &'static str),
    /// Says this unasked.
    Say(String),
    /// Closes the connection.
    Close,
}

/// Runs the script to its end, then stays silent until the client goes; hands back what the client sent.
pub(super) fn serve(stream: DuplexStream, script: Vec<Line>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        let mut tag = String::new();
        let mut heard = Vec::new();
        for step in script {
            match step {
                Line::On(expected, reply) => {
                    let Ok(Some(line)) = lines.next_line().await else {
                        return heard;
                    };
                    assert!(line.contains(expected), "{line:?} instead of {expected:?}");
                    if let Some((first, _)) = line.split_once(' ') {
                        first.clone_into(&mut tag);
                    }
                    heard.push(line);
                    let reply = reply.replace("{tag}", &tag);
                    write.write_all(reply.as_bytes()).await.unwrap();
                }
                Line::Say(text) => {
                    let text = text.replace("{tag}", &tag);
                    // The client may have had enough.
                    if write.write_all(text.as_bytes()).await.is_err() {
                        return heard;
                    }
                }
                Line::Close => return heard,
            }
        }
        while let Ok(Some(line)) = lines.next_line().await {
            heard.push(line);
        }
        heard
    })
}

/// A session that is logged in, with a server that follows the script from there.
pub(super) async fn session(script: Vec<Line>) -> (Session, JoinHandle<Vec<String>>) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let mut whole = vec![Line::On("LOGIN", "{tag} OK in\r\n")];
    whole.extend(script);
    let server = serve(server, whole);
    let client = async_imap::Client::new(Wire::new(Box::new(client)));
    let Ok(inner) = client.login("me", "pw").await else {
        panic!("the script lets everybody in")
    };
    (Session::new(inner), server)
}
