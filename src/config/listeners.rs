//! `[[listener]]`.

use super::document::Section;
use super::plan::ListenerPlan;
use super::values::{host, probe_name};
use crate::net::proxy_protocol::{ProxyProtocol, Version};
use crate::probe::listener::Protocol;
use std::net::SocketAddr;

/// A listener; none where it has faults.
pub(super) fn listener(section: Section<'_>, known: &[String]) -> Option<ListenerPlan> {
    let name = section.required("name", |name| {
        let name = probe_name(name).map_err(|message| message.replace("a probe", "a listener"))?;
        if known.contains(&name) {
            return Err("names a second listener of this name".to_owned());
        }
        Ok(name)
    });
    let section = match &name {
        Some(name) => section.titled(format!("listener `{name}`")),
        None => section,
    };
    let address = section.required("host", host);
    let protocol = section.required("protocol", |word| {
        let found = Protocol::ALL.iter().find(|one| one.name() == word);
        found.copied().ok_or_else(|| {
            let words = Protocol::ALL.map(|one| format!("\"{}\"", one.name()));
            format!("is none of {}", words.join(", "))
        })
    });
    let port = match section.entry("port") {
        Some(_) => section.integer("port", 1, u32::from(u16::MAX)),
        None => protocol.map(|protocol| u32::from(default_port(protocol))),
    };
    let proxy = proxy(&section);
    let tls_server_name = section.checked("tls_server_name", host);
    let ca_file = section.ca_file();
    let relay_check = section.boolean("relay_check", false);
    let opposite_check = section.boolean("opposite_check", false);
    if relay_check
        && let (Some(Protocol::Imap | Protocol::Imaps | Protocol::Pop3s), Some(entry)) =
            (protocol, section.entry("relay_check"))
    {
        entry.fault("is for protocols that take mail: smtp, smtps, submission");
    }
    section.end();
    let address = address?;
    Some(ListenerPlan {
        name: name?,
        port: u16::try_from(port?).ok()?,
        protocol: protocol?,
        proxy: proxy?,
        tls_server_name: tls_server_name.unwrap_or_else(|| address.clone()),
        host: address,
        ca_file,
        relay_check,
        opposite_check,
    })
}

fn default_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Smtp => 25,
        Protocol::Smtps => 465,
        Protocol::Submission => 587,
        Protocol::Imap => 143,
        Protocol::Imaps => 993,
        Protocol::Pop3s => 995,
    }
}

/// `proxy_protocol` and `proxy_source`; the outer none where they have faults.
pub(super) fn proxy(section: &Section<'_>) -> Option<Option<ProxyProtocol>> {
    let version = section.choice(
        "proxy_protocol",
        &[
            ("none", None),
            ("v1", Some(Version::V1)),
            ("v2", Some(Version::V2)),
        ],
    );
    let source = section.checked("proxy_source", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| "is not an address and a port, such as \"192.0.2.1:4242\"".to_owned())
    });
    let is_faulty = section.entry("proxy_source").is_some() && source.is_none();
    if let (Some(None), Some(entry)) = (version, section.entry("proxy_source")) {
        entry.fault("says nothing without `proxy_protocol`");
    }
    if is_faulty {
        return None;
    }
    version.map(|version| version.map(|version| ProxyProtocol { version, source }))
}
