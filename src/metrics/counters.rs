//! What only a process that goes on can count.

use super::{
    DELIVERY, Metric, PROBE, PUSHES, RELOAD_SUCCESS_TIMESTAMP, RELOAD_SUCCESSFUL, RUNS,
    TICKS_SKIPPED, text, unix,
};
use crate::probe::report::Report;
use crate::probe::verdict::Verdict;
use crate::sinks::queue::PushResult;
use chrono::{DateTime, Utc};
use prometheus::core::Collector;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// From a message that is there at once to one that was greylisted twice; four a decade, where people look.
const BUCKETS: [f64; 16] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0,
    3600.0,
];

/// Counters and histograms of the scheduler.
#[derive(Debug)]
pub struct Counters {
    registry: Registry,
    runs: IntCounterVec,
    delivery: HistogramVec,
    skipped: IntCounterVec,
    pushes: IntCounterVec,
    reload_successful: Gauge,
    reload_success_at: Gauge,
}

impl Counters {
    /// All at zero.
    ///
    /// # Errors
    /// Names that Prometheus does not allow, or one of them twice: ours are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let options = |metric: &Metric| Opts::new(metric.name, metric.help);
        let histogram = HistogramOpts::new(DELIVERY.name, DELIVERY.help).buckets(BUCKETS.to_vec());
        let counters = Self {
            registry: Registry::new(),
            runs: IntCounterVec::new(options(&RUNS), &[PROBE, "verdict"])?,
            delivery: HistogramVec::new(histogram, &[PROBE])?,
            skipped: IntCounterVec::new(options(&TICKS_SKIPPED), &[PROBE])?,
            pushes: IntCounterVec::new(options(&PUSHES), &["sink", "result"])?,
            reload_successful: Gauge::with_opts(options(&RELOAD_SUCCESSFUL))?,
            reload_success_at: Gauge::with_opts(options(&RELOAD_SUCCESS_TIMESTAMP))?,
        };
        let all: [Box<dyn Collector>; 6] = [
            Box::new(counters.runs.clone()),
            Box::new(counters.delivery.clone()),
            Box::new(counters.skipped.clone()),
            Box::new(counters.pushes.clone()),
            Box::new(counters.reload_successful.clone()),
            Box::new(counters.reload_success_at.clone()),
        ];
        for one in all {
            counters.registry.register(one)?;
        }
        Ok(counters)
    }

    /// A run has begun: from its first one on a probe has every series, so that rates begin at zero.
    pub fn begin(&self, probe: &str) {
        for verdict in Verdict::ALL {
            let _ = self
                .runs
                .get_metric_with_label_values(&[probe, verdict.name()]);
        }
        let _ = self.skipped.get_metric_with_label_values(&[probe]);
        let _ = self.delivery.get_metric_with_label_values(&[probe]);
    }

    /// A run has ended.
    pub fn end(&self, report: &Report) {
        let labels = [report.probe.as_str(), report.verdict.name()];
        if let Ok(runs) = self.runs.get_metric_with_label_values(&labels) {
            runs.inc();
        }
        if let Some(seconds) = report.delivery_seconds
            && let Ok(delivery) = self.delivery.get_metric_with_label_values(&[&report.probe])
        {
            delivery.observe(seconds);
        }
    }

    /// A run was due while the one before was still going.
    pub fn skip(&self, probe: &str) {
        if let Ok(skipped) = self.skipped.get_metric_with_label_values(&[probe]) {
            skipped.inc();
        }
    }

    /// There is such a sink.
    pub fn sink(&self, sink: &str) {
        for result in PushResult::ALL {
            let _ = self
                .pushes
                .get_metric_with_label_values(&[sink, result.name()]);
        }
    }

    /// What became of a report for a sink.
    pub fn push(&self, sink: &str, result: PushResult) {
        let labels = [sink, result.name()];
        if let Ok(pushes) = self.pushes.get_metric_with_label_values(&labels) {
            pushes.inc();
        }
    }

    /// The config was read again: in use since this time, or not fit for use.
    pub fn reload(&self, success_at: Option<DateTime<Utc>>) {
        self.reload_successful
            .set(f64::from(u8::from(success_at.is_some())));
        if let Some(at) = success_at {
            self.reload_success_at.set(unix(at));
        }
    }

    /// The probe is gone: so are its series.
    pub fn forget(&self, probe: &str) {
        for verdict in Verdict::ALL {
            let _ = self.runs.remove_label_values(&[probe, verdict.name()]);
        }
        let _ = self.skipped.remove_label_values(&[probe]);
        let _ = self.delivery.remove_label_values(&[probe]);
    }

    /// There is no such sink any more.
    pub fn forget_sink(&self, sink: &str) {
        for result in PushResult::ALL {
            let _ = self.pushes.remove_label_values(&[sink, result.name()]);
        }
    }

    /// The text format 0.0.4.
    #[must_use]
    pub fn encode(&self) -> String {
        text(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::sample;

    #[test]
    fn a_probe_has_every_verdict_at_zero_from_its_first_run_on_and_none_once_it_is_gone() {
        let counters = Counters::new().unwrap();
        counters.begin("external");
        let text = counters.encode();
        for verdict in Verdict::ALL {
            let line = format!(
                "mailprobe_runs_total{{probe=\"external\",verdict=\"{}\"}} 0",
                verdict.name()
            );
            assert!(text.contains(&line), "{line}: {text}");
        }
        counters.end(&sample("external", "e2e-probe-1", Utc::now()));
        let text = counters.encode();
        assert!(
            text.contains("mailprobe_runs_total{probe=\"external\",verdict=\"delivered\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("mailprobe_delivery_seconds_bucket{probe=\"external\",le=\"0.5\"} 0")
        );
        assert!(text.contains("mailprobe_delivery_seconds_bucket{probe=\"external\",le=\"1\"} 1"));
        counters.forget("external");
        assert!(!counters.encode().contains("external"));
    }

    #[test]
    fn a_sink_that_is_gone_has_no_series() {
        let counters = Counters::new().unwrap();
        counters.sink("gateway");
        counters.sink("kuma");
        counters.push("gateway", PushResult::Ok);
        assert_eq!(counters.encode().matches("sink=\"gateway\"").count(), 3);
        counters.forget_sink("gateway");
        let text = counters.encode();
        assert!(!text.contains("gateway") && text.contains("kuma"), "{text}");
    }

    #[test]
    fn a_bad_reload_keeps_the_time_of_the_good_one() {
        let counters = Counters::new().unwrap();
        counters.reload("2026-11-25T10:00:00Z".parse().ok());
        counters.reload(None);
        let text = counters.encode();
        assert!(text.contains("mailprobe_config_last_reload_successful 0"));
        assert!(text.contains("mailprobe_config_last_reload_success_timestamp_seconds 1795600800"));
    }
}
