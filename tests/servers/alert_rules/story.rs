//! A story of runs, minute by minute, as Prometheus sees it through a gateway; told to `promtool test rules`.

use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Minutes from one run to the next, until a message is overdue, and until it is missing: those of the example config.
const PERIOD: usize = 20;
const LATE_AFTER: usize = 5;
const TIMEOUT: usize = 15;

const VERDICTS: [&str; 8] = [
    "delivered",
    "late",
    "junked",
    "refused",
    "bounced",
    "missing",
    "undetermined",
    "overdue",
];

/// What the gateway shows, and what it showed in every minute so far.
#[derive(Default)]
pub struct Story {
    now: BTreeMap<String, f64>,
    past: Vec<BTreeMap<String, f64>>,
    is_scraped: bool,
    delivery_seconds: f64,
    /// What the border says of every message's DKIM signature, where it does.
    dkim: Option<&'static str>,
    /// By how many seconds the probe's clock is ahead.
    ahead: f64,
    minutes_between_evaluations: usize,
    /// The label `site` of every series of the probe, where it has one.
    site: Option<String>,
    /// When, the query, and the samples that it finds, each of the value 1.
    checks: Vec<(usize, String, Vec<String>)>,
    /// When, the alert's name, and all that it says.
    said: Vec<(usize, String, serde_json::Value)>,
}

impl Story {
    /// Three good runs.
    pub fn begin() -> Self {
        let mut story = Self::empty();
        for _ in 0..3 {
            story.run("delivered", "none");
        }
        story
    }

    /// The same, at a site that is a label of its own.
    pub fn begin_at(site: &str) -> Self {
        let mut story = Self {
            site: Some(site.to_owned()),
            ..Self::empty()
        };
        for _ in 0..3 {
            story.run("delivered", "none");
        }
        story
    }

    /// A gateway that nothing was ever pushed to.
    pub fn empty() -> Self {
        Self {
            is_scraped: true,
            delivery_seconds: 1.5,
            minutes_between_evaluations: 1,
            ..Self::default()
        }
    }

    pub fn minute(&self) -> usize {
        self.past.len()
    }

    /// Has the rules evaluated less often than every minute.
    pub fn evaluated_every(&mut self, minutes: usize) -> &mut Self {
        self.minutes_between_evaluations = minutes;
        self
    }

    /// How long deliveries take from now on.
    pub fn takes(&mut self, seconds: f64) -> &mut Self {
        self.delivery_seconds = seconds;
        self
    }

    /// What the border says of DKIM from now on.
    pub fn dkim(&mut self, result: &'static str) -> &mut Self {
        self.dkim = Some(result);
        self
    }

    /// A check of the mail ports that ends now.
    pub fn checks(&mut self, ports: &[(&str, f64)]) -> &mut Self {
        let now = (self.minute() * 60) as f64;
        self.set_series("mailprobe_last_check_timestamp_seconds{}", now);
        for (port, up) in ports {
            self.set_series(
                &format!("mailprobe_listener_up{{endpoint=\"{port}\"}}"),
                *up,
            );
        }
        self
    }

    /// All that is shown is shown from now on by another instance that stands still, beside what goes on.
    pub fn freeze(&mut self) -> &mut Self {
        let frozen: Vec<(String, f64)> = self
            .now
            .iter()
            .map(|(series, value)| {
                let (metric, labels) = series.split_once('{').unwrap();
                (format!("{metric}{{job=\"before\",{labels}"), *value)
            })
            .collect();
        self.now.extend(frozen);
        self
    }

    /// By how much the probe's clock is ahead from now on.
    pub fn ahead(&mut self, seconds: f64) -> &mut Self {
        self.ahead = seconds;
        self
    }

    /// Lets time pass.
    pub fn wait(&mut self, minutes: usize) -> &mut Self {
        for _ in 0..minutes {
            let shown = if self.is_scraped {
                self.now.clone()
            } else {
                BTreeMap::new()
            };
            self.past.push(shown);
        }
        self
    }

    /// Until the next run is due.
    pub fn until_due(&mut self) -> &mut Self {
        self.wait(PERIOD - self.minute() % PERIOD)
    }

    /// A due run that does not take place.
    pub fn skip(&mut self) -> &mut Self {
        self.until_due().wait(PERIOD - 1)
    }

    /// The next run, until a minute after its end.
    pub fn run(&mut self, verdict: &str, cause: &str) -> &mut Self {
        self.run_that_counts(verdict, cause, verdict == "delivered")
    }

