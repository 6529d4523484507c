//! `[dns]`.

use super::document::Section;
use super::plan::{DnsPlan, Resolver};
use std::net::{IpAddr, SocketAddr};

const DNS: u16 = 53;

/// Whom to ask for records; none where there are faults.
pub(super) fn dns(section: &Section<'_>) -> Option<DnsPlan> {
    let resolver = match section.entry("resolver") {
        None => Some(Resolver::System),
        Some(_) => section.checked("resolver", |text| match text {
            "system" => Ok(Resolver::System),
            text => server(text).map(Resolver::Server).ok_or_else(|| {
                "is neither \"system\" nor an address, such as \"10.0.20.201\" or \"10.0.20.201:5353\""
                    .to_owned()
            }),
        }),
    };
    let compare_with = section.checked("compare_with", |text| {
        server(text).ok_or_else(|| {
            "is no address, such as \"1.1.1.1\" or \"[2606:4700:4700::1111]:53\"".to_owned()
        })
    });
    let has_other = section.entry("compare_with").is_some();
    let dkim_selectors = match section.entry("dkim_selectors") {
        None => Some(Vec::new()),
        Some(entry) => section.strings("dkim_selectors").filter(|selectors| {
            let wrong = selectors.iter().find(|text| !is_selector(text));
            if let Some(wrong) = wrong {
                entry.fault(&format!(
                    "has `{wrong}`, which is no selector, such as \"brevo1\" or \"brevo1._domainkey.example.org\""
                ));
            }
            wrong.is_none()
        }),
    };
    section.end();
    if has_other && compare_with.is_none() {
        return None;
    }
    Some(DnsPlan {
        resolver: resolver?,
        compare_with,
        dkim_selectors: dkim_selectors?,
    })
}

fn server(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse::<SocketAddr>().ok();
    with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS)))
}

/// RFC 6376 section 3.1: labels of a domain name.
fn is_selector(text: &str) -> bool {
    text.len() <= 200
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}
