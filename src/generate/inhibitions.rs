//! Inhibitions for Alertmanager: of several alerts with one cause, the one that names it is heard.

use super::quoting::promql;
use super::rules::{COMPONENT, Names};
use super::timing::site_labels;
use super::yaml::{Node, map, texts};
use crate::config::plan::Plan;

/// `inhibit_rules`, to be put into Alertmanager's config. `outage` is the operator's own alert for a lost way out.
#[must_use]
pub fn alertmanager_inhibitions(plan: &Plan, old_names: bool, outage: &str) -> String {
    let names = Names::new(old_names);
    let mut equal = vec!["probe".to_owned()];
    equal.extend(site_labels(plan).into_iter().map(|(name, _)| name));
    let rule = |source: &str, targets: &[&str]| {
        map([
            (
                "source_matchers",
                texts([
                    format!("{}=\"{}\"", COMPONENT.0, COMPONENT.1).as_str(),
                    format!("alertname=\"{source}\"").as_str(),
                ]),
            ),
            (
                "target_matchers",
                texts([
                    format!("{}=\"{}\"", COMPONENT.0, COMPONENT.1).as_str(),
                    format!("alertname=~\"{}\"", targets.join("|")).as_str(),
                ]),
            ),
            ("equal", texts(equal.iter().map(String::as_str))),
        ])
    };
    let on_arrivals = ["MailJunked", "MailDeliverySlow", "MailArrivesLate"];
    let mut beside_failing = vec![names.stale];
    beside_failing.extend(on_arrivals);
    let mut beside_blind = vec![names.failing];
    beside_blind.extend(&beside_failing);
    let way_out = map([
        (
            "source_matchers",
            texts([format!("alertname={}", promql(outage)).as_str()]),
        ),
        (
            "target_matchers",
            texts([
                format!("{}=\"{}\"", COMPONENT.0, COMPONENT.1).as_str(),
                // The clock goes on without a way out.
                "alertname!=\"CertificateExpiring\"",
            ]),
        ),
    ]);
    let rules: Vec<Node> = vec![
        rule(names.failing, &beside_failing),
        rule("MailProbeBlind", &beside_blind),
        rule("MailProbeSenderRefused", &[names.stale]),
        rule(names.stale, &[names.never_ran]),
        way_out,
    ];
    map([("inhibit_rules", rules.into())]).to_yaml()
}
