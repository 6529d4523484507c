//! Rules on the messages that arrive.

use super::{Queries, RUNS_LOOKED_AT, Rule, Streak};
use crate::config::plan::ProbePlan;
use crate::generate::quoting::query_in_template;
use crate::generate::timing::{SLACK, prometheus};
use crate::metrics::{
    AUTHENTICATION, LAST_ARRIVAL, LAST_DELIVERY, LAST_RUN, LATE_ARRIVALS, RECIPIENT_UNBLOCKED,
};
use crate::probe::verdict::Verdict;
use std::time::Duration;

impl Queries {
    pub(super) fn junked<'t>(&self) -> Rule<'t> {
        Rule {
            alert: "MailJunked",
            expr: self.in_a_row(1, Some(&self.verdict("junked"))),
            wait: None,
            severity: "warning",
            summary: format!("mail to {} is filed as spam: {}", self.to, self.last_cause),
            description: format!(
                "The message arrived in the junk folder. `mailprobe run` says the score, the heaviest symbols and what failed of SPF, DKIM and DMARC. The cause that the last run found: {}.",
                self.last_cause
            ),
        }
    }

    pub(super) fn slow<'t>(&self) -> Rule<'t> {
        let Self {
            by, labels, timing, ..
        } = self;
        let period = timing.shortest;
        // Slow all the time, and two arrivals within it: three in a row, as the one before them was slow, too.
        let three = format!(
            "{}:{}",
            prometheus(period * 2 + Duration::from_secs(5 * 60)),
            prometheus(timing.step.min(period / 20))
        );
        let newest = format!(
            "{LAST_DELIVERY}{{{labels}}} and {LAST_ARRIVAL}{{{labels}}} == scalar(max({LAST_ARRIVAL}{{{labels}}}))"
        );
        let took = query_in_template(&newest);
        Rule {
            alert: "MailDeliverySlow",
            // Each arrival counts about once in the median, however long the schedule's pause behind it.
            expr: format!(
                "min_over_time((max {by} ({newest}))[{three}])
  > 3 * quantile_over_time(0.5, (
    max {by} ({LAST_DELIVERY}{{{labels}}} and {LAST_ARRIVAL}{{{labels}}} > time() - {})
  )[7d:{}]) + 10
and changes(({})[{three}]) >= 2",
                (period + SLACK).as_secs(),
                prometheus(period),
                self.max(&LAST_ARRIVAL)
            ),
            wait: None,
            severity: "info",
            summary: format!("mail to {} takes much longer than usual", self.to),
            description: format!(
                "Three deliveries in a row took more than 10 s and three times the median of the last seven days; the last one took {{{{ with query {took} }}}}{{{{ . | first | value | humanizeDuration }}}}{{{{ end }}}}. The cause that the last run found: {} (none if it was delivered).",
                self.last_cause
            ),
        }
    }

    pub(super) fn arrives_late<'t>(&self, probe: &ProbePlan) -> Rule<'t> {
        let Self { labels, .. } = self;
        let (window, step) = self.many_runs();
        let late = format!("{LATE_ARRIVALS}{{{labels}}} > 0");
        let late = if probe.accept.contains(&Verdict::Late) {
            format!("and {late}")
        } else {
            let verdict = self.verdict_series("late");
            format!("and ignoring (verdict) ({late} or {verdict} == 1)")
        };
        Rule {
            alert: "MailArrivesLate",
            expr: format!(
                "changes(
  (
    {}
  )[{window}:{step}]
) >= 2",
                self.runs(&late)
            ),
            wait: None,
            severity: "warning",
            summary: format!("mail to {} arrives late again and again", self.to),
            description: format!(
                "Three of the last {RUNS_LOOKED_AT} runs were late, or found messages of earlier runs that had turned up after their deadline: mail is delayed, not lost. The last cause: {}.",
                self.last_cause
            ),
        }
    }

    pub(super) fn authentication<'t>(&self) -> Rule<'t> {
        let Self { labels, names, .. } = self;
        let by = format!("by ({names}, method)");
        // When a message with such a result arrived, and 0 where the last one had another.
        let at = |is: &str| {
            format!(
                "max {by} ({AUTHENTICATION}{{{labels},result{is}\"fail|softfail|permerror|policy\"}}
        * ignoring (method, result) group_left () {LAST_ARRIVAL}{{{labels}}})"
            )
        };
        let (bad, good) = (at("=~"), at("!~"));
        let failing = Streak {
            failed: format!("{bad}\n      > {good}"),
            good: format!("{good}\n        >= {bad}"),
            zero: format!("max {by} ({AUTHENTICATION}{{{labels}}} @ end()) * 0"),
            window: self.window(),
        };
        Rule {
            alert: "MailAuthenticationFailing",
            expr: format!(
                "{}\nunless on ({names}) {}",
                failing.in_a_row(2),
                self.no_arrival()
            ),
            wait: None,
            severity: "warning",
            summary: format!("{{{{ $labels.method }}}} of mail to {} fails", self.to),
            description: format!(
                "Two messages in a row failed the check: DNS records of the sending domain, or what the receiving server's resolver sees of them, are wrong. Sooner or later such mail is junked. The cause that the last run found: {} (none if it was delivered).",
                self.last_cause
            ),
        }
    }

    pub(super) fn was_blocked<'t>(&self) -> Rule<'t> {
        let Self {
            by, labels, timing, ..
        } = self;
        // What happened once is told for as long as three runs take where the schedule has no gap.
        let told = timing.shortest * 3 + timing.run;
        let (window, step) = (prometheus(told), prometheus(timing.step));
        Rule {
            alert: "RecipientWasBlocked",
            expr: format!(
                "time() - max_over_time((
  max {by} ({LAST_RUN}{{{labels}}} and {RECIPIENT_UNBLOCKED}{{{labels}}} == 1)
)[{window}:{step}]) < {}",
                told.as_secs()
            ),
            wait: None,
            severity: "warning",
            summary: format!("{} was on the provider's block list", self.to),
            description: "A bounce had put the recipient there, and mailprobe lifted the block. Other recipients of the same server may still be on it, and mail to them is dropped in silence.".to_owned(),
        }
    }

    /// The last run saw no message: what the one before it tells stands still, and alerts for that are others.
    fn no_arrival(&self) -> String {
        self.runs(&self.verdict("missing|bounced|refused|undetermined"))
    }
}
