//! From a dead mail server to one notification: real runs, a real Pushgateway, Prometheus and Alertmanager.

use crate::common::alertmanager::Alertmanager;
use crate::common::prometheus::Prometheus;
use crate::common::{Site, wait_until};
use std::time::Instant;

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
