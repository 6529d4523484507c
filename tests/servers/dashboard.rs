//! Every expression of the dashboard, asked of a real Prometheus about a real run.

use crate::common::postfix::Postfix;
use crate::common::prometheus::Prometheus;
use crate::common::rspamd::Rspamd;
use crate::common::{Site, process, wait_until};
use crate::tools;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Behind a spam filter that checks signatures, with a border that is named and a port that is watched: every panel has
/// something to show.
fn equipped() -> (Site, Rspamd, Postfix) {
    let mut site = Site::start();
    let directory = site.path().display().to_string();
    let port = site.dovecot.imaps_port;
    site.with(|settings| {
        settings.more = format!(
            "
[path]
mx = [\"mail.example.org\"]
border = [\"mail.example.org\"]
authserv_ids = [\"mail.example.org\"]

[[listener]]
name = \"imaps\"
host = \"127.0.0.1\"
port = {port}
protocol = \"imaps\"
tls_server_name = \"mail.example.org\"
ca_file = \"{directory}/ca.pem\"
"
        );
    });
    let rspamd = Rspamd::start(site.path());
    let postfix = site.behind(&format!(
        "smtpd_milters = inet:127.0.0.1:{}\nmilter_default_action = tempfail",
        rspamd.milter_port
    ));
    (site, rspamd, postfix)
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn no_panel_of_the_dashboard_is_empty_on_a_healthy_system() {
    let (site, _rspamd, _postfix) = equipped();
    site.run().assert("delivered", None, 0);
    let prometheus = Prometheus::start(site.path(), site.gateway.port, None);
    wait_until("the run is scraped", || {
        (!prometheus.query("email_roundtrip_success == 1").is_empty()).then_some(())
    });
    let dashboard: Value =
        serde_json::from_str(&site.see(&["generate", "grafana-dashboard"]).stdout).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut empty = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = expression(target);
            let samples = prometheus.query(&expression);
            if !samples.iter().any(is_known) {
                empty.push(format!("{}: {expression}", panel["title"]));
            }
        }
    }
    assert!(panels.len() >= 18, "{} panels", panels.len());
    assert!(empty.is_empty(), "{}", empty.join("\n"));
    if std::env::var_os("MAILPROBE_BLESS").is_some() {
        record(&site, &prometheus, panels);
    }
}

/// Writes what the panels show after each of some more runs, for the preview to draw.
fn record(site: &Site, prometheus: &Prometheus, panels: &[Value]) {
    let mut moments = Vec::new();
    for _ in 0..12 {
        let last = prometheus.query("mailprobe_last_run_timestamp_seconds");
        site.run().assert("delivered", None, 0);
        wait_until("the run is scraped", || {
            (value(&prometheus.query("mailprobe_last_run_timestamp_seconds")) != value(&last))
                .then_some(())
        });
        let mut shown = serde_json::Map::new();
        for panel in panels {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = expression(target);
                let samples = prometheus.query(&expression);
                let key = format!("{} {}", panel["title"].as_str().unwrap(), target["refId"]);
                shown.insert(key.replace('"', ""), samples.into());
            }
        }
        moments.push(Value::from(shown));
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&moments).unwrap());
    std::fs::write(root().join("fixtures/dashboard/samples.json"), text).unwrap();
}

/// As Grafana asks it: of all probes there are.
fn expression(target: &Value) -> String {
    target["expr"]
        .as_str()
        .unwrap()
        .replace("$probe", "external")
}

/// NaN is what a run did not find out.
fn is_known(sample: &Value) -> bool {
    let value = sample.pointer("/value/1").and_then(Value::as_str);
    value.is_some_and(|value| value != "NaN")
}

/// The first sample's value, as Prometheus writes it.
fn value(samples: &[Value]) -> String {
    samples
        .first()
        .and_then(|sample| sample.pointer("/value/1"))
        .map(Value::to_string)
        .unwrap_or_default()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_preview_is_what_is_drawn_from_the_dashboard_and_the_samples_of_a_real_run() {
    let drawn = process::run(&mut Command::new(root().join("deploy/grafana/preview")));
    let path = root().join("deploy/grafana/preview.svg");
    if std::env::var_os("MAILPROBE_BLESS").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == drawn,
        "deploy/grafana/preview > deploy/grafana/preview.svg"
    );
    let dashboard = std::fs::read_to_string(root().join("deploy/grafana/mailprobe.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let title = title.replace("$probe", "external");
        assert!(drawn.contains(&format!(">{title}</text>")), "{title}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn grafana_knows_every_key_of_the_dashboard() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/mailprobe.json");
    let text = std::fs::read_to_string(path).unwrap();
    // How an annotation is worded is the Prometheus data source's own, and not in the model of dashboards.
    let wording = [
        "/annotations/list/0/textFormat",
        "/annotations/list/0/titleFormat",
    ];
    assert_eq!(tools::unknown_to_grafana(&text), wording);

    let bad = text.replace("\"legendFormat\"", "\"legendFormt\"");
    let bad = bad.replace("\"gridPos\"", "\"gridPosition\"");
    let unknown = tools::unknown_to_grafana(&bad);
    for key in ["/legendFormt", "/gridPosition"] {
        assert!(
            unknown.iter().any(|one| one.ends_with(key)),
            "{key}: {unknown:?}"
        );
    }
}
