//! Real servers on loopback, in a directory of their own: one file a server. Brevo and Uptime Kuma cannot be installed,
//! so stand-ins take their place.
//!
//! [`Site::start`] gives a test a whole mail server with everything that a probe needs around it, in a tenth of a second.
//! Every server listens on a port of its own, keeps all its files below the site's directory, and ends with the site,
//! also when the test panics or its process is killed: tests run side by side, and leave nothing behind.

#![allow(
    dead_code,
    unused_imports,
    reason = "the server tests and the benchmark each use a part of it"
)]

pub mod alertmanager;
pub mod alone;
pub mod crowd;
pub mod detection;
pub mod dovecot;
pub mod fleet;
pub mod image;
pub mod kills;
pub mod machine;
mod outcome;
pub mod policy;
pub mod postfix;
pub mod process;
pub mod prometheus;
pub mod pushgateway;
pub mod rspamd;
mod site;
pub mod soak;
pub mod stand_ins;
pub mod stored;
pub mod tap;
pub mod ways_in;
pub mod weather;

pub use outcome::Outcome;
pub use process::{closed_port, free_port};
pub use site::{Settings, Site, binary};

use std::time::{Duration, Instant};

pub const API_KEY: &str = "xkeysib-5ae1c0ffee5ae1c0ffee5ae1c0ffee-known";
pub const PASSWORD: &str = "correct-horse battery \"staple\"";
pub const KUMA_TOKEN: &str = "KumaPushTokenKnownToTests";
/// What no output may show, with the password as it stands quoted in a LOGIN, and in base64 in a SASL PLAIN.
pub const SECRETS: [&str; 6] = [
    API_KEY,
    PASSWORD,
    "correct-horse",
    "staple",
    KUMA_TOKEN,
    "AHNwYW1AZXhhbXBsZS5vcmcAY29ycmVjdC1ob3JzZ",
];

/// Waits for a condition, with a limit.
#[track_caller]
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "after 30 s still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