    /// The same where `accept` decides.
    pub fn run_that_counts(&mut self, verdict: &str, cause: &str, success: bool) -> &mut Self {
        match verdict {
            "missing" => return self.overdue().missed(cause),
            "late" => self.overdue().wait(2),
            "undetermined" => self.until_due().wait(LATE_AFTER),
            _ => self.until_due(),
        };
        self.end(verdict, cause, success);
        self.wait(1)
    }

    /// The next run, until a minute after it told that its message is overdue.
    pub fn overdue(&mut self) -> &mut Self {
        self.until_due().wait(LATE_AFTER);
        self.show_one("mailprobe_verdict", "verdict", &VERDICTS, "overdue");
        self.wait(1)
    }

    /// The end of an overdue run whose message never came.
    pub fn missed(&mut self, cause: &str) -> &mut Self {
        self.wait(TIMEOUT - LATE_AFTER - 1);
        self.end("missing", cause, false);
        self.wait(1)
    }

    /// A run that a signal ended: it tells its verdict and cause alone.
    pub fn interrupted(&mut self) -> &mut Self {
        self.until_due();
        self.show_one("mailprobe_verdict", "verdict", &VERDICTS, "undetermined");
        self.show_cause("interrupted");
        self.wait(1)
    }

    fn end(&mut self, verdict: &str, cause: &str, success: bool) {
        let now = (self.minute() * 60) as f64 + self.ahead;
        let next = ((self.minute() / PERIOD + 1) * PERIOD * 60) as f64 + self.ahead;
        self.show_one("mailprobe_verdict", "verdict", &VERDICTS, verdict);
        self.show_cause(cause);
        self.set("mailprobe_last_run_timestamp_seconds", now);
        self.set("mailprobe_next_run_timestamp_seconds", next);
        self.set("email_roundtrip_success", f64::from(u8::from(success)));
        self.set("mailprobe_late_arrivals", 0.0);
        self.set("mailprobe_recipient_unblocked", 0.0);
        if success {
            self.set("email_roundtrip_last_success_timestamp", now);
        }
        if ["delivered", "late", "junked"].contains(&verdict) {
            self.set("mailprobe_last_arrival_timestamp_seconds", now);
            self.set("mailprobe_last_delivery_seconds", self.delivery_seconds);
            if let Some(current) = self.dkim {
                for one in ["pass", "fail", "none"] {
                    let labels = self.labels();
                    let series = format!(
                        "mailprobe_authentication{{{labels},method=\"dkim\",result=\"{one}\"}}"
                    );
                    self.set_series(&series, f64::from(u8::from(one == current)));
                }
            }
        }
    }

    fn show_cause(&mut self, current: &str) {
        let labels = self.labels();
        let name = |cause: &str| format!("mailprobe_cause{{{labels},cause=\"{cause}\"}}");
        let known: Vec<String> = self
            .now
            .keys()
            .filter(|series| series.starts_with(&format!("mailprobe_cause{{{labels},")))
            .cloned()
            .collect();
        for series in known {
            self.now.insert(series, 0.0);
        }
        self.now.insert(name(current), 1.0);
    }

    fn show_one(&mut self, metric: &str, label: &str, values: &[&str], current: &str) {
        let labels = self.labels();
        for value in values {
            let series = format!("{metric}{{{labels},{label}=\"{value}\"}}");
            self.now
                .insert(series, f64::from(u8::from(*value == current)));
        }
    }

    /// Those of the probe's series, as PromQL has them.
    fn labels(&self) -> String {
        match &self.site {
            None => "probe=\"external\"".to_owned(),
            Some(site) => format!("probe=\"external\",site={}", json!(site)),
        }
    }

    /// A metric of the probe, from now on.
    pub fn set(&mut self, metric: &str, value: f64) -> &mut Self {
        self.set_series(&format!("{metric}{{{}}}", self.labels()), value)
    }

    /// Any series, from now on.
    pub fn set_series(&mut self, series: &str, value: f64) -> &mut Self {
        self.now.insert(series.to_owned(), value);
        self
    }

    /// The gateway forgets everything.
    pub fn lose(&mut self) -> &mut Self {
        self.now.clear();
        self
    }

    /// Prometheus does not reach the gateway any more.
    pub fn cut_off(&mut self) -> &mut Self {
        self.is_scraped = false;
        self
    }

