//! What the dashboard shows, as Grafana reads its JSON.

use crate::generate::{config_of, printed_for};
use mailprobe::generate;
use serde_json::Value;

/// The panels, and the alert rules, for a probe `external` every 20 minutes and a probe `daily`.
fn generated() -> (Vec<Value>, String) {
    let daily = "[[probe]]\nname = \"daily\"\nsender = \"brevo\"\nmailbox = \"spam\"\nto = \"daily@example.org\"\nschedule = \"0 6 * * *\"\n";
    let monitor = "type = \"uptime_kuma\"\n";
    let example = generate::EXAMPLE_CONFIG;
    let example = example.replace(monitor, &format!("{monitor}probe = \"external\"\n"));
    let (_directory, path) = config_of(&format!("{daily}{example}"));
    let text = printed_for(&path, &["grafana-dashboard"]);
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    assert!(panels.len() >= 18, "{} panels", panels.len());
    (panels, printed_for(&path, &["prometheus-rules"]))
}

/// The text, if there is one for this value, and the colour that a panel shows a value of a series in.
fn shown(panel: &Value, series: &str, value: f64) -> (String, String) {
    let config = &panel["fieldConfig"];
    assert_eq!(config["defaults"]["color"]["mode"], "thresholds", "{panel}");
    let mapped = &config["defaults"]["mappings"][0]["options"][value.to_string()];
    if let Some(colour) = mapped["color"].as_str() {
        return (
            mapped["text"].as_str().unwrap().to_owned(),
            colour.to_owned(),
        );
    }
    let own = config["overrides"].as_array().unwrap().iter();
    let own = own
        .filter(|one| one["matcher"]["id"] == "byName" && one["matcher"]["options"] == series)
        .flat_map(|one| one["properties"].as_array().unwrap())
        .find(|property| property["id"] == "thresholds");
    let thresholds = own.map_or(&config["defaults"]["thresholds"], |own| &own["value"]);
    assert_eq!(thresholds["mode"], "absolute");
    let steps = thresholds["steps"].as_array().unwrap();
    assert!(steps[0]["value"].is_null(), "{steps:?}");
    let limits: Vec<f64> = steps[1..]
        .iter()
        .map(|step| step["value"].as_f64().unwrap())
        .collect();
    assert!(limits.is_sorted(), "{limits:?}");
    let step = limits.iter().take_while(|limit| **limit <= value).count();
    (
        String::new(),
        steps[step]["color"].as_str().unwrap().to_owned(),
    )
}

fn panel<'p>(panels: &'p [Value], title: &str) -> &'p Value {
    let found = panels.iter().find(|panel| panel["title"] == title);
    found.unwrap_or_else(|| panic!("there is no panel `{title}`"))
}

#[test]
fn no_panel_that_colours_by_value_leaves_the_colours_to_grafana() {
    let by_value = ["stat", "bargauge", "gauge", "state-timeline"];
    let (panels, _) = generated();
    let panels = panels.iter().filter(|panel| {
        let kind = panel["type"].as_str().unwrap();
        by_value.contains(&kind)
    });
    let mut count = 0;
    for panel in panels {
        count += 1;
        let config = &panel["fieldConfig"];
        let defaults = &config["defaults"];
        assert_eq!(defaults["color"]["mode"], "thresholds", "{panel}");
        let states = defaults["mappings"][0]["options"].as_object();
        let has_states = states.is_some_and(|states| {
            states.len() > 1 && states.values().all(|state| state["color"].is_string())
        });
        let steps = |thresholds: &Value| thresholds["steps"].as_array().unwrap().len();
        let has_steps = steps(&defaults["thresholds"]) > 1
            || config
                .pointer("/overrides/0/properties/0/value")
                .is_some_and(|own| steps(own) > 1);
        assert!(has_states || has_steps, "{panel}");
    }
    assert_eq!(count, 7);
}

