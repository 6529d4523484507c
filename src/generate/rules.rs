//! Alert rules for Prometheus.
//!
//! A gateway repeats the last push for ever, so nothing here trusts a value alone. Which runs followed each other is told
//! from `mailprobe_last_run_timestamp_seconds`: each of its values is one run, and one later than the last success is a run
//! that failed since. Absence and age have rules of their own.
//!
//! Prometheus may see the same probe more than once: through a gateway, on the page of `serve`, of a pod before its
//! restart, and all but one of them stand still. So a value counts only together with the time that the same instance
//! tells of it, and the newest time decides. `ignoring` its own labels finds that time, whatever tells instances apart.

mod arrivals;
mod endpoints;
mod streak;

use super::quoting::{in_template, promql, query_in_template};
use super::timing::{Timing, prometheus, sends_in_six_hours, site_labels};
use super::yaml::{Node, map};
use crate::config::plan::{Plan, ProbePlan, SenderPlan};
use crate::metrics::{
    CAUSE, CERTIFICATE_EXPIRY, LAST_RUN, LAST_SUCCESS, LATE_ARRIVALS, Metric, NEXT_RUN,
    QUOTA_REMAINING, SUCCESS, VERDICT,
};
use std::time::Duration;
use streak::Streak;

/// How the rules are to be written.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    /// The three alerts of the old script under its names.
    pub old_names: bool,
    /// Wrapped into a `PrometheusRule` of the Prometheus operator.
    pub operator: bool,
    /// Where the runbook is: the address of the README.
    pub runbook: String,
}

/// The label of every alert of ours, for routes and inhibitions.
pub(super) const COMPONENT: (&str, &str) = ("component", "mailprobe");
/// Renewed certificates are renewed earlier than this.
pub(super) const CERTIFICATE_DAYS: u32 = 14;
/// How many seconds a probe's clock may be ahead of Prometheus'. What is further ahead says nothing of when it was, and
/// would pass for fresh until that time has come.
const AHEAD: u64 = 120;
/// Over so many runs losses are counted between which others succeed.
const RUNS_LOOKED_AT: u32 = 18;
/// So many of them are too many: where one message in 200 is lost by chance, that is once in 90 years of runs every 20
/// minutes, as 2160 a month · 0.005 · (17 over 3) · 0.005³ is 0.0009 a month.
const LOSSES_APART: u32 = 4;

/// Names of the alerts that a probe's failing, staleness and absence raise.
pub(super) struct Names {
    pub(super) failing: &'static str,
    pub(super) stale: &'static str,
    pub(super) never_ran: &'static str,
}

impl Names {
    pub(super) fn new(old: bool) -> Self {
        if old {
            Self {
                failing: "EmailRoundtripFailing",
                stale: "EmailRoundtripStale",
                never_ran: "EmailRoundtripNeverRun",
            }
        } else {
            Self {
                failing: "MailDeliveryFailing",
                stale: "MailProbeStale",
                never_ran: "MailProbeNeverRan",
            }
        }
    }

    /// The section of the runbook: that of the new name.
    fn section(alert: &str) -> &str {
        let (old, new) = (Self::new(true), Self::new(false));
        match alert {
            _ if alert == old.failing => new.failing,
            _ if alert == old.stale => new.stale,
            _ if alert == old.never_ran => new.never_ran,
            _ => alert,
        }
    }
}

/// The rules as a file for `rule_files`, or as an object for the operator.
#[must_use]
pub fn prometheus_rules(plan: &Plan, options: &RuleOptions) -> String {
    let mut groups: Vec<Node> = plan
        .probes
        .iter()
        .map(|probe| Queries::new(plan, probe).group(plan, probe, options))
        .collect();
    groups.push(endpoints::endpoints(plan, options));
    let rules = map([("groups", groups.into())]);
    if !options.operator {
        return rules.to_yaml();
    }
    map([
        ("apiVersion", "monitoring.coreos.com/v1".into()),
        ("kind", "PrometheusRule".into()),
        ("metadata", map([("name", "mailprobe".into())])),
        ("spec", rules),
    ])
    .to_yaml()
}

/// A rule on its way.
struct Rule<'t> {
    alert: &'t str,
    expr: String,
    wait: Option<Duration>,
    severity: &'t str,
    summary: String,
    description: String,
}

