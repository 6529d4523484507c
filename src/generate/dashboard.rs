//! The Grafana dashboard. It asks for probes by variables, so that it is the same for every config.

use serde_json::{Value, json};

/// Width of the grid that Grafana lays panels out in.
const GRID: u64 = 24;

/// A panel, before it has its place.
struct Panel {
    title: &'static str,
    description: &'static str,
    kind: &'static str,
    /// Of 24.
    width: u64,
    height: u64,
    unit: &'static str,
    /// Expression and legend of each series.
    targets: &'static [(&'static str, &'static str)],
}

/// Of a run that is over: the probe's series, whichever instance they are of.
const PANELS: &[Panel] = &[
    Panel {
        title: "Verdict",
        description: "What each run came to, and overdue while one waits beyond late_after.",
        kind: "state-timeline",
        width: 24,
        height: 5,
        unit: "none",
        targets: &[(
            r#"sum by (probe) (
  1 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="delivered"}) == 1)
  or 2 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="late"}) == 1)
  or 3 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="junked"}) == 1)
  or 4 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="overdue"}) == 1)
  or 5 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="refused"}) == 1)
  or 6 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="bounced"}) == 1)
  or 7 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="missing"}) == 1)
  or 8 * (max by (probe) (mailprobe_verdict{probe=~"$probe",verdict="undetermined"}) == 1)
)"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Delivered, last 7 days",
        description: "Share of the time in which the last run was a success.",
        kind: "stat",
        width: 4,
        height: 5,
        unit: "percentunit",
        targets: &[(
            r#"avg by (probe) (avg_over_time(email_roundtrip_success{probe=~"$probe"}[7d]))"#,
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
        targets: &[(
            r#"time() - max by (probe) (email_roundtrip_last_success_timestamp{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Until the next run is due",
        description: "Below zero for longer than a run takes: the probe does not run.",
        kind: "stat",
        width: 4,
        height: 5,
        unit: "s",
        targets: &[(
            r#"max by (probe) (mailprobe_next_run_timestamp_seconds{probe=~"$probe"}) - time()"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Cause of the last run",
        description: "None while all is well; the README has a remedy for each.",
        kind: "table",
        width: 12,
        height: 5,
        unit: "none",
        targets: &[(
            r#"max by (probe, cause) (mailprobe_cause{probe=~"$probe"}) == 1"#,
            "{{probe}}: {{cause}}",
        )],
    },
    Panel {
        title: "Delivery time, with what it may be less",
        description: "From acceptance by the sender until the message was seen; it may have been there earlier by the error at most.",
        kind: "timeseries",
        width: 12,
        height: 8,
        unit: "s",
        targets: &[
            (
                r#"max by (probe) (mailprobe_last_delivery_seconds{probe=~"$probe"})"#,
                "{{probe}}",
            ),
            (
                r#"max by (probe) (mailprobe_last_delivery_seconds{probe=~"$probe"}) - max by (probe) (mailprobe_last_delivery_error_seconds{probe=~"$probe"})"#,
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
        targets: &[
            (
                r#"max by (probe) (quantile_over_time(0.5, mailprobe_last_delivery_seconds{probe=~"$probe"}[1d]))"#,
                "{{probe}} median",
            ),
            (
                r#"max by (probe) (quantile_over_time(0.95, mailprobe_last_delivery_seconds{probe=~"$probe"}[1d]))"#,
                "{{probe}} 95 %",
            ),
            (
                r#"max by (probe) (max_over_time(mailprobe_last_delivery_seconds{probe=~"$probe"}[1d]))"#,
                "{{probe}} slowest",
            ),
        ],
    },
    Panel {
        title: "Stages of the last run",
        description: "Where the time goes.",
        kind: "timeseries",
        width: 12,
        height: 8,
        unit: "s",
        targets: &[(
            r#"max by (probe, stage) (mailprobe_stage_duration_seconds{probe=~"$probe"})"#,
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
        targets: &[(
            r#"max by (probe) (email_roundtrip_duration_seconds{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Late arrivals",
        description: "Messages of earlier runs that turned up since: delayed, not lost.",
        kind: "timeseries",
        width: 8,
        height: 7,
        unit: "none",
        targets: &[(
            r#"max by (probe) (mailprobe_late_arrivals{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Quota left at the sender",
        description: "How many more messages it will take, where it tells.",
        kind: "timeseries",
        width: 8,
        height: 7,
        unit: "none",
        targets: &[(
            r#"min by (probe) (mailprobe_sender_quota_remaining{probe=~"$probe"})"#,
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
        targets: &[(
            r#"max by (probe) (mailprobe_recipient_unblocked{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Certificates, days left",
        description: "Of each probe's mailbox and sender, and of each listener.",
        kind: "bargauge",
        width: 12,
        height: 7,
        unit: "d",
        targets: &[(
            // Those of listeners have no probe.
            r#"(min by (probe, endpoint) (mailprobe_certificate_expiry_timestamp_seconds{probe=~"$probe|"}) - time()) / 86400"#,
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
        targets: &[(
            r#"time() - max by (probe) (push_time_seconds{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
];

/// Panels that have data only where the config, the mail server or `serve` brings it.
const PANELS_THAT_DEPEND: &[Panel] = &[
    Panel {
        title: "SPF, DKIM, DMARC",
        description: "Results that the receiving server wrote, by its `authserv_ids`.",
        kind: "state-timeline",
        width: 12,
        height: 7,
        unit: "none",
        targets: &[(
            r#"max by (probe, method, result) (mailprobe_authentication{probe=~"$probe"}) == 1"#,
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
        targets: &[(
            r#"max by (probe) (mailprobe_spam_score{probe=~"$probe"})"#,
            "{{probe}}",
        )],
    },
    Panel {
        title: "Hops, and the slowest of them",
        description: "From the Received headers of the last message.",
        kind: "timeseries",
        width: 12,
        height: 7,
        unit: "none",
        targets: &[
            (
                r#"max by (probe) (mailprobe_hops{probe=~"$probe"})"#,
                "{{probe}} hops",
            ),
            (
                r#"max by (probe) (mailprobe_hop_delay_seconds_max{probe=~"$probe"})"#,
                "{{probe}} slowest hop, seconds",
            ),
        ],
    },
    Panel {
        title: "Listeners",
        description: "1 where the mail port answers as it should.",
        kind: "state-timeline",
        width: 12,
        height: 7,
        unit: "none",
        targets: &[("max by (endpoint) (mailprobe_listener_up)", "{{endpoint}}")],
    },
];

/// The dashboard, to be imported or provisioned.
#[must_use]
pub fn grafana_dashboard() -> String {
    let mut panels = Vec::new();
    let mut y = place(PANELS, 0, &mut panels);
    panels.push(json!({
        "id": panels.len() + 1,
        "type": "row",
        "title": "Where it is set up",
        "collapsed": false,
        "gridPos": { "x": 0, "y": y, "w": GRID, "h": 1 },
        "panels": [],
    }));
    y += 1;
    place(PANELS_THAT_DEPEND, y, &mut panels);
    let dashboard = json!({
        "title": "Mail delivery (mailprobe)",
        "uid": "mailprobe",
        "tags": ["mailprobe", "mail"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": { "from": "now-24h", "to": "now" },
        "timezone": "browser",
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source" },
            {
                "name": "probe",
                "type": "query",
                "label": "Probe",
                "datasource": source(),
                "query": { "query": "label_values(mailprobe_verdict, probe)", "refId": "probe" },
                "multi": true,
                "includeAll": true,
                "refresh": 2,
                "sort": 1,
            },
        ] },
        "annotations": { "list": [{
            "name": "Alerts",
            "datasource": source(),
            "enable": true,
            "iconColor": "red",
            "expr": "ALERTS{component=\"mailprobe\",alertstate=\"firing\"}",
            "titleFormat": "{{alertname}}",
            "textFormat": "{{probe}}{{endpoint}}",
        }] },
        "panels": panels,
    });
    serde_json::to_string_pretty(&dashboard).unwrap_or_default() + "\n"
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Puts panels side by side from this line on; the line below them.
fn place(from: &[Panel], mut y: u64, panels: &mut Vec<Value>) -> u64 {
    let (mut x, mut row) = (0, 0);
    for panel in from {
        if x + panel.width > GRID {
            (x, y, row) = (0, y + row, 0);
        }
        panels.push(panel.json(panels.len() + 1, x, y));
        x += panel.width;
        row = row.max(panel.height);
    }
    y + row
}

impl Panel {
    fn json(&self, id: usize, x: u64, y: u64) -> Value {
        let is_table = self.kind == "table";
        let targets: Vec<Value> = self
            .targets
            .iter()
            .zip(["A", "B", "C"])
            .map(|((expression, legend), id)| {
                json!({
                    "refId": id,
                    "datasource": source(),
                    "expr": expression,
                    "legendFormat": legend,
                    "instant": is_table,
                    "range": !is_table,
                    "format": if is_table { "table" } else { "time_series" },
                })
            })
            .collect();
        let mut panel = json!({
            "id": id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": source(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "targets": targets,
            "fieldConfig": { "defaults": { "unit": self.unit, "mappings": [] }, "overrides": [] },
            "options": {},
        });
        if self.title == "Verdict"
            && let Some(mappings) = panel.pointer_mut("/fieldConfig/defaults/mappings")
        {
            *mappings = json!([{ "type": "value", "options": verdicts() }]);
        }
        if self.targets.len() == 2
            && self.unit == "s"
            && let Some(overrides) = panel.pointer_mut("/fieldConfig/overrides")
        {
            // The band between the two is what is not known.
            *overrides = json!([{
                "matcher": { "id": "byFrameRefID", "options": "A" },
                "properties": [{ "id": "custom.fillBelowTo", "value": "B" }],
            }]);
        }
        panel
    }
}

/// What the numbers of the state timeline stand for.
fn verdicts() -> Value {
    let names = [
        ("1", "delivered", "green"),
        ("2", "late", "yellow"),
        ("3", "junked", "orange"),
        ("4", "overdue", "light-yellow"),
        ("5", "refused", "purple"),
        ("6", "bounced", "dark-red"),
        ("7", "missing", "red"),
        ("8", "undetermined", "gray"),
    ];
    names
        .iter()
        .map(|(value, text, colour)| {
            (
                (*value).to_owned(),
                json!({ "text": text, "color": colour }),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
