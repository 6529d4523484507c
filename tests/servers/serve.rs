//! The scheduler against a real Dovecot and Pushgateway.

use crate::common::fleet::Fleet;
use crate::common::wait_until;
use std::time::{Duration, Instant};

/// Due once a year: a run that is asked for must not meet one of the schedule.
const SOON: &str = "schedule = \"0 3 1 1 *\"\nlate_after = \"10s\"\ntimeout = \"20s\"";

/// Waits until so many runs have ended.
fn until_ended(fleet: &Fleet, count: usize) {
    wait_until("the runs end", || {
        (fleet.runs().len() >= count).then_some(())
    });
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn many_probes_share_two_sessions_a_mailbox_and_are_reported_everywhere() {
    let mut fleet = Fleet::start(3);
    fleet.write_config(12, |_| SOON.to_owned(), &fleet.pushgateway());
    fleet.serve();
    for number in 0..12 {
        let answer = fleet.request("POST", &format!("/api/probes/p{number}/run"));
        assert!(answer.unwrap().contains("\"begun\":true"));
    }
    until_ended(&fleet, 12);
    assert!(fleet.most_sessions() <= 2, "{}", fleet.most_sessions());
    for run in fleet.runs().iter().take(12) {
        assert_eq!(run["verdict"], "delivered", "{run}");
    }
    assert!(fleet.sum("mailprobe_runs_total{") >= 12.0);
    wait_until("the gateway has all", || {
        let metrics = fleet.gateway.metrics();
        let pushed = metrics
            .lines()
            .filter(|line| line.starts_with("email_roundtrip_success{"));
        (pushed.count() == 12).then_some(())
    });
    let page = fleet.get("/").unwrap();
    assert_eq!(page.matches("badge good\">delivered").count(), 12);
    assert_eq!(fleet.stop(), Some(0));
    assert_eq!((fleet.messages("INBOX"), fleet.messages("Junk")), (0, 0));
    assert_eq!(fleet.most_sessions(), 0, "every session was logged out of");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn sigterm_ends_a_wait_as_interrupted_within_the_grace_and_leaves_kuma_and_the_round_trip_alone() {
    let mut fleet = Fleet::start(1);
    fleet.write_config(1, |_| SOON.to_owned(), &fleet.pushgateway());
    fleet.brevo.state().hold = Duration::from_secs(60);
    fleet.serve();
    fleet.request("POST", "/api/probes/p0/run").unwrap();
    wait_until("the message is handed over", || {
        (fleet.sent() == 1).then_some(())
    });
    let begun = Instant::now();
    assert_eq!(fleet.stop(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    let metrics = fleet.gateway.metrics();
    assert!(metrics.contains("cause=\"interrupted\""), "{metrics}");
    assert!(!metrics.contains("email_roundtrip_success{"), "{metrics}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_that_hangs_delays_no_run() {
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fleet = Fleet::start(1);
    let sink = format!(
        "[[sink]]\ntype = \"pushgateway\"\nurl = \"http://{}\"\n",
        hanging.local_addr().unwrap()
    );
    fleet.write_config(1, |_| SOON.to_owned(), &sink);
    fleet.serve();
    for count in 1..=3 {
        wait_until("it may be asked for again", || {
            let answer = fleet.request("POST", "/api/probes/p0/run")?;
            answer.contains("\"begun\":true").then_some(())
        });
        until_ended(&fleet, count);
    }
    assert!(fleet.runs().iter().all(|run| run["verdict"] == "delivered"));
    wait_until("what was replaced is counted", || {
        (fleet.sum("mailprobe_pushes_total{result=\"dropped\"") >= 1.0).then_some(())
    });
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_scheduler_that_is_killed_finds_its_history_again() {
    let mut fleet = Fleet::start(1);
    let state = format!("state_dir = \"{}/state\"\n", fleet.path().display());
    let keys = "schedule = \"0 3 1 1 *\"\nlate_after = \"1s\"\ntimeout = \"2s\"";
    fleet.write_config(1, |_| keys.to_owned(), &state);
    fleet.serve();
    fleet.request("POST", "/api/probes/p0/run").unwrap();
    until_ended(&fleet, 1);
    let token = fleet.runs()[0]["token"].as_str().unwrap().to_owned();
    // The next one is cut off with its message on the way.
    fleet.brevo.state().hold = Duration::from_millis(500);
    wait_until("it may be asked for again", || {
        let answer = fleet.request("POST", "/api/probes/p0/run")?;
        answer.contains("\"begun\":true").then_some(())
    });
    wait_until("the message is handed over", || {
        (fleet.sent() == 2).then_some(())
    });
    fleet.kill();
    wait_until("it arrives all the same", || {
        (fleet.messages("INBOX") == 1).then_some(())
    });
    fleet.brevo.state().hold = Duration::ZERO;
    fleet.serve();
    let report = fleet.get(&format!("/api/runs/{token}")).unwrap();
    assert!(report.contains("\"verdict\":\"delivered\""), "{report}");
    assert!(fleet.get("/").unwrap().contains("badge good\">delivered"));
}

/// What `/metrics` says of the last runs, counters left out: those begin anew with the process.
fn gauges(fleet: &Fleet) -> Vec<String> {
    let metrics = fleet.get("/metrics").unwrap();
    let counters = ["_total", "mailprobe_delivery_seconds", "mailprobe_config_"];
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| !counters.iter().any(|name| line.contains(name)))
        .map(str::to_owned)
        .collect()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_gauges_of_the_last_runs_are_after_a_restart_what_they_were() {
    let mut fleet = Fleet::start(1);
    let state = format!("state_dir = \"{}/state\"\n", fleet.path().display());
    fleet.write_config(2, |_| SOON.to_owned(), &state);
    fleet.serve();
    for probe in 0..2 {
        assert!(fleet.begins(probe));
        until_ended(&fleet, probe + 1);
    }
    // Since its success, the second one fails: neither is to be forgotten.
    let refusal = mailprobe::demo::brevo::error(401, "unauthorized", "Key not found");
    fleet.brevo.state().then = Some(mailprobe::demo::brevo::Behaviour::Answer(refusal));
    wait_until("it may be asked for again", || {
        fleet.begins(1).then_some(())
    });
    until_ended(&fleet, 3);
    let before = wait_until("the metrics have it", || {
        let gauges = gauges(&fleet);
        let refused = "mailprobe_verdict{probe=\"p1\",verdict=\"refused\"} 1".to_owned();
        gauges.contains(&refused).then_some(gauges)
    });
    for name in [
        "email_roundtrip_last_success_timestamp{probe=\"p1\"}",
        "mailprobe_last_run_timestamp_seconds{probe=\"p0\"}",
        "mailprobe_last_arrival_timestamp_seconds{probe=\"p1\"}",
        "mailprobe_next_run_timestamp_seconds{probe=\"p1\"}",
        "mailprobe_certificate_expiry_timestamp_seconds{",
    ] {
        assert!(before.iter().any(|line| line.starts_with(name)), "{name}");
    }
    assert_eq!(fleet.stop(), Some(0));
    fleet.serve();
    assert_eq!(gauges(&fleet), before);
}
