//! Which panels there are, and what each asks for.

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
}

/// The selector of the probes that the viewer chose.
const CHOSEN: &str = r#"probe=~"$probe""#;

/// The verdicts, as the state timeline numbers them from 1 on, and their colours.
pub(super) const VERDICTS: [(&str, &str); 8] = [
    ("delivered", "green"),
    ("late", "yellow"),
    ("junked", "orange"),
    ("overdue", "light-yellow"),
    ("refused", "purple"),
    ("bounced", "dark-red"),
    ("missing", "red"),
    ("undetermined", "gray"),
];

/// The largest value over all instances: a restarted pod is another instance of the same probe.
fn max(metric: &Metric) -> String {
    format!("max by (probe) ({metric}{{{CHOSEN}}})")
}

/// The number of the state whose series is 1.
fn numbered(metric: &Metric, label: &str, states: &[(&str, &str)]) -> String {
    let states: Vec<String> = states
        .iter()
        .zip(1..)
        .map(|((state, _), number)| {
            format!("{number} * (max by (probe) ({metric}{{{CHOSEN},{label}=\"{state}\"}}) == 1)\n")
        })
        .collect();
    format!("sum by (probe) (\n  {})", states.join("  or "))
}

/// What has data wherever a run was a success.
pub(super) fn of_every_run() -> Vec<Panel> {
    let mut panels = outcomes();
    panels.extend(times());
    panels.extend(surroundings());
    panels
}

fn outcomes() -> Vec<Panel> {
    vec![
        Panel {
            title: "Verdict",
            description: "What each run came to, and overdue while one waits beyond late_after.",
            kind: "state-timeline",
            width: 24,
            height: 5,
            unit: "none",
            targets: vec![(numbered(&VERDICT, "verdict", &VERDICTS), "{{probe}}")],
        },
        Panel {
            title: "Delivered, last 7 days",
            description: "Share of the time in which the last run was a success.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "percentunit",
            targets: vec![(
                format!("avg by (probe) (avg_over_time({SUCCESS}{{{CHOSEN}}}[7d]))"),
                "{{probe}}",
            )],
        },
        Panel {
            title: "Since the last success",
            description: "Grows while nothing succeeds, and while nothing runs.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "s",
            targets: vec![(format!("time() - {}", max(&LAST_SUCCESS)), "{{probe}}")],
        },
        Panel {
            title: "Until the next run is due",
            description: "Below zero for longer than a run takes: the probe does not run.",
            kind: "stat",
            width: 4,
            height: 5,
            unit: "s",
            targets: vec![(format!("{} - time()", max(&NEXT_RUN)), "{{probe}}")],
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
        },
    ]
}

fn times() -> Vec<Panel> {
    let of_a_day =
        |function: &str| format!("max by (probe) ({function}{LAST_DELIVERY}{{{CHOSEN}}}[1d]))");
    vec![
        Panel {
            title: "Delivery time, with what it may be less",
            description: "From acceptance by the sender until the message was seen; it may have been there earlier by the error at most.",
            kind: "timeseries",
            width: 12,
            height: 8,
            unit: "s",
            targets: vec![
                (max(&LAST_DELIVERY), "{{probe}}"),
                (
                    format!("{} - {}", max(&LAST_DELIVERY), max(&LAST_DELIVERY_ERROR)),
                    "{{probe}}, at least",
                ),
            ],
        },
        Panel {
            title: "Delivery time, percentiles of a day",
            description: "Over the time that each value stood.",
            kind: "timeseries",
            width: 12,
            height: 8,
            unit: "s",
            targets: vec![
                (of_a_day("quantile_over_time(0.5, "), "{{probe}} median"),
                (of_a_day("quantile_over_time(0.95, "), "{{probe}} 95 %"),
                (of_a_day("max_over_time("), "{{probe}} slowest"),
            ],
        },
        Panel {
            title: "Stages of the last run",
            description: "Where the time goes.",
            kind: "timeseries",
            width: 12,
            height: 8,
            unit: "s",
            targets: vec![(
                format!("max by (probe, stage) ({STAGE_DURATION}{{{CHOSEN}}})"),
                "{{probe}} {{stage}}",
            )],
        },
        Panel {
            title: "Time of the whole run",
            description: "From the start of the send until the message was seen, or until the run gave up.",
            kind: "timeseries",
            width: 12,
            height: 8,
            unit: "s",
            targets: vec![(max(&DURATION), "{{probe}}")],
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
        },
        Panel {
            title: "Blocks lifted",
            description: "1 where the provider had the recipient on its block list.",
            kind: "timeseries",
            width: 8,
            height: 7,
            unit: "none",
            targets: vec![(max(&RECIPIENT_UNBLOCKED), "{{probe}}")],
        },
        Panel {
            title: "Certificates, days left",
            description: "Of each probe's mailbox and sender, and of each listener.",
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
                format!("max by (probe, method, result) ({AUTHENTICATION}{{{CHOSEN}}}) == 1"),
                "{{method}} {{result}}",
            )],
        },
        Panel {
            title: "Spam score",
            description: "What the spam filter gave the last message.",
            kind: "timeseries",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![(max(&SPAM_SCORE), "{{probe}}")],
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
        },
        Panel {
            title: "Listeners",
            description: "1 where the mail port answers as it should.",
            kind: "state-timeline",
            width: 12,
            height: 7,
            unit: "none",
            targets: vec![(format!("max by (endpoint) ({LISTENER_UP})"), "{{endpoint}}")],
        },
    ]
}
