//! The Grafana dashboard. It asks for probes by variables; where its colours change follows from the config.

mod panels;

use crate::config::plan::Plan;
use crate::metrics::VERDICT;
use panels::{Colours, Panel, Steps, of_every_run, that_depend};
use serde_json::{Value, json};

/// Width of the grid that Grafana lays panels out in.
const GRID: u64 = 24;

/// The dashboard, to be imported or provisioned.
#[must_use]
pub fn grafana_dashboard(plan: &Plan) -> String {
    let mut panels = Vec::new();
    let mut y = place(&of_every_run(plan), 0, &mut panels);
    panels.push(json!({
        "id": panels.len() + 1,
        "type": "row",
        "title": "Where it is set up",
        "collapsed": false,
        "gridPos": { "x": 0, "y": y, "w": GRID, "h": 1 },
        "panels": [],
    }));
    y += 1;
    place(&that_depend(), y, &mut panels);
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
                "query": { "query": format!("label_values({VERDICT}, probe)"), "refId": "probe" },
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
            "fieldConfig": self.fields(),
            "options": {},
        });
        if matches!(self.colours, Colours::Band)
            && let Some(panel) = panel.as_object_mut()
        {
            panel.insert("repeat".to_owned(), json!("probe"));
            panel.insert("repeatDirection".to_owned(), json!("h"));
        }
        panel
    }

    /// Unit and colours. What is not said here, Grafana colours red from 80 on, whatever it is.
    fn fields(&self) -> Value {
        let none = Steps("text", Vec::new());
        let (steps, mappings, overrides) = match &self.colours {
            Colours::Series | Colours::Band => {
                return json!({ "defaults": { "unit": self.unit }, "overrides": self.band() });
            }
            Colours::Steps(steps) => (steps, json!([]), json!([])),
            Colours::OfProbes(probes) => (&none, json!([]), overrides(probes)),
            Colours::States(first, states) => {
                let options = options(*first, states);
                let mappings = json!([{ "type": "value", "options": options }]);
                (&none, mappings, json!([]))
            }
        };
        json!({
            "defaults": {
                "unit": self.unit,
                "color": { "mode": "thresholds" },
                "thresholds": steps.json(),
                "mappings": mappings,
            },
            "overrides": overrides,
        })
    }

    fn band(&self) -> Value {
        match (&self.colours, self.targets.as_slice()) {
            (Colours::Band, [(_, top), (_, bottom)]) => json!([{
                "matcher": { "id": "byName", "options": top },
                "properties": [{ "id": "custom.fillBelowTo", "value": bottom }],
            }]),
            _ => json!([]),
        }
    }
}

/// The steps of each probe, whose name is the legend.
fn overrides(probes: &[(String, Steps)]) -> Value {
    let overrides = probes.iter().map(|(probe, steps)| {
        json!({
            "matcher": { "id": "byName", "options": probe },
            "properties": [{ "id": "thresholds", "value": steps.json() }],
        })
    });
    overrides.collect()
}

impl Steps {
    fn json(&self) -> Value {
        let Self(lowest, others) = self;
        let mut steps = vec![json!({ "color": lowest, "value": null })];
        steps.extend(
            others
                .iter()
                .map(|(from, colour)| json!({ "color": colour, "value": from })),
        );
        json!({ "mode": "absolute", "steps": steps })
    }
}

/// What the numbers of states stand for.
fn options(first: usize, states: &[(&str, &str)]) -> Value {
    states
        .iter()
        .zip(first..)
        .map(|((text, colour), number)| {
            (number.to_string(), json!({ "text": text, "color": colour }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