impl Rule<'_> {
    /// With the probe's name as a label: alerts of two probes are two, also where the series are gone.
    fn node(self, runbook: &str, probe: Option<&str>) -> Node {
        let mut pairs = vec![
            ("alert".to_owned(), self.alert.into()),
            ("expr".to_owned(), self.expr.into()),
        ];
        if let Some(wait) = self.wait {
            pairs.push(("for".to_owned(), prometheus(wait).into()));
        }
        let mut labels = vec![(COMPONENT.0.to_owned(), COMPONENT.1.into())];
        labels.extend(probe.map(|probe| ("probe".to_owned(), probe.into())));
        labels.push(("severity".to_owned(), self.severity.into()));
        let anchor = Names::section(self.alert).to_lowercase();
        let annotations = map([
            ("summary", self.summary.into()),
            ("description", self.description.into()),
            (
                "runbook_url",
                format!("{}#{anchor}", in_template(runbook)).into(),
            ),
        ]);
        pairs.push(("labels".to_owned(), Node::Map(labels)));
        pairs.push(("annotations".to_owned(), annotations));
        Node::Map(pairs)
    }
}

/// The parts that the rules of one probe are made of.
struct Queries {
    timing: Timing,
    /// Inside the braces of a selector.
    labels: String,
    /// What stays apart in every aggregation.
    by: String,
    /// Inside the parentheses of a vector matching.
    names: String,
    /// In the annotations: the recipient, the sender, and the cause of the last run.
    to: String,
    sender: String,
    last_cause: String,
}

impl Queries {
    fn new(plan: &Plan, probe: &ProbePlan) -> Self {
        let mut labels = vec![("probe".to_owned(), probe.name.clone())];
        labels.extend(site_labels(plan));
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        let labels = selector(&labels);
        let query = query_in_template(&format!(
            "{CAUSE}{{{labels}}} == 1 and ignoring (cause) {}",
            newest(&labels)
        ));
        let last_cause = format!(
            "{{{{ with query {query} }}}}{{{{ . | first | label \"cause\" }}}}{{{{ else }}}}unknown{{{{ end }}}}"
        );
        Self {
            timing: Timing::new(probe),
            labels,
            by: format!("by ({names})"),
            names,
            to: in_template(&probe.to),
            sender: in_template(probe.sender.name()),
            last_cause,
        }
    }

    /// The largest value over all instances of a metric that is a time: the newest one.
    fn max(&self, metric: &Metric) -> String {
        format!("max {} ({}{{{}}})", self.by, metric.name, self.labels)
    }

    /// The time of the last run, where the instance that knows of it fulfils the condition, such as `and …`.
    fn runs(&self, condition: &str) -> String {
        let Self { by, labels, .. } = self;
        format!(
            "max {by} ({LAST_RUN}{{{labels}}} {condition})\n        == {}",
            self.max(&LAST_RUN)
        )
    }

    fn verdict_series(&self, verdicts: &str) -> String {
        format!("{VERDICT}{{{},verdict=~\"{verdicts}\"}}", self.labels)
    }

    /// For [`Queries::runs`].
    fn verdict(&self, verdicts: &str) -> String {
        format!(
            "and ignoring (verdict) {} == 1",
            self.verdict_series(verdicts)
        )
    }

    /// For a condition on runs, behind `and` or `unless`.
    fn cause(&self, causes: &str) -> String {
        format!(
            "ignoring (cause) {CAUSE}{{{},cause=~\"{causes}\"}} == 1",
            self.labels
        )
    }

    /// `WINDOW:STEP`, within which runs in a row are looked for.
    fn window(&self) -> String {
        let Timing { window, step, .. } = self.timing;
        format!("{}:{}", prometheus(window), prometheus(step))
    }

    /// Runs that fulfil a condition, and all that were no success where there is none.
    fn failed_runs(&self, condition: Option<&str>) -> Streak {
        let Self { by, labels, .. } = self;
        let last = self.max(&LAST_RUN);
        Streak {
            failed: condition.map_or_else(|| last.clone(), |condition| self.runs(condition)),
            good: format!("{}\n          == {last}", self.max(&LAST_SUCCESS)),
            zero: format!("max {by} ({LAST_RUN}{{{labels}}} @ end()) * 0"),
            window: self.window(),
        }
    }

    /// At least so many runs since the last success fulfil the condition.
    fn in_a_row(&self, count: u32, condition: Option<&str>) -> String {
        self.failed_runs(condition).in_a_row(count)
    }

    fn group(&self, plan: &Plan, probe: &ProbePlan, options: &RuleOptions) -> Node {
        let names = Names::new(options.old_names);
        let rules = vec![
            self.failing(probe, &names),
            self.refused(probe),
            self.stale(probe, &names),
            self.never_ran(probe, &names),
            self.blind(probe),
            self.junked(),
            self.slow(),
            self.arrives_late(probe),
            self.authentication(),
            self.was_blocked(),
            self.quota(plan, probe),
            self.certificate(probe),
        ];
        let rules: Vec<Node> = rules
            .into_iter()
            .map(|rule| rule.node(&options.runbook, Some(&probe.name)))
            .collect();
        map([
            ("name", format!("mailprobe-{}", probe.name).into()),
            ("rules", rules.into()),
        ])
    }

