//! Whole pushes against stored ones; `MAILPROBE_BLESS=1` stores what is new.

use super::*;
use crate::probe::report::samples;
use std::path::Path;

#[track_caller]
fn compare(name: &str, text: &str) {
    // The version changes with every release.
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    // The list of causes grows; that the others are 0 is shown below.
    let is_other = |line: &&str| line.starts_with("mailprobe_cause{") && line.ends_with(" 0");
    let lines = text.lines().filter(|line| !is_other(line));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/metrics")
        .join(name);
    if std::env::var_os("MAILPROBE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, stored, "{name}; MAILPROBE_BLESS=1 stores what is new");
}

#[test]
fn each_kind_of_push_is_as_stored() {
    compare(
        "delivered.prom",
        &encode(&Gauges::of(&samples::delivered())),
    );
    let blind = samples::blind(CauseCode::MailboxLoginRefused);
    compare("undetermined.prom", &encode(&Gauges::of(&blind)));
    let interrupted = samples::blind(CauseCode::Interrupted);
    compare("interrupted.prom", &encode(&Gauges::of(&interrupted)));
    compare("overdue.prom", &encode_overdue());
    let surroundings = crate::probe::surroundings::samples::surroundings();
    compare("surroundings.prom", &encode_surroundings(&surroundings));
}

/// The gateway refuses what lacks a type or has a time of its own (contract of the text format 0.0.4).
#[test]
fn every_series_has_a_type_no_time_and_a_line_of_its_own() {
    for text in [
        encode(&Gauges::of(&samples::delivered())),
        encode(&Gauges::of(&samples::blind(CauseCode::MailboxUnreachable))),
        encode_overdue(),
        encode_surroundings(&crate::probe::surroundings::samples::surroundings()),
    ] {
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "{line} twice");
            let name = series.split('{').next().unwrap();
            assert!(!series.split('{').next().unwrap().contains(' '), "{line}");
            let kind = format!("# TYPE {name} gauge\n");
            assert!(text.contains(&kind), "{line} has no type");
        }
    }
}

#[test]
fn exactly_one_verdict_and_one_cause_are_1() {
    for report in [
        samples::delivered(),
        samples::blind(CauseCode::Interrupted),
        samples::blind(CauseCode::Unknown),
    ] {
        let text = encode(&Gauges::of(&report));
        for (metric, count) in [
            ("mailprobe_verdict{", Verdict::ALL.len() + 1),
            ("mailprobe_cause{", CauseCode::ALL.len() + 1),
        ] {
            let rows: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(metric))
                .collect();
            assert_eq!(rows.len(), count);
            assert_eq!(rows.iter().filter(|row| row.ends_with(" 1")).count(), 1);
        }
    }
}

/// "All lines for a given metric must be provided as one single group" (text format 0.0.4).
#[test]
fn a_page_of_many_probes_has_each_metric_in_one_group_with_every_probe_in_it() {
    let report = samples::delivered();
    let last = Arc::new(Gauges::of(&report));
    let count = 2 * TOGETHER + 1;
    let probes: Vec<_> = (0..count)
        .map(|number| ProbeMetrics {
            probe: format!("p{number}"),
            last: Some(Arc::clone(&last)),
            last_arrival: Some(Arc::clone(&last)),
            last_success_at: Some(report.ended_at),
            next_run_at: None,
            is_overdue: false,
        })
        .collect();
    let surroundings = crate::probe::surroundings::samples::surroundings();
    let page = encode_all(&probes, &surroundings).collect::<String>();
    let (mut types, mut series) = (std::collections::BTreeSet::new(), 0);
    let mut group = "";
    for line in page.lines().filter(|line| !line.starts_with("# HELP")) {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            group = described.strip_suffix(" gauge").unwrap();
            assert!(types.insert(group), "{group} twice");
        } else {
            assert_eq!(line.split(['{', ' ']).next(), Some(group));
            series += usize::from(line.contains("probe=\"p"));
        }
    }
    let verdicts = format!("{}{{probe=\"p{}\"", VERDICT.name, count - 1);
    assert_eq!(page.matches(&verdicts).count(), Verdict::ALL.len() + 1);
    assert_eq!(series % count, 0, "a probe lacks a series");
}

#[test]
fn a_first_run_that_is_overdue_is_shown_and_one_that_is_not_has_no_verdict() {
    let page = |is_overdue| {
        let probe = ProbeMetrics {
            probe: "new".to_owned(),
            last: None,
            last_arrival: None,
            last_success_at: None,
            next_run_at: None,
            is_overdue,
        };
        encode_all(&[probe], &Surroundings::default()).collect::<String>()
    };
    let shown = page(true);
    let rows = shown.lines().filter(|line| line.starts_with(VERDICT.name));
    let (ones, zeros): (Vec<&str>, Vec<&str>) = rows.partition(|row| row.ends_with(" 1"));
    assert_eq!(
        ones,
        ["mailprobe_verdict{probe=\"new\",verdict=\"overdue\"} 1"]
    );
    assert_eq!(zeros.len(), Verdict::ALL.len());
    assert!(!page(false).contains(VERDICT.name));
}

/// What the history keeps of a run is enough to say the same after a restart.
#[test]
fn gauges_that_were_kept_say_what_they_said() {
    for report in [
        samples::delivered(),
        samples::blind(CauseCode::MailboxUnreachable),
    ] {
        let gauges = Gauges::of(&report);
        let kept = serde_json::to_string(&gauges).unwrap();
        let again: Gauges = serde_json::from_str(&kept).unwrap();
        assert_eq!(encode(&again), encode(&gauges));
    }
}
