//! From a dead mail server to one notification: real runs, a real Pushgateway, Prometheus and Alertmanager.

use crate::common::alertmanager::Alertmanager;
use crate::common::prometheus::Prometheus;
use crate::common::{Outcome, Site, wait_until};
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_dead_mail_server_is_one_notification_with_its_cause_and_not_three() {
    let mut site = Site::start();
    site.with(|settings| {
        settings.late_after = "3s".to_owned();
        settings.timeout = "6s".to_owned();
    });
    let rules = site.see(&["generate", "prometheus-rules"]).stdout;
    let inhibitions = site.see(&["generate", "alertmanager-inhibitions"]).stdout;
    let alertmanager = Alertmanager::start(site.path(), &inhibitions);
    let prometheus = Prometheus::start(
        site.path(),
        site.gateway.port,
        Some((&rules, alertmanager.port)),
    );
    site.run().assert("delivered", None, 0);
    let is_scraped =
        || (!prometheus.query("email_roundtrip_success == 1").is_empty()).then_some(());
    wait_until("the success is scraped", is_scraped);
    site.postfix.stop();
    let died = Instant::now();
    for _ in 0..3 {
        let report = site.run().report();
        assert_eq!(report["verdict"], "missing", "{report:#}");
    }
    wait_until("Alertmanager suppresses MailProbeStale", || {
        (alertmanager.state("MailProbeStale")? == "suppressed").then_some(())
    });
    let notifications = wait_until("somebody is notified", || {
        Some(alertmanager.notifications()).filter(|all| !all.is_empty())
    });
    println!("notified within {:.0} s", died.elapsed().as_secs_f64());
    assert_eq!(notifications.len(), 1, "{notifications:#?}");
    let alerts = notifications[0]["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["labels"]["alertname"], "MailDeliveryFailing");
    let summary = alerts[0]["annotations"]["summary"].as_str().unwrap();
    let cause = site.run().report()["cause"]["code"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        summary,
        format!("mail to smoke-test@example.org does not arrive: {cause}")
    );
}

/// What stands for a minute in the model below.
const MINUTE: Duration = Duration::from_secs(1);

/// A duration as rules write it, such as `1h16m`, in seconds.
fn duration(token: &str) -> Option<u64> {
    let mut seconds = 0;
    let mut rest = token;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        seconds += number
            * match unit {
                'd' => 24 * 60 * 60,
                'h' => 60 * 60,
                'm' => 60,
                's' => 1,
                _ => return None,
            };
        rest = &rest[digits + 1..];
    }
    (seconds > 0).then_some(seconds)
}

/// The rules with every window, step, offset and `for` a sixtieth as long.
fn a_minute_is_a_second(rules: &str) -> String {
    let is_of_a_word = |one: char| one.is_alphanumeric() || one == '_';
    let mut scaled = String::new();
    let mut rest = rules;
    while !rest.is_empty() {
        let end = rest.find(|one| !is_of_a_word(one)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match duration(word) {
            Some(seconds) => scaled += &format!("{}s", (seconds / 60).max(1)),
            None => scaled += word,
        }
        let next = after.find(is_of_a_word).unwrap_or(after.len());
        scaled += &after[..next];
        rest = &after[next..];
    }
    scaled
}

/// The default schedule and limits, and a scrape and an evaluation a minute, in a model in which a minute is a second:
/// the worst case, a server that dies right after a success.
#[test]
#[ignore = "needs servers: run tests/run"]
fn from_a_dead_server_to_the_notification_it_is_less_than_50_minutes_in_a_model_60_times_as_fast() {
    let mut site = Site::start();
    site.with(|settings| {
        settings.late_after = "5m".to_owned();
        settings.timeout = "15m".to_owned();
    });
    let rules = a_minute_is_a_second(&site.see(&["generate", "prometheus-rules"]).stdout);
    assert!(rules.contains("[76s:1s] offset 3s"), "{rules}");
    let inhibitions = site.see(&["generate", "alertmanager-inhibitions"]).stdout;
    // Half a minute is what Alertmanager waits by default.
    let alertmanager = Alertmanager::start_waiting(site.path(), &inhibitions, "500ms");
    let prometheus = Prometheus::start(
        site.path(),
        site.gateway.port,
        Some((&rules, alertmanager.port)),
    );
    site.with(|settings| {
        settings.late_after = "5s".to_owned();
        settings.timeout = "15s".to_owned();
    });
    let begun = Instant::now();
    let due = |run: u32| {
        let due = begun + run * 20 * MINUTE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    };
    site.run().assert("delivered", None, 0);
    site.postfix.stop();
    let died = Instant::now();
    due(1);
    let report = site.run().report();
    assert_eq!(report["verdict"], "missing", "{report:#}");
    assert!(alertmanager.notifications().is_empty());
    due(2);
    let overdue = site.begin();
    let notifications = wait_until("somebody is notified", || {
        Some(alertmanager.notifications()).filter(|all| !all.is_empty())
    });
    let taken = died.elapsed().as_secs_f64();
    println!("from the dead server to the notification: {taken:.1} s, a model of as many minutes");
    let alert = &notifications[0]["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "MailDeliveryFailing");
    assert_eq!(notifications.len(), 1, "{notifications:#?}");
    // The second message is overdue after two periods and `late_after`; then a push, a scrape, an evaluation and the wait.
    assert!((44.0..50.0).contains(&taken), "{taken} s");
    let report = Outcome::of(overdue).report();
    assert_eq!(report["verdict"], "missing", "{report:#}");
    drop(prometheus);
}