#[test]
fn what_is_bad_is_red_and_what_is_good_is_green() {
    const HOUR: f64 = 3600.0;
    let cases = [
        (
            "Certificates, days left",
            "external mail.example.org:993",
            89.0,
            "green",
        ),
        (
            "Certificates, days left",
            "external mail.example.org:993",
            3.0,
            "red",
        ),
        (
            "Certificates, days left",
            "external mail.example.org:993",
            -1.0,
            "red",
        ),
        ("Delivered, last 7 days", "external", 1.0, "green"),
        ("Delivered, last 7 days", "external", 0.95, "yellow"),
        ("Delivered, last 7 days", "external", 0.0, "red"),
        ("Since the last success", "external", 80.0, "green"),
        ("Since the last success", "external", 0.75 * HOUR, "yellow"),
        ("Since the last success", "external", 2.0 * HOUR, "red"),
        ("Since the last success", "daily", 24.0 * HOUR, "green"),
        ("Since the last success", "daily", 30.0 * HOUR, "yellow"),
        ("Since the last success", "daily", 50.0 * HOUR, "red"),
        (
            "Since the last success",
            "of another config",
            50.0 * HOUR,
            "text",
        ),
        (
            "Until the next run is due",
            "external",
            0.25 * HOUR,
            "green",
        ),
        (
            "Until the next run is due",
            "external",
            -0.25 * HOUR,
            "green",
        ),
        (
            "Until the next run is due",
            "external",
            -0.5 * HOUR,
            "yellow",
        ),
        ("Until the next run is due", "external", -HOUR, "red"),
        ("Until the next run is due", "daily", -HOUR, "yellow"),
        ("Until the next run is due", "daily", -25.0 * HOUR, "red"),
    ];
    let (panels, _) = generated();
    for (title, series, value, colour) in cases {
        let (_, is) = shown(panel(&panels, title), series, value);
        assert_eq!(is, colour, "{title}: {series} at {value}");
    }
}

#[test]
fn a_state_has_its_name_and_a_colour_that_fits_it() {
    let (panels, _) = generated();
    let states = [
        ("Listeners", "down", "red"),
        ("Listeners", "up", "green"),
        ("SPF, DKIM, DMARC", "pass", "green"),
        ("SPF, DKIM, DMARC", "fail", "red"),
        ("Verdict", "delivered", "green"),
        ("Verdict", "missing", "red"),
    ];
    for (title, state, colour) in states {
        let panel = panel(&panels, title);
        let expression = panel["targets"][0]["expr"].as_str().unwrap();
        // The number that the expression gives to the state; a listener's is the metric's own.
        let line = expression
            .lines()
            .find(|line| line.contains(&format!("=\"{state}\"")));
        let number = match line {
            Some(line) => line
                .split(" * ")
                .next()
                .unwrap()
                .trim_start_matches("  or "),
            None if state == "up" => "1",
            None => "0",
        };
        let number = number.trim().parse().unwrap();
        let is = shown(panel, "external dkim", number);
        assert_eq!(is, (state.to_owned(), colour.to_owned()), "{title}");
    }
}

#[test]
fn colours_change_where_the_alert_rules_fire() {
    let (panels, rules) = generated();
    let limit = |before: &str| -> f64 {
        let (_, after) = rules
            .split_once(before)
            .unwrap_or_else(|| panic!("{before}"));
        after.split_whitespace().next().unwrap().parse().unwrap()
    };
    for probe in ["external", "daily"] {
        let age = |metric| {
            limit(&format!(
                "time() - max by (probe) (mailprobe_{metric}_run_timestamp_seconds{{probe=\"{probe}\"}}) > "
            ))
        };
        for (title, limit, beyond) in [
            ("Since the last success", age("last"), 1.0),
            ("Until the next run is due", -age("next"), -1.0),
        ] {
            let colour = |value| shown(panel(&panels, title), probe, value).1;
            assert_eq!(colour(limit + beyond), "red", "{title}: {limit}");
            assert_eq!(colour(limit - beyond), "yellow", "{title}: {limit}");
        }
    }
    let (_, ends) = rules
        .split_once("mailprobe_certificate_expiry_timestamp_seconds{probe=\"external\"}")
        .unwrap();
    let (_, seconds) = ends.split_once(") - time() < ").unwrap();
    let seconds: f64 = seconds.split_whitespace().next().unwrap().parse().unwrap();
    let days = seconds / 86400.0;
    let colour = |days| shown(panel(&panels, "Certificates, days left"), "", days).1;
    assert_eq!(colour(days - 0.1), "red");
    assert_eq!(colour(days), "green");
}

#[test]
fn a_band_is_filled_between_two_legends_of_the_same_panel() {
    let (panels, _) = generated();
    let mut bands = 0;
    for panel in &panels {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let legends: Vec<&str> = targets
            .map(|target| target["legendFormat"].as_str().unwrap())
            .collect();
        let overrides = panel["fieldConfig"]["overrides"].as_array();
        for one in overrides.into_iter().flatten() {
            for property in one["properties"].as_array().unwrap() {
                if property["id"] != "custom.fillBelowTo" {
                    continue;
                }
                bands += 1;
                assert_eq!(one["matcher"]["id"], "byName");
                for name in [&one["matcher"]["options"], &property["value"]] {
                    let name = name.as_str().unwrap();
                    assert!(legends.contains(&name), "`{name}` is none of {legends:?}");
                    // Grafana compares with what the legend has become, for one probe as for ten.
                    assert!(!name.contains("{{"), "{name}");
                }
                assert_eq!(panel["repeat"], "probe");
            }
        }
    }
    assert_eq!(bands, 1);
}
