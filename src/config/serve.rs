//! `[serve]`.

use super::Environment;
use super::document::Section;
use super::plan::ServePlan;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9797);
const DEFAULT_LISTENER_INTERVAL: Duration = Duration::from_secs(20 * 60);
const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(60);
/// A shorter token is guessed.
const SHORTEST_TOKEN: usize = 16;

/// The section; its defaults where there is none. The token is read only if `environment` is given.
pub(super) fn serve(file: &Section<'_>, environment: Option<Environment<'_>>) -> ServePlan {
    let mut plan = ServePlan {
        listen: DEFAULT_LISTEN,
        state_dir: None,
        token: None,
        listener_interval: DEFAULT_LISTENER_INTERVAL,
        min_interval: DEFAULT_MIN_INTERVAL,
    };
    let Some(section) = file.table("serve") else {
        return plan;
    };
    let listen = section.checked("listen", |text| {
        text.parse::<SocketAddr>().map_err(|_| {
            "is no address and port, such as \"127.0.0.1:9797\" or \"0.0.0.0:9797\"".to_owned()
        })
    });
    plan.listen = listen.unwrap_or(plan.listen);
    plan.state_dir = section.checked("state_dir", |text| {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        Ok(PathBuf::from(text))
    });
    plan.token = section.secret("token", environment);
    if let (Some(token), Some(entry)) = (&plan.token, section.entry("token"))
        && token.value.expose().len() < SHORTEST_TOKEN
    {
        entry.hidden_fault(&format!(
            "has {} bytes, expected {SHORTEST_TOKEN} or more; `openssl rand -hex 16` makes one",
            token.value.expose().len()
        ));
    }
    if !plan.listen.ip().is_loopback() && section.entry("token").is_none() {
        section.warn("`listen` is not loopback and there is no `token`: every POST is refused; set `token` to have runs and reloads asked for");
    }
    for (key, value) in [
        ("listener_interval", &mut plan.listener_interval),
        ("min_interval", &mut plan.min_interval),
    ] {
        let read = section.duration(key, *value);
        if let (Some(Duration::ZERO), Some(entry)) = (read, section.entry(key)) {
            entry.fault("must be more than 0");
        }
        *value = read.unwrap_or(*value);
    }
    section.end();
    plan
}
