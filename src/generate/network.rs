//! Where the program connects to, by port: what a network policy has to let out.

use crate::config::plan::{Plan, Resolver, SenderPlan, SinkPlan};
use std::collections::BTreeSet;
use url::Url;

const DNS: u16 = 53;
const HTTPS: u16 = 443;
/// Uptime Kuma's push URL is a secret, which is not read here: its own port, and those of what may stand before it.
const UPTIME_KUMA: [u16; 3] = [80, HTTPS, 3001];

/// The ports of a config, each once, in order.
pub struct Ports {
    /// Of questions to the DNS, by UDP and by TCP.
    pub dns: BTreeSet<u16>,
    /// Of everything else, by TCP.
    pub tcp: BTreeSet<u16>,
}

impl Ports {
    /// What runs, checks and reports of this config connect to.
    pub fn of(plan: &Plan) -> Self {
        let mut dns = BTreeSet::from([DNS]);
        if let Some(plan) = &plan.dns {
            if let Resolver::Server(address) = plan.resolver {
                dns.insert(address.port());
            }
            dns.extend(plan.compare_with.map(|address| address.port()));
        }
        let mut tcp = BTreeSet::new();
        for probe in &plan.probes {
            tcp.insert(probe.mailbox.port);
            tcp.insert(match probe.sender.as_ref() {
                SenderPlan::Brevo(brevo) => of_url(&brevo.base_url),
                SenderPlan::Smtp(smtp) => smtp.port,
                SenderPlan::Api(api) => of_url(&api.base_url),
            });
        }
        tcp.extend(plan.listeners.iter().map(|listener| listener.port));
        for sink in &plan.sinks {
            match sink.as_ref() {
                SinkPlan::Pushgateway(gateway) => tcp.extend([of_url(&gateway.url)]),
                SinkPlan::UptimeKuma(_) => tcp.extend(UPTIME_KUMA),
            }
        }
        Self { dns, tcp }
    }
}

fn of_url(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(HTTPS)
}