    /// Exactly these alerts fire in the minute that has just passed.
    pub fn fires(&mut self, alerts: &[&str]) -> &mut Self {
        let query = "count by (alertname) (ALERTS{alertstate=\"firing\"})";
        self.expect(query.to_owned(), alerts)
    }

    /// Exactly these alerts have fired at any time since the beginning.
    pub fn has_fired(&mut self, alerts: &[&str]) -> &mut Self {
        let minutes = self.minute();
        let query = format!(
            "count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{minutes}m]))"
        );
        self.expect(query, alerts)
    }

    fn expect(&mut self, query: String, alerts: &[&str]) -> &mut Self {
        let samples: Vec<String> = alerts
            .iter()
            .map(|name| format!("{{alertname=\"{name}\"}}"))
            .collect();
        let samples: Vec<&str> = samples.iter().map(String::as_str).collect();
        self.finds(&query, &samples)
    }

    /// A query finds exactly these series, each with the value 1, in the minute that has just passed.
    pub fn finds(&mut self, query: &str, series: &[&str]) -> &mut Self {
        let series = series.iter().map(|one| (*one).to_owned()).collect();
        self.checks
            .push((self.minute() - 1, query.to_owned(), series));
        self
    }

    /// An alert of the probe has exactly this summary and description in the minute that has just passed.
    pub fn says(&mut self, alert: &str, severity: &str, [summary, description]: [&str; 2]) {
        let mut labels = json!({ "component": "mailprobe", "severity": severity });
        labels["probe"] = "external".into();
        if let Some(site) = &self.site {
            labels["site"] = site.as_str().into();
        }
        let all = json!({
            "exp_labels": labels,
            "exp_annotations": {
                "summary": summary,
                "description": description,
                "runbook_url": format!("README.md#{}", alert.to_lowercase()),
            },
        });
        self.said.push((self.minute() - 1, alert.to_owned(), all));
    }

    /// What `promtool test rules` reads.
    fn file(&self, rules: &Path) -> String {
        let mut series: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
        for (minute, shown) in self.past.iter().enumerate() {
            for (name, value) in shown {
                let values = series.entry(name).or_default();
                values.resize(minute, None);
                values.push(Some(*value));
            }
        }
        let mut text = format!(
            "rule_files: [{rules:?}]\nevaluation_interval: {}m\ntests:\n  - interval: 1m\n    input_series:\n",
            self.minutes_between_evaluations
        );
        for (name, values) in series {
            let mut written = Vec::new();
            let mut values = values.into_iter().peekable();
            let mut was_there = false;
            while let Some(value) = values.next() {
                let mut more = 0;
                while values.peek() == Some(&value) {
                    values.next();
                    more += 1;
                }
                match value {
                    Some(value) => written.push(format!("{value}+0x{more}")),
                    // Prometheus marks the end of a series that a scrape no longer shows.
                    None if was_there => written.push(format!("stale _x{more}")),
                    None => written.push(format!("_x{}", more + 1)),
                }
                was_there = value.is_some();
            }
            if series_ends(&self.past, name) {
                written.push("stale".to_owned());
            }
            let _ = writeln!(
                text,
                "      - {{ series: {}, values: '{}' }}",
                json!(name),
                written.join(" ")
            );
        }
        text.push_str("    promql_expr_test:\n");
        for (minute, query, series) in &self.checks {
            let _ = writeln!(
                text,
                "      - expr: '{query}'\n        eval_time: {minute}m\n        exp_samples:"
            );
            for series in series {
                let _ = writeln!(text, "          - {{ labels: '{series}', value: 1 }}");
            }
        }
        text.push_str("    alert_rule_test:\n");
        for (minute, alert, all) in &self.said {
            let _ = writeln!(
                text,
                "      - eval_time: {minute}m\n        alertname: {alert}\n        exp_alerts: [{all}]"
            );
        }
        text
    }

    /// Has promtool tell the story to these rules.
    #[track_caller]
    pub fn tell(&self, rules: &str) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules.yml");
        std::fs::write(&file, rules).unwrap();
        let test = directory.path().join("story.yml");
        std::fs::write(&test, self.file(&file)).unwrap();
        let output = Command::new("promtool")
            .args(["test", "rules"])
            .arg(&test)
            .output()
            .expect("promtool is there: tests/run installs it");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

/// Whether a series was there and is not at the end.
fn series_ends(past: &[BTreeMap<String, f64>], name: &str) -> bool {
    past.last().is_some_and(|last| !last.contains_key(name))
}
