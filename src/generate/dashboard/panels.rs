//! Which panels there are, and what each asks for.

use crate::config::plan::Plan;
use crate::generate::rules::CERTIFICATE_DAYS;
use crate::generate::timing::{SLACK, Timing};
use crate::metrics::{
    AUTHENTICATION, CAUSE, CERTIFICATE_EXPIRY, DURATION, HOP_DELAY_MAX, HOPS, LAST_DELIVERY,
    LAST_DELIVERY_ERROR, LAST_SUCCESS, LATE_ARRIVALS, LISTENER_UP, Metric, NEXT_RUN,
    QUOTA_REMAINING, RECIPIENT_UNBLOCKED, SPAM_SCORE, STAGE_DURATION, SUCCESS, VERDICT,
};

/// A panel, before it has its place.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: &'static str,
    /// Of 24.
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) unit: &'static str,
    /// Expression and legend of each series.
    pub(super) targets: Vec<(String, &'static str)>,
    pub(super) colours: Colours,
}

/// What the colours of a panel stand for.
pub(super) enum Colours {
    /// One series or another.
    Series,
    /// Of two series the first is filled down to the second. Grafana finds that by its whole legend, which therefore names
    /// no probe: each has a panel of its own.
    Band,
    /// How good the value is, for all series.
    Steps(Steps),
    /// How good the value is for the probe that the series is of. A probe of another config has no limits here.
    OfProbes(Vec<(String, Steps)>),
    /// The state whose number the value is: the first one's number, then names and colours.
    States(usize, &'static [(&'static str, &'static str)]),
}

/// The colour of the lowest values, and from where on there is another.
pub(super) struct Steps(pub(super) &'static str, pub(super) Vec<(f64, &'static str)>);

/// The selector of the probes that the viewer chose.
const CHOSEN: &str = r#"probe=~"$probe""#;

/// The verdicts, numbered from 1 on, and their colours.
const VERDICTS: [(&str, &str); 8] = [
    ("delivered", "green"),
    ("late", "yellow"),
    ("junked", "orange"),
    ("overdue", "light-yellow"),
    ("refused", "purple"),
    ("bounced", "dark-red"),
    ("missing", "red"),
    ("undetermined", "gray"),
];

/// The results of SPF, DKIM and DMARC. Those that MailAuthenticationFailing is about are red or orange.
const RESULTS: [(&str, &str); 8] = [
    ("pass", "green"),
    ("none", "gray"),
    ("neutral", "light-blue"),
    ("temperror", "yellow"),
    ("softfail", "orange"),
    ("policy", "dark-orange"),
    ("permerror", "dark-red"),
    ("fail", "red"),
];

/// What [`LISTENER_UP`] says, from 0 on.
const LISTENER: [(&str, &str); 2] = [("down", "red"), ("up", "green")];

/// The largest value over all instances: a restarted pod is another instance of the same probe.
fn max(metric: &Metric) -> String {
    format!("max by (probe) ({metric}{{{CHOSEN}}})")
}

/// The number of the state whose series is 1.
fn numbered(metric: &Metric, by: &str, label: &str, states: &[(&str, &str)]) -> String {
    let states: Vec<String> = states
        .iter()
        .zip(1..)
        .map(|((state, _), number)| {
            format!("{number} * (max by ({by}) ({metric}{{{CHOSEN},{label}=\"{state}\"}}) == 1)\n")
        })
        .collect();
    format!("sum by ({by}) (\n  {})", states.join("  or "))
}

fn of_probes(plan: &Plan, steps: impl Fn(Timing) -> Steps) -> Colours {
    let probes = plan.probes.iter();
    let probes = probes.map(|probe| (probe.name.clone(), steps(Timing::new(probe))));
    Colours::OfProbes(probes.collect())
}

/// Yellow once the run after that success must have failed or got lost, red once MailProbeStale says so of a run.
fn since_success(timing: Timing) -> Steps {
    let fresh = timing.longest + timing.run + SLACK;
    Steps(
        "green",
        vec![
            (fresh.as_secs_f64(), "yellow"),
            (timing.oldest.as_secs_f64(), "red"),
        ],
    )
}

