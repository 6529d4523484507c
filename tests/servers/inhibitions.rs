//! Each inhibition, told by a real Alertmanager: of each two alerts which one is heard.

use crate::alert_rules::generated;
use crate::common::alertmanager::Alertmanager;
use crate::common::wait_until;
use serde_json::{Value, json};

/// Of a probe, and of its mail ports.
const ALERTS: [&str; 13] = [
    "MailDeliveryFailing",
    "MailProbeSenderRefused",
    "MailProbeStale",
    "MailProbeNeverRan",
    "MailProbeBlind",
    "MailJunked",
    "MailDeliverySlow",
    "MailArrivesLate",
    "MailAuthenticationFailing",
    "RecipientWasBlocked",
    "SenderQuotaLow",
    "CertificateExpiring",
    "MailListenerDown",
];

/// Which alert silences which others of the same probe.
const SILENCES: [(&str, &[&str]); 4] = [
    (
        "MailDeliveryFailing",
        &[
            "MailProbeStale",
            "MailJunked",
            "MailDeliverySlow",
            "MailArrivesLate",
        ],
    ),
    (
        "MailProbeBlind",
        &[
            "MailDeliveryFailing",
            "MailProbeStale",
            "MailJunked",
            "MailDeliverySlow",
            "MailArrivesLate",
        ],
    ),
    ("MailProbeSenderRefused", &["MailProbeStale"]),
    ("MailProbeStale", &["MailProbeNeverRan"]),
];

fn silences(one: &str, other: &str) -> bool {
    SILENCES
        .iter()
        .any(|(source, targets)| *source == one && targets.contains(&other))
}

fn same(alert: &str) -> &str {
    alert
}

fn old(alert: &str) -> &str {
    match alert {
        "MailDeliveryFailing" => "EmailRoundtripFailing",
        "MailProbeStale" => "EmailRoundtripStale",
        "MailProbeNeverRan" => "EmailRoundtripNeverRun",
        other => other,
    }
}

fn alert(name: &str, probe: &str) -> Value {
    json!({ "alertname": name, "component": "mailprobe", "probe": probe })
}

/// That exactly these are suppressed of those that it was told.
#[track_caller]
fn are_suppressed(alertmanager: &Alertmanager, mut expected: Vec<Value>, told: usize) {
    expected.sort_by_key(Value::to_string);
    wait_until("exactly these are suppressed", || {
        let (mut suppressed, active) = alertmanager.suppressed_and_active();
        suppressed.sort_by_key(Value::to_string);
        // What was told is known one after the other.
        (suppressed.len() + active.len() == told && suppressed == expected).then_some(())
    });
}

/// Each two alerts together, as alerts of a probe of their own; then a lost way out beside all of them.
fn play(arguments: &[&str], name: fn(&str) -> &str, outage: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut generate = vec!["alertmanager-inhibitions"];
    generate.extend(arguments);
    let alertmanager = Alertmanager::start(directory.path(), &generated(&generate));
    let mut told = Vec::new();
    let mut expected = Vec::new();
    for (at, one) in ALERTS.iter().enumerate() {
        for other in &ALERTS[at + 1..] {
            let probe = format!("{one}-{other}");
            for (this, that) in [(one, other), (other, one)] {
                let alert = alert(name(this), &probe);
                if silences(that, this) {
                    expected.push(alert.clone());
                }
                told.push(alert);
            }
        }
    }
    // Somebody else's, of a probe that fails.
    told.push(json!({ "alertname": name("MailProbeStale"), "probe": "other" }));
    told.push(alert(name("MailDeliveryFailing"), "other"));
    alertmanager.alert(&told);
    assert_eq!(expected.len(), 11);
    are_suppressed(&alertmanager, expected, told.len());
    let all = told
        .iter()
        .filter(|one| one["component"] == "mailprobe" && one["alertname"] != "CertificateExpiring")
        .cloned()
        .collect();
    told.push(json!({ "alertname": outage }));
    alertmanager.alert(&told[told.len() - 1..]);
    are_suppressed(&alertmanager, all, told.len());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn alertmanager_lets_the_alert_be_heard_that_names_the_cause() {
    play(&[], same, "InternetDown");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn alertmanager_knows_the_old_names_and_the_outage_by_its_own_name() {
    play(
        &["--old-names", "--outage", "Way \"out\" is.down"],
        old,
        "Way \"out\" is.down",
    );
}
