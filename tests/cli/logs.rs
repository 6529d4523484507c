//! What the log of `serve` tells of a run: every line carries its probe and token, whoever writes it.

use crate::world::{Stage, finish, program, signal};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

fn post(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Every line of `serve` from its start to its end, with one run in between.
fn log_of_a_run(stage: &Stage) -> Vec<Value> {
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let config = stage.directory().join("served.toml");
    // A run of the schedule would be another one.
    let text = text.replacen("[[probe]]", "[[probe]]\nschedule = \"0 0 1 1 *\"", 1);
    std::fs::write(&config, text + "\n[serve]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let arguments = [
        "serve",
        "--log-level",
        "trace",
        "--log-format",
        "json",
        "--config",
    ];
    let mut child = program(&arguments).arg(&config).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut lines = Vec::new();
    let mut until = |said: &str| loop {
        let mut line = String::new();
        assert_ne!(
            log.read_line(&mut line).unwrap(),
            0,
            "{said} was not said: {lines:#?}"
        );
        lines.push(serde_json::from_str::<Value>(&line).unwrap());
        if line.contains(said) {
            return line;
        }
    };
    let line = until("serving http://");
    let address = line.split("http://").nth(1).unwrap();
    let address = address.split([' ', '"']).next().unwrap().to_owned();
    let answer = post(&address, "/api/probes/demo/run");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    until("\"verdict\":");
    // Both sinks.
    until("the sink took the report");
    until("the sink took the report");
    signal(child.id(), "TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    lines.extend(rest.lines().map(|line| serde_json::from_str(line).unwrap()));
    assert_eq!(finish(child).code, Some(0));
    lines
}

#[test]
fn every_line_about_a_run_carries_its_probe_and_token_and_the_others_mailbox_and_folder() {
    let lines = log_of_a_run(&Stage::new(None));
    let end = lines
        .iter()
        .find(|line| line["verdict"].is_string())
        .unwrap();
    assert_eq!(end["verdict"], "delivered", "{end}");
    let token = end["token"].as_str().unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();

    // From the moment at which it has one.
    let handed = lines
        .iter()
        .position(|line| text(line, "message").starts_with("handing e2e-probe-"))
        .unwrap();
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for line in &lines[handed..] {
        let kind = match text(line, "message").as_str() {
            "imap" => text(line, "command")
                .split(' ')
                .take(2)
                .collect::<Vec<_>>()
                .join(" "),
            "brevo request" | "http answer" => text(line, "message"),
            _ => continue,
        };
        *kinds.entry(kind.clone()).or_default() += 1;
        let is_at_rest = kind == "LOGOUT";
        if is_at_rest {
            assert_eq!(
                (line.get("probe"), line.get("token")),
                (None, None),
                "{line}"
            );
        } else {
            assert_eq!(
                (&line["probe"], &line["token"]),
                (&"demo".into(), &token.into()),
                "{line}"
            );
        }
        if text(line, "message") == "imap" {
            assert_eq!(line["mailbox"], "spam", "{line}");
            assert!(
                ["INBOX", "Junk"].contains(&text(line, "folder").as_str()),
                "{line}"
            );
        }
    }
    for kind in [
        "NOOP",
        "UID FETCH",
        "UID STORE",
        "UID EXPUNGE",
        "LOGOUT",
        "http answer",
    ] {
        assert!(kinds.contains_key(kind), "{kind} is not among {kinds:?}");
    }
    // Before, it was the probe's run all the same.
    let before = &lines[..handed];
    let connecting: Vec<_> = before
        .iter()
        .filter(|line| line["message"] == "imap")
        .collect();
    assert!(!connecting.is_empty());
    for line in connecting {
        assert_eq!(line["probe"], "demo", "{line}");
    }
    for line in &lines {
        if let Some(milliseconds) = line["milliseconds"].as_f64() {
            let tenths = milliseconds * 10.0;
            assert!((tenths - tenths.round()).abs() < 1e-6, "{line}");
        }
    }
}
