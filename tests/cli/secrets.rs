//! No secret in any output at any log level, through every incident.

use crate::world::{Stage, finish, program};
use clap::ValueEnum;
use mailprobe::demo::Fault;

#[test]
fn no_secret_is_in_any_output_at_trace_level_through_every_incident() {
    let faults = Fault::value_variants().iter().copied().map(Some);
    let scenes: Vec<_> = [None]
        .into_iter()
        .chain(faults)
        .map(|fault| {
            let stage = Stage::new(fault);
            let config = stage.config();
            let format = if fault.is_some() { "text" } else { "json" };
            let child = program(&[
                "run",
                "--log-level",
                "trace",
                "--log-format",
                format,
                "--config",
                config.to_str().unwrap(),
            ])
            .spawn()
            .unwrap();
            (fault, stage, child)
        })
        .collect();
    for (fault, stage, child) in scenes {
        let ran = finish(child);
        assert!(
            ran.stderr.lines().count() > 3,
            "{fault:?}: the log is empty: {ran:#?}"
        );
        let mut seen = vec![ran.stdout, ran.stderr.clone()];
        for request in stage.world().gateway().requests() {
            seen.push(format!("{request:?}"));
            seen.push(String::from_utf8(request.body).unwrap());
        }
        for request in stage.world().kuma().requests() {
            seen.push(format!("{:?}", request.query));
        }
        for secret in stage.secrets() {
            for text in &seen {
                assert!(!text.contains(&secret), "{fault:?}: {secret} in {text}");
            }
        }
        let reaches_log_in = !matches!(
            fault,
            Some(Fault::ImapDown | Fault::ImapHang | Fault::ImapCertificate)
        );
        let says = ran
            .stderr
            .contains("log in as spam@example.org by Plain with <secret>");
        assert_eq!(says, reaches_log_in, "{fault:?}: {}", ran.stderr);
    }
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let stage = Stage::new(None);
    let ran = stage.run(&[
        "--output",
        "json",
        "--log-level",
        "trace",
        "--log-format",
        "json",
    ]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines.len() > 10);
    for line in lines {
        let object: serde_json::Value = serde_json::from_str(line).expect(line);
        for key in ["timestamp", "level", "target"] {
            assert!(object[key].is_string(), "{line}");
        }
        assert!(
            object["target"].as_str().unwrap().starts_with("mailprobe"),
            "{line}"
        );
    }
    ran.report();
}

#[test]
fn a_run_is_one_line_of_the_log_at_level_info_and_none_by_itself() {
    let stage = Stage::new(None);
    let ran = stage.run(&[
        "--output",
        "json",
        "--log-level",
        "info",
        "--log-format",
        "json",
    ]);
    let line: serde_json::Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["verdict"], "delivered");
    assert_eq!(line["token"], ran.report()["run"]);
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("delivered in "),
        "{line}"
    );
    assert_eq!(stage.run(&["--output", "json"]).stderr, "");
}

#[test]
fn a_server_that_repeats_the_key_does_not_get_it_into_the_report() {
    use mailprobe::demo::brevo::{Behaviour, error};
    let stage = Stage::new(None);
    let key = stage.secrets()[0].clone();
    let echo = Behaviour::Answer(error(401, "unauthorized", &format!("no such key: {key}")));
    stage.world().brevo().state().then = Some(echo);
    let ran = stage.run(&["--output", "json"]);
    assert!(
        ran.stdout.contains("no such key: <secret>"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains(&key));
    assert!(!format!("{:?}", stage.told_kuma()).contains(&key));
}