    fn failing<'t>(&self, probe: &ProbePlan, names: &Names) -> Rule<'t> {
        let lost = self.verdict("missing|junked|late");
        let bounced = self.in_a_row(1, Some(&self.verdict("bounced")));
        let twice = self.in_a_row(2, Some(&lost));
        // Counts a little longer than it is overdue, until the end of that run is among the runs that are counted; and
        // the one that failed has to be from before it.
        let longer = self.timing.step.max(Duration::from_secs(60)) * 2;
        let earlier = longer + Duration::from_secs(60);
        let once = format!(
            "present_over_time(\n  {} offset {}\n)",
            self.failed_runs(Some(&lost)).since_good(),
            prometheus(earlier)
        );
        let overdue = format!(
            "present_over_time((\n  {}\n)[{}:{}])",
            self.runs(&self.verdict("overdue")),
            prometheus(longer),
            prometheus(self.timing.step)
        );
        Rule {
            alert: names.failing,
            expr: format!(
                "{bounced}\nor\n{twice}\nor\n(\n{once}\nand\n{overdue}\n)\nor\n{}",
                self.lost_now_and_then()
            ),
            wait: None,
            severity: "critical",
            summary: format!("mail to {} does not arrive: {}", self.to, self.last_cause),
            description: format!(
                "Probe {}: the last message bounced, or two since the last success were missing, junked or late, or one was and the next is overdue, or {LOSSES_APART} times within {RUNS_LOOKED_AT} runs some were lost while others arrived. The cause that the last run found: {} (none if it was a success).",
                probe.name, self.last_cause
            ),
        }
    }

