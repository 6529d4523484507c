//! What the program uses of `[[listener]]`.

use crate::net::proxy_protocol::{ProxyProtocol, Version};
use crate::probe::listener::Protocol;
use std::path::PathBuf;

/// A mail port to be checked.
#[derive(Debug, Clone)]
pub struct ListenerPlan {
    /// Unique in the file; as a probe's.
    pub name: String,
    /// Host name or address to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What the port speaks.
    pub protocol: Protocol,
    /// The PROXY header that the port demands, if it does.
    pub proxy: Option<ProxyProtocol>,
    /// The name that the certificate must carry; `host` where the config does not say.
    pub tls_server_name: String,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// See that it refuses to relay for strangers.
    pub relay_check: bool,
    /// Ask it the other way in scheduled checks as well: without the header that it demands, or with one that it must
    /// not take.
    pub opposite_check: bool,
}

impl ListenerPlan {
    /// Protocol, host and port, for messages: `smtp 10.0.20.1:2525 behind PROXY v2`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let Self {
            host,
            port,
            protocol,
            ..
        } = self;
        let header = self
            .header_name()
            .map(|version| format!(" behind PROXY {version}"))
            .unwrap_or_default();
        format!("{} {host}:{port}{header}", protocol.name())
    }

    /// The version of the header that the port demands, as the config writes it.
    #[must_use]
    pub fn header_name(&self) -> Option<&'static str> {
        self.proxy.map(|proxy| match proxy.version {
            Version::V1 => "v1",
            Version::V2 => "v2",
        })
    }
}
