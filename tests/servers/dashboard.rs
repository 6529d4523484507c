//! Every expression of the dashboard, asked of a real Prometheus about a real run.

use crate::common::prometheus::Prometheus;
use crate::common::{Site, wait_until};
use serde_json::Value;

#[test]
#[ignore = "needs servers: run tests/run"]
fn no_panel_of_the_dashboard_is_empty_on_a_healthy_system() {
    let site = Site::start();
    site.run().assert("delivered", None, 0);
    let prometheus = Prometheus::start(site.path(), site.gateway.port, None);
    wait_until("the run is scraped", || {
        (!prometheus.query("email_roundtrip_success == 1").is_empty()).then_some(())
    });
    let dashboard: Value =
        serde_json::from_str(&site.see(&["generate", "grafana-dashboard"]).stdout).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let depends = panels
        .iter()
        .position(|panel| panel["type"] == "row")
        .unwrap();
    let mut empty = Vec::new();
    for (index, panel) in panels.iter().enumerate() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$probe", ".*");
            // Fails where the expression is wrong, for those too that need more than this site has.
            if prometheus.query(&expression).is_empty() && index < depends {
                empty.push(format!("{}: {expression}", panel["title"]));
            }
        }
    }
    assert!(panels.len() >= 18, "{} panels", panels.len());
    assert!(empty.is_empty(), "{}", empty.join("\n"));
}
