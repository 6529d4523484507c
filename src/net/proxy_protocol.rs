//! The header of the PROXY protocol, versions 1 and 2 (HAProxy's `doc/proxy-protocol.txt`): what a load balancer says
//! first on a connection, before TLS, so that the server behind it learns the client's address.
//!
//! There is no negotiation: both ends have to be set to the same. The receiver says nothing before it has the header.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The first bytes of version 2, chosen so that no other protocol takes them for its own.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
/// Family and transport.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// At most 107 bytes, into an empty socket buffer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// Which version of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A header to send: `proxy_protocol` and `proxy_source` of the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Which version.
    pub version: Version,
    /// The client address to claim; none for the true one.
    pub source: Option<SocketAddr>,
}

impl ProxyProtocol {
    /// Sends the header. Nothing may have been written to the connection before.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&self, stream: &mut TcpStream) -> io::Result<()> {
        let source = match self.source {
            Some(source) => source,
            None => stream.local_addr()?,
        };
        let header = header(self.version, source, stream.peer_addr()?);
        let write = async {
            stream.write_all(&header).await?;
            stream.flush().await
        };
        timeout(WRITE_LIMIT, write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The bytes of a header. The source decides the address family: it is what the receiver logs and believes. A
/// destination of the other family becomes the unspecified address of this one.
#[must_use]
pub fn header(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = same_family(source.ip(), destination.ip());
    let ports = [source.port(), destination.port()];
    match version {
        Version::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let [sport, dport] = ports;
            format!("PROXY {family} {from} {to} {sport} {dport}\r\n").into_bytes()
        }
        Version::V2 => {
            let mut addresses = Vec::with_capacity(36);
            for address in [from, to] {
                match address {
                    IpAddr::V4(v4) => addresses.extend(v4.octets()),
                    IpAddr::V6(v6) => addresses.extend(v6.octets()),
                }
            }
            addresses.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            // 12 or 36.
            let length = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
            let mut header = SIGNATURE.to_vec();
            header.push(VERSION_AND_COMMAND);
            header.push(if from.is_ipv4() { TCP4 } else { TCP6 });
            header.extend(length.to_be_bytes());
            header.extend(addresses);
            header
        }
    }
}

fn same_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    let (source, destination) = (source.to_canonical(), destination.to_canonical());
    let destination = match (source, destination) {
        (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), IpAddr::V4(_)) => Ipv6Addr::UNSPECIFIED.into(),
        (_, same) => same,
    };
    (source, destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppp::{v1, v2};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn version_1_reads_back_as_it_was_meant() {
        for (source, destination) in [
            ("192.0.2.1:4242", "198.51.100.7:25"),
            ("[2001:db8::1]:4242", "[2001:db8::25]:65535"),
        ] {
            let bytes = header(Version::V1, address(source), address(destination));
            assert!(bytes.len() <= 107);
            let read = v1::Header::try_from(bytes.as_slice()).unwrap();
            let addresses = match read.addresses {
                v1::Addresses::Tcp4(ip) => [
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                ],
                v1::Addresses::Tcp6(ip) => [
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                ],
                v1::Addresses::Unknown => panic!("{read:?}"),
            };
            assert_eq!(addresses, [address(source), address(destination)]);
        }
    }

    #[test]
    fn version_2_reads_back_as_it_was_meant() {
        for (source, destination, length) in [
            ("192.0.2.1:4242", "198.51.100.7:25", 28),
            ("[2001:db8::1]:4242", "[2001:db8::25]:65535", 52),
        ] {
            let bytes = header(Version::V2, address(source), address(destination));
            assert_eq!(bytes.len(), length);
            let read = v2::Header::try_from(bytes.as_slice()).unwrap();
            assert_eq!(read.command, v2::Command::Proxy);
            assert_eq!(read.protocol, v2::Protocol::Stream);
            assert_eq!(read.tlv_bytes(), b"");
            let addresses = match read.addresses {
                v2::Addresses::IPv4(ip) => [
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                ],
                v2::Addresses::IPv6(ip) => [
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                ],
                other => panic!("{other:?}"),
            };
            assert_eq!(addresses, [address(source), address(destination)]);
        }
    }

    #[test]
    fn the_source_decides_the_family_of_both_addresses() {
        let v4 = header(
            Version::V1,
            address("192.0.2.1:1"),
            address("[2001:db8::25]:25"),
        );
        assert_eq!(v4, b"PROXY TCP4 192.0.2.1 0.0.0.0 1 25\r\n");
        let v6 = header(
            Version::V1,
            address("[2001:db8::1]:1"),
            address("192.0.2.25:25"),
        );
        assert_eq!(v6, b"PROXY TCP6 2001:db8::1 :: 1 25\r\n");
        let mapped = header(
            Version::V1,
            address("[::ffff:192.0.2.1]:1"),
            address("192.0.2.25:25"),
        );
        assert_eq!(mapped, b"PROXY TCP4 192.0.2.1 192.0.2.25 1 25\r\n");
    }

    #[tokio::test]
    async fn without_a_source_the_true_address_is_claimed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let own = client.local_addr().unwrap();
        let proxy = ProxyProtocol {
            version: Version::V2,
            source: None,
        };
        proxy.send(&mut client).await.unwrap();
        drop(client);
        let (mut server, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.unwrap();
        let expected = header(Version::V2, own, listener.local_addr().unwrap());
        assert_eq!(bytes, expected);
    }
}
