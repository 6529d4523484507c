//! Outside against inside: one mailbox reached through a provider, a balancer and a port behind it, and by handing mail to
//! the server itself. Four things that break give four different first causes.

use crate::common::stand_ins::StandIns;
use crate::common::ways_in::{Settings, WaysIn};
use crate::common::{API_KEY, Outcome, PASSWORD, binary, closed_port};
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::sinks::Received;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// Both probes, and what is between them and the mailbox.
struct World {
    ways_in: WaysIn,
    front: u16,
    brevo_port: u16,
    _stand_ins: StandIns,
}

impl World {
    /// `header` is what HAProxy sends to the ports behind it.
    fn start(settings: Settings, header: &str) -> Self {
        let mut ways_in = WaysIn::start(settings);
        let front = ways_in.balance(header)[0].2;
        let mx = SocketAddr::from(([127, 0, 0, 1], front));
        let stand_ins = StandIns::start(
            &ways_in.authority,
            Brevo::new(API_KEY, mx),
            Received::default(),
        );
        Self {
            front,
            brevo_port: stand_ins.brevo_port,
            ways_in,
            _stand_ins: stand_ins,
        }
    }

    /// One run of both probes; the reports of `external` and `internal`.
    fn run(&self) -> [Value; 2] {
        let path = self.ways_in.path().join("mailprobe.toml");
        std::fs::write(&path, self.config()).unwrap();
        let child = Command::new(binary())
            .args(["run", "--output", "json", "--config"])
            .arg(path)
            .env("BREVO_API_KEY", API_KEY)
            .env("EMAIL_MONITOR_IMAP_PASSWORD", PASSWORD)
            .env("MAILPROBE_TOKEN_KEY", "0123456789abcdef0123456789abcdef")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let outcome = Outcome::of(child);
        let reports = outcome.reports();
        ["external", "internal"].map(|name| {
            let report = reports.iter().find(|one| one["probe"] == name);
            report.unwrap_or_else(|| panic!("{outcome:#?}")).clone()
        })
    }

    fn config(&self) -> String {
        let ca = self.ways_in.path().join("ca.pem").display().to_string();
        let probe = |name: &str, sender: &str| {
            format!(
                "[[probe]]\nname = \"{name}\"\nsender = \"{sender}\"\nmailbox = \"spam\"\n\
                 to = \"spam@example.org\"\nlate_after = \"6s\"\ntimeout = \"12s\"\n\n"
            )
        };
        let front = self
            .ways_in
            .listener("smtp-front", "smtp", self.front, false);
        format!(
            r#"token_key = {{ env = "MAILPROBE_TOKEN_KEY" }}

{external}{internal}[sender.brevo]
type = "brevo"
api_key = {{ env = "BREVO_API_KEY" }}
from = "monitoring@example.org"
base_url = "https://127.0.0.1:{brevo}/v3"
ca_file = "{ca}"

[sender.inside]
type = "smtp"
host = "127.0.0.1"
port = {inside}
tls = "starttls"
tls_server_name = "mail.example.org"
ca_file = "{ca}"
from = "monitoring@example.org"

[mailbox.spam]
type = "imap"
host = "127.0.0.1"
port = {imap}
tls_server_name = "mail.example.org"
ca_file = "{ca}"
username = "spam@example.org"
password = {{ env = "EMAIL_MONITOR_IMAP_PASSWORD" }}
junk = "none"

{front}"#,
            external = probe("external", "brevo"),
            internal = probe("internal", "inside"),
            brevo = self.brevo_port,
            inside = self.ways_in.port("smtp"),
            imap = self.ways_in.port("imaps"),
        )
    }
}

/// Verdict and cause.
fn outcome(report: &Value) -> (&str, Option<&str>) {
    (
        report["verdict"].as_str().unwrap(),
        report.pointer("/cause/code").and_then(Value::as_str),
    )
}

#[track_caller]
fn assert_evidence(report: &Value, words: &[&str]) {
    let said = format!(
        "{} {}",
        report["cause"]["summary"], report["cause"]["evidence"]
    );
    for word in words {
        assert!(said.contains(word), "`{word}` is not in {report:#}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn both_ways_deliver_where_all_is_well() {
    let world = World::start(Settings::default(), "send-proxy-v2");
    let [external, internal] = world.run();
    assert_eq!(
        outcome(&external),
        ("delivered", None),
        "{external:#}\n{}",
        world.ways_in.log()
    );
    assert_eq!(outcome(&internal), ("delivered", None), "{internal:#}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_way_in_without_its_header_is_deferred_outside_and_delivered_inside() {
    let world = World::start(Settings::default(), "");
    let [external, internal] = world.run();
    assert_eq!(
        outcome(&external),
        ("missing", Some("deferred")),
        "{external:#}"
    );
    assert_eq!(outcome(&internal), ("delivered", None), "{internal:#}");
    assert_evidence(
        &external,
        &[
            "421 4.3.2",
            "mail from inside arrives (`internal`)",
            "listener `smtp-front`",
            "demands a PROXY header",
        ],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_server_that_loses_mail_is_named_by_both_ways() {
    let settings = Settings {
        main: "virtual_transport = discard:\n".to_owned(),
        ..Settings::default()
    };
    let world = World::start(settings, "send-proxy-v2");
    let [external, internal] = world.run();
    assert_eq!(
        outcome(&external),
        ("missing", Some("accepted_by_mx_not_in_mailbox")),
        "{external:#}"
    );
    assert_eq!(outcome(&internal).0, "missing", "{internal:#}");
    assert_evidence(
        &external,
        &["other probes' mail does not arrive either (`internal`)"],
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_mailbox_that_is_down_makes_both_blind() {
    let mut world = World::start(Settings::default(), "send-proxy-v2");
    world.ways_in.stop_dovecot();
    for report in world.run() {
        assert_eq!(
            outcome(&report),
            ("undetermined", Some("mailbox_unreachable")),
            "{report:#}"
        );
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_probe_that_does_not_get_out_is_refused_outside_and_delivered_inside() {
    let mut world = World::start(Settings::default(), "send-proxy-v2");
    world.brevo_port = closed_port();
    let [external, internal] = world.run();
    assert_eq!(
        outcome(&external),
        ("refused", Some("sender_unreachable")),
        "{external:#}"
    );
    assert_eq!(outcome(&internal), ("delivered", None), "{internal:#}");
}