    /// Losses with successes between them, as where one of two servers loses mail.
    ///
    /// Each is told by the success before it, so that an outage counts once, however long, and is over with its end. Those
    /// that turned up later were late: `MailArrivesLate` is for them.
    fn lost_now_and_then(&self) -> String {
        let Self { by, labels, .. } = self;
        let (window, step) = self.many_runs();
        let lost = self.verdict("missing|junked|bounced");
        let lost = self.runs(&format!("{lost} and {SUCCESS}{{{labels}}} == 0"));
        let late = self.runs(&format!("and {LATE_ARRIVALS}{{{labels}}} > 0"));
        let apart = LOSSES_APART - 1;
        format!(
            "(
  changes(
    (
      max {by} ({LAST_SUCCESS}{{{labels}}})
        and {lost}
    )[{window}:{step}]
  )
  - (
    1 + changes(
      (
        {late}
      )[{window}:{step}]
    )
    or {} * 0
  )
) >= {apart}",
            self.max(&LAST_RUN)
        )
    }

    /// A window of so many runs, less where the schedule has gaps, and its step.
    fn many_runs(&self) -> (String, String) {
        let window = self.timing.shortest * RUNS_LOOKED_AT;
        let step = self.timing.step.max(window / 2000);
        (prometheus(window), prometheus(step))
    }

    fn refused<'t>(&self, probe: &ProbePlan) -> Rule<'t> {
        let refused = self.verdict("refused");
        let for_good =
            self.cause("sender_unauthorized|sender_quota_exhausted|sender_rejected_message");
        let once = self.in_a_row(1, Some(&format!("{refused} and {for_good}")));
        let twice = self.in_a_row(2, Some(&refused));
        // The way of mail from outside is not in it, unless the sender is the server itself.
        let (severity, others) = match probe.sender.as_ref() {
            SenderPlan::Smtp(_) => (
                "critical",
                "Where that is your own mail server, mail that others hand to it may be refused as well.",
            ),
            SenderPlan::Brevo(_) | SenderPlan::Api(_) => (
                "warning",
                "This says nothing about mail that others send to you.",
            ),
        };
        Rule {
            alert: "MailProbeSenderRefused",
            expr: format!("(\n{twice}\nor\n{once}\n)\nand {}", self.runs(&refused)),
            wait: None,
            severity,
            summary: format!(
                "{} takes no message from the probe {}: {}",
                self.sender, probe.name, self.last_cause
            ),
            description: format!(
                "The sender refused twice in a row, or for a cause that does not pass by itself: {}. {others}",
                self.last_cause
            ),
        }
    }

    fn stale<'t>(&self, probe: &ProbePlan, names: &Names) -> Rule<'t> {
        let Self {
            by, labels, timing, ..
        } = self;
        let next = self.max(&NEXT_RUN);
        let last = self.max(&LAST_RUN);
        let success = self.max(&LAST_SUCCESS);
        let (overdue, oldest) = (timing.overdue.as_secs(), timing.oldest.as_secs());
        let (window, step) = (prometheus(timing.window), prometheus(timing.step));
        let thrice = self.in_a_row(3, None);
        // No clock but Prometheus' own is in it.
        let last_before = format!(
            "max {by} ({LAST_RUN}{{{labels}}} offset {})",
            prometheus(timing.oldest)
        );
        // Held from one run to the next: less far ahead than that, it is soon in the past.
        let ahead_for = prometheus(timing.longest + timing.run);
        Rule {
            alert: names.stale,
            expr: format!(
                "time() - {next} > {overdue}
or
time() - {last} > {oldest}
or
{last} == {last_before}
or
max_over_time(({last} - time())[{ahead_for}:{step}]) > {AHEAD}
or
{thrice}
or
changes(
  (
    max {by} ({LAST_RUN}{{{labels}}})
      unless {success}
  )[{window}:{step}]
) >= 1"
            ),
            wait: None,
            severity: "warning",
            summary: format!(
                "no fresh success of the probe {}: it does not run, or nothing that it does succeeds",
                probe.name
            ),
            description: format!(
                "Two due runs did not report, or three in a row did without success, or no success is known at all since the gateway lost its data, or the probe's clock is ahead of Prometheus'. Whether mail arrives is not known. The last cause: {}.",
                self.last_cause
            ),
        }
    }

    fn never_ran<'t>(&self, probe: &ProbePlan, names: &Names) -> Rule<'t> {
        let Self { labels, timing, .. } = self;
        let wait = timing.longest + timing.run + Duration::from_secs(4 * 60);
        Rule {
            alert: names.never_ran,
            expr: format!("absent({LAST_RUN}{{{labels}}})"),
            wait: Some(wait),
            severity: "warning",
            summary: format!("Prometheus knows of no run of the probe {}", probe.name),
            description: "The probe never pushed, the gateway lost its data and nothing came since, or the gateway is not scraped. Whether mail arrives is not known.".to_owned(),
        }
    }

    fn blind<'t>(&self, probe: &ProbePlan) -> Rule<'t> {
        let undetermined = self.verdict("undetermined");
        // An interrupted run leaves the time of the run before it.
        let condition = format!("{undetermined} unless {}", self.cause("interrupted"));
        let twice = self.in_a_row(2, Some(&condition));
        Rule {
            alert: "MailProbeBlind",
            expr: format!("{twice}\nand {}", self.runs(&undetermined)),
            wait: None,
            severity: "warning",
            summary: format!("the probe {} cannot look: {}", probe.name, self.last_cause),
            description: format!(
                "Two runs in a row could not do their work: {}. Whether mail arrives is not known.",
                self.last_cause
            ),
        }
    }

    fn quota<'t>(&self, plan: &Plan, probe: &ProbePlan) -> Rule<'t> {
        let Self {
            by, labels, timing, ..
        } = self;
        let sends = sends_in_six_hours(plan, &probe.sender);
        let fresh = format!("{} > time() - {}", newest(labels), timing.oldest.as_secs());
        Rule {
            alert: "SenderQuotaLow",
            expr: format!("min {by} ({QUOTA_REMAINING}{{{labels}}} and {fresh}) < {sends}"),
            wait: None,
            severity: "warning",
            summary: format!("{} will take {{{{ $value }}}} more messages", self.sender),
            description: format!(
                "Fewer than the {sends} that the probes send within six hours. What shares the account with them, such as real mail, runs out as well."
            ),
        }
    }

    fn certificate<'t>(&self, probe: &ProbePlan) -> Rule<'t> {
        let Self {
            names,
            labels,
            timing,
            ..
        } = self;
        // What a probe left behind that does not run any more says nothing of today's certificate.
        certificate_expiring(
            format!(
                "min by (endpoint, {names}) (
  {CERTIFICATE_EXPIRY}{{{labels}}} and ignoring (endpoint) {} > time() - {}
) - time() < {}",
                newest(labels),
                timing.oldest.as_secs(),
                CERTIFICATE_DAYS * 24 * 60 * 60
            ),
            &format!(", as the probe {} met it,", probe.name),
        )
    }
}

/// The same for what a probe met and for listeners; `of` says whose it is, for the summary.
fn certificate_expiring(expr: String, of: &str) -> Rule<'static> {
    Rule {
        alert: "CertificateExpiring",
        expr,
        wait: None,
        severity: "warning",
        summary: format!(
            "the certificate of {{{{ $labels.endpoint }}}}{of} ends in {{{{ $value | humanizeDuration }}}}"
        ),
        description: format!(
            "It was not renewed {CERTIFICATE_DAYS} days before its end, or the server was not reloaded since."
        ),
    }
}

/// The instances of a probe that know of its last run.
fn newest(labels: &str) -> String {
    format!("{LAST_RUN}{{{labels}}} == scalar(max({LAST_RUN}{{{labels}}}))")
}

/// What stands between the braces of a selector.
fn selector(labels: &[(String, String)]) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", promql(value)))
        .collect();
    pairs.join(",")
}
