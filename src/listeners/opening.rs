//! From nothing to a connection on which lines are spoken: TCP, the PROXY header, TLS where it begins at once.

use super::Listener;
use super::lines::{Io, Lines, NoLine, Noting};
use crate::config::plan::ListenerPlan;
use crate::net::proxy_protocol::{self, Version};
use crate::net::tls::certificate_fault;
use crate::net::{quotable, tcp};
use crate::probe::listener::{Fault, Opening, Trouble, judge_opening};
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Name and TCP.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A handshake.
const TLS_LIMIT: Duration = Duration::from_secs(10);
/// Who a header of ours claims to come from where a port must not believe it: an address of documentation (RFC 5737,
/// RFC 3849), so that the log line is recognisable and stands for nobody.
const NOBODY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const NOBODY_PORT: u16 = 4242;

/// Version 2, command LOCAL, no addresses (HAProxy's `doc/proxy-protocol.txt`, section 2.2).
const LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The PROXY header of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// What the config says.
    Configured,
    /// None.
    Absent,
    /// One that a stock port must not believe. Version 1: it is one line, and costs a server one wrong command.
    Forged,
    /// "No proxied client": asks whether a port demands a header, and claims nothing.
    Local,
}

/// A TCP connection, the header written to it.
pub(super) struct Connection {
    pub(super) tcp: TcpStream,
    /// Who the server thinks the client is.
    pub(super) client: IpAddr,
    /// Whether server and client are one machine, as far as the server knows.
    pub(super) is_local: bool,
}

/// Name and TCP.
pub(super) async fn connect(plan: &ListenerPlan) -> Result<TcpStream, Trouble> {
    let connected = tcp::connect(&plan.host, plan.port, CONNECT_LIMIT).await;
    connected.map_err(|error| {
        Trouble::new(
            Fault::Unreachable,
            format!("cannot connect: {error}"),
            "does anything listen there, and does this machine get there: name, route, firewall, network policy?",
        )
    })
}

/// Writes the header: it has to be there before anything else.
pub(super) async fn introduce(
    plan: &ListenerPlan,
    mut tcp: TcpStream,
    header: Header,
) -> Result<Connection, Trouble> {
    let addresses = tcp
        .local_addr()
        .and_then(|local| Ok((local, tcp.peer_addr()?)));
    let (local, peer) = addresses.map_err(|error| broken(&error))?;
    let (bytes, source) = match (header, &plan.proxy) {
        (Header::Absent, _) | (Header::Configured, None) => (Vec::new(), local),
        (Header::Configured, Some(proxy)) => {
            let source = proxy.source.unwrap_or(local);
            (proxy_protocol::header(proxy.version, source, peer), source)
        }
        (Header::Forged, _) => {
            let nobody = if peer.is_ipv4() { NOBODY_V4 } else { NOBODY_V6 };
            let source = SocketAddr::new(nobody, NOBODY_PORT);
            (proxy_protocol::header(Version::V1, source, peer), source)
        }
        (Header::Local, _) => (LOCAL.to_vec(), local),
    };
    tcp.write_all(&bytes)
        .await
        .map_err(|error| broken(&error))?;
    Ok(Connection {
        tcp,
        client: source.ip(),
        is_local: source.ip() == peer.ip(),
    })
}

/// Lines, inside TLS where the protocol begins with it.
pub(super) async fn lines(
    listener: &Listener<'_>,
    tcp: TcpStream,
    header: Header,
) -> Result<Lines, Trouble> {
    if listener.plan.protocol.is_inside_tls() {
        secure(listener, tcp, Some(header)).await
    } else {
        Ok(Lines::new(tcp))
    }
}

/// The handshake. `opening` says that it is the first thing on the connection, and behind which header.
pub(super) async fn secure(
    listener: &Listener<'_>,
    stream: impl Io + 'static,
    opening: Option<Header>,
) -> Result<Lines, Trouble> {
    let plan = listener.plan;
    let name = ServerName::try_from(plan.tls_server_name.clone())
        .map_err(|error| Trouble::new(Fault::Tls, error.to_string(), "check `tls_server_name`"))?;
    let (noting, first) = Noting::new(stream);
    let connecting = TlsConnector::from(listener.tls.config()).connect(name, noting);
    let error = match timeout(TLS_LIMIT, connecting).await {
        Ok(Ok(stream)) => return Ok(Lines::new(stream)),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    let certificate = listener.tls.certificate();
    if let Some(fault) = certificate_fault(&error, &plan.tls_server_name, certificate.as_ref()) {
        return Err(Trouble::new(Fault::Certificate, fault.reason, fault.hint));
    }
    Err(not_tls(plan, &error, &first.take(), opening))
}

/// What it means that TLS failed with these first bytes from the server.
fn not_tls(
    plan: &ListenerPlan,
    error: &io::Error,
    first: &[u8],
    opening: Option<Header>,
) -> Trouble {
    /// Content types of TLS records (RFC 8446 section 5.1).
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let language = plan.protocol.language();
    let said = String::from_utf8_lossy(first);
    let said = quotable(said.lines().next().unwrap_or_default());
    let failed = || {
        Trouble::new(
            Fault::Tls,
            format!("the TLS handshake fails: {error}"),
            "does the server offer TLS 1.2 or 1.3, with a certificate that it can read?",
        )
    };
    let Some(header) = opening else {
        return failed();
    };
    let version = plan.header_name().filter(|_| header == Header::Configured);
    let judged = |opening| judge_opening(opening, version, plan.protocol);
    match (first.first(), error.kind()) {
        (Some(&ALERT | &HANDSHAKE), _) if version.is_some() => judged(Opening::Tls),
        (Some(&ALERT | &HANDSHAKE), _) => failed(),
        (Some(_), _) if language.is_welcome(&said) => Trouble::new(
            Fault::Tls,
            format!("speaks in clear where TLS should begin: `{said}`"),
            "is it another protocol, or has the port lost its TLS (`smtpd_tls_wrappermode`, `ssl = yes`)?",
        ),
        (Some(_), _) if language.is_spoken(&said) => judged(Opening::Said(&said)),
        (Some(_), _) => failed(),
        (None, io::ErrorKind::TimedOut) => judged(Opening::Silent(TLS_LIMIT)),
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            judged(Opening::Reset)
        }
        (None, io::ErrorKind::UnexpectedEof) => judged(Opening::Closed),
        (None, _) => failed(),
    }
}

/// What it means that there was no greeting line.
pub(super) fn no_greeting(plan: &ListenerPlan, fault: &NoLine, header: Header) -> Trouble {
    let version = plan.header_name().filter(|_| header == Header::Configured);
    let opening = match fault {
        NoLine::Closed => Opening::Closed,
        NoLine::Reset => Opening::Reset,
        NoLine::Silent(waited) => Opening::Silent(*waited),
        NoLine::Broken(reason) => {
            return Trouble::new(Fault::Broken, reason.clone(), "what else listens there?");
        }
    };
    judge_opening(opening, version, plan.protocol)
}

fn broken(error: &io::Error) -> Trouble {
    Trouble::new(
        Fault::Broken,
        format!("the connection fails at once: {error}"),
        "is the server starting, or does something in between close it?",
    )
}
