//! TCP to a host by its name.

use super::spelled;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// A connection to a host, over all its addresses, for a conversation of small messages that wait for their answers.
///
/// # Errors
/// Why the last address did not answer, or why the name has none; at the latest after `limit`.
pub async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let addresses = match timeout_at(end, lookup_host((host, port))).await {
        Ok(found) => found?.collect(),
        Err(_) => {
            return Err(io::Error::other(format!(
                "the name was not resolved within {}",
                spelled(limit)
            )));
        }
    };
    let stream = connect_any(addresses, end).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Each address has its share of the time: one that swallows packets, such as an IPv6 address without a way there, must
/// not use up what the next one needs.
async fn connect_any(addresses: Vec<SocketAddr>, end: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = end.saturating_duration_since(Instant::now()) / left.max(1);
        last = match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other(format!(
                "no answer from {address} within {}",
                spelled(share)
            )),
        };
        left = left.saturating_sub(1);
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn an_address_that_swallows_packets_leaves_time_for_the_next_one() {
        // Nobody accepts, and there is room for one: what comes after it gets no answer.
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(0).unwrap();
        let swallows = full.local_addr().unwrap();
        let _first = TcpStream::connect(swallows).await.unwrap();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = good.local_addr().unwrap();

        let end = Instant::now() + Duration::from_secs(2);
        let error = connect_any(vec![swallows], Instant::now() + Duration::from_secs(1))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("no answer from {swallows} within 1 s")
        );
        let stream = connect_any(vec![swallows, answers], end).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn a_name_without_an_address_and_a_closed_port_are_told_as_they_are() {
        let error = connect_any(Vec::new(), Instant::now()).await.unwrap_err();
        assert_eq!(error.to_string(), "the name has no address");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let limit = Duration::from_secs(5);
        let error = connect("127.0.0.1", port, limit).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