/// Below zero while a run is under way: yellow when it must be over, red when MailProbeStale says so.
fn until_due(timing: Timing) -> Steps {
    let over = timing.run + SLACK;
    Steps(
        "red",
        vec![
            (-timing.overdue.as_secs_f64(), "yellow"),
            (-over.as_secs_f64(), "green"),
        ],
    )
}

/// What has data wherever a run was a success.
pub(super) fn of_every_run(plan: &Plan) -> Vec<Panel> {
    let mut panels = outcomes(plan);
    panels.extend(times());
    panels.extend(surroundings());
    panels
}

fn outcomes(plan: &Plan) -> Vec<Panel> {
    vec![
        Panel {
            title: "Verdict",
            description: "What each run came to, and overdue while one waits beyond late_after.",
            kind: "state-timeline",
            width: 24,
            height: 5,
            unit: "none",
            targets: vec![(
                numbered(&VERDICT, "probe", "verdict", &VERDICTS),
                "{{probe}}",
            )],
            colours: Colours::States(1, &VERDICTS),
        },
        Panel {
            title: "Delivered, last 7 days",
            description: "Share of the time in which the last run was a success: green from 99 %, red below 90 %.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "percentunit",
            targets: vec![(
                format!("avg by (probe) (avg_over_time({SUCCESS}{{{CHOSEN}}}[7d]))"),
                "{{probe}}",
            )],
            colours: Colours::Steps(Steps("red", vec![(0.9, "yellow"), (0.99, "green")])),
        },
        Panel {
            title: "Since the last success",
            description: "Grows while nothing succeeds, and while nothing runs: yellow when a run must have failed or got lost, red when two must.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "s",
            targets: vec![(format!("time() - {}", max(&LAST_SUCCESS)), "{{probe}}")],
            colours: of_probes(plan, since_success),
        },
        Panel {
            title: "Until the next run is due",
            description: "Below zero while a run is under way: yellow when it must be over, red when the next one must be, too: the probe does not run.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "s",
            targets: vec![(format!("{} - time()", max(&NEXT_RUN)), "{{probe}}")],
            colours: of_probes(plan, until_due),
        },
        Panel {
            title: "Cause of the last run",
            description: "None while all is well; the README has a remedy for each.",
            kind: "table",
            width: 12,
            height: 5,
            unit: "none",
            targets: vec![(
                format!("max by (probe, cause) ({CAUSE}{{{CHOSEN}}}) == 1"),
                "{{probe}}: {{cause}}",
            )],
            colours: Colours::Series,
        },
    ]
}

fn times() -> Vec<Panel> {
    let of_a_day =
        |function: &str| format!("max by (probe) ({function}{LAST_DELIVERY}{{{CHOSEN}}}[1d]))");
    vec![
        Panel {
            title: "Delivery time of $probe, at most and at least",
            description: "From acceptance by the sender until the message was seen; it may have been there earlier by the error at most.",
            kind: "timeseries",
            width: 24,
            height: 8,
            unit: "s",
            targets: vec![
                (max(&LAST_DELIVERY), "at most"),
                (
                    format!("{} - {}", max(&LAST_DELIVERY), max(&LAST_DELIVERY_ERROR)),
                    "at least",
                ),
            ],
            colours: Colours::Band,
        },
        Panel {
            title: "Delivery time, percentiles of a day",
            description: "Over the time that each value stood.",
            kind: "timeseries",
            width: 8,
            height: 8,
            unit: "s",
            targets: vec![
                (of_a_day("quantile_over_time(0.5, "), "{{probe}} median"),
                (of_a_day("quantile_over_time(0.95, "), "{{probe}} 95 %"),
                (of_a_day("max_over_time("), "{{probe}} slowest"),
            ],
            colours: Colours::Series,
        },
        Panel {
            title: "Stages of the last run",
            description: "Where the time goes.",
            kind: "timeseries",
            width: 8,
            height: 8,
            unit: "s",
            targets: vec![(
                format!("max by (probe, stage) ({STAGE_DURATION}{{{CHOSEN}}})"),
                "{{probe}} {{stage}}",
            )],
            colours: Colours::Series,
        },
        Panel {
            title: "Time of the whole run",
            description: "From the start of the send until the message was seen, or until the run gave up.",
            kind: "timeseries",
            width: 8,
            height: 8,
            unit: "s",
            targets: vec![(max(&DURATION), "{{probe}}")],
            colours: Colours::Series,
        },
    ]
}

fn surroundings() -> Vec<Panel> {
    vec![
        Panel {
            title: "Late arrivals",
            description: "Messages of earlier runs that turned up since: delayed, not lost.",
            kind: "timeseries",
            width: 8,
            height: 7,
            unit: "none",
            targets: vec![(max(&LATE_ARRIVALS), "{{probe}}")],
            colours: Colours::Series,
        },
        Panel {
            title: "Quota left at the sender",
            description: "How many more messages it will take, where it tells.",
            kind: "timeseries",
            width: 8,
            height: 7,
            unit: "none",
            targets: vec![(
                format!("min by (probe) ({QUOTA_REMAINING}{{{CHOSEN}}})"),
                "{{probe}}",
            )],
            colours: Colours::Series,
        },
        Panel {
            title: "Blocks lifted",
            description: "1 where the provider had the recipient on its block list.",
            kind: "timeseries",
            width: 8,
            height: 7,
            unit: "none",
            targets: vec![(max(&RECIPIENT_UNBLOCKED), "{{probe}}")],
            colours: Colours::Series,
        },
        Panel {
            title: "Certificates, days left",
            description: "Of each probe's mailbox and sender, and of each listener: red while CertificateExpiring fires.",
            kind: "bargauge",
            width: 12,
            height: 7,
            unit: "d",
            targets: vec![(
                // Those of listeners have no probe.
                format!(
                    r#"(min by (probe, endpoint) ({CERTIFICATE_EXPIRY}{{probe=~"$probe|"}}) - time()) / 86400"#
                ),
                "{{probe}} {{endpoint}}",
            )],
            colours: Colours::Steps(Steps("red", vec![(f64::from(CERTIFICATE_DAYS), "green")])),
        },
        Panel {
            title: "Pushes that arrived",
            description: "Time since the gateway last took a push of each probe.",
            kind: "timeseries",
            width: 12,
            height: 7,
            unit: "s",
            targets: vec![(
                format!("time() - max by (probe) (push_time_seconds{{{CHOSEN}}})"),
                "{{probe}}",
            )],
            colours: Colours::Series,
        },
    ]
}

/// What has data only where the config, the mail server or `serve` brings it.
pub(super) fn that_depend() -> Vec<Panel> {
    vec![
        Panel {
            title: "SPF, DKIM, DMARC",
            description: "Results that the receiving server wrote, by its `authserv_ids`.",
            kind: "state-timeline",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![(
                numbered(&AUTHENTICATION, "probe, method", "result", &RESULTS),
                "{{probe}} {{method}}",
            )],
            colours: Colours::States(1, &RESULTS),
        },
        Panel {
            title: "Spam score",
            description: "What the spam filter gave the last message.",
            kind: "timeseries",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![(max(&SPAM_SCORE), "{{probe}}")],
            colours: Colours::Series,
        },
        Panel {
            title: "Hops, and the slowest of them",
            description: "From the Received headers of the last message.",
            kind: "timeseries",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![
                (max(&HOPS), "{{probe}} hops"),
                (max(&HOP_DELAY_MAX), "{{probe}} slowest hop, seconds"),
            ],
            colours: Colours::Series,
        },
        Panel {
            title: "Listeners",
            description: "Up where the mail port does all that it should.",
            kind: "state-timeline",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![(format!("max by (endpoint) ({LISTENER_UP})"), "{{endpoint}}")],
            colours: Colours::States(0, &LISTENER),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::AuthResult;
    use crate::probe::verdict::Verdict;
    use std::collections::BTreeSet;

    #[test]
    fn every_verdict_and_every_result_has_a_number_and_a_colour_of_its_own() {
        let verdicts = Verdict::ALL.map(Verdict::name);
        let verdicts = verdicts.into_iter().chain(["overdue"]).collect();
        let results = AuthResult::ALL.map(AuthResult::name).into();
        let cases: [(_, BTreeSet<&str>); 2] = [(VERDICTS, verdicts), (RESULTS, results)];
        for (states, all) in cases {
            let (names, colours): (BTreeSet<_>, BTreeSet<_>) = states.into_iter().unzip();
            assert_eq!(names, all);
            assert_eq!(colours.len(), states.len(), "{states:?}");
        }
    }
}
