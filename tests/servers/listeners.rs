//! The checks of mail ports against real Postfix (postscreen and smtpd), Dovecot and HAProxy.

use crate::common::ways_in::{LISTENERS, Settings, WaysIn};
use crate::common::{Site, closed_port, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Output;

/// The JSON line of each listener.
fn checks(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn check(ways_in: &WaysIn, listeners: &str) -> (Option<i32>, Vec<Value>) {
    let output = ways_in.see(listeners, &["check", "--listeners", "--output", "json"]);
    (output.status.code(), checks(&output))
}

/// Asserts that this listener alone is not ok, and what is said of it.
#[track_caller]
fn assert_caught(ways_in: &WaysIn, listeners: &str, name: &str, words: &[&str]) {
    let (code, checks) = check(ways_in, listeners);
    assert_eq!(checks.len(), LISTENERS.len(), "{checks:#?}");
    for check in &checks {
        let is_wrong = check["listener"] == name;
        assert_eq!(
            check["ok"],
            !is_wrong,
            "{name}: {check:#}\n{}",
            ways_in.log()
        );
        if is_wrong {
            let said = format!("{} {}", check["error"], check["hint"]);
            for word in words {
                assert!(said.contains(word), "{name}: `{word}` is not in {said}");
            }
        }
    }
    assert_eq!(code, Some(1));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn all_eight_listeners_are_ok_with_every_step_timed_and_the_certificate_named() {
    let ways_in = WaysIn::start(Settings::default());
    let (code, checks) = check(&ways_in, &ways_in.listeners());
    assert_eq!(checks.len(), 8, "{checks:#?}");
    for (check, (name, _, is_behind)) in checks.iter().zip(LISTENERS) {
        assert_eq!(check["listener"], name);
        assert_eq!(check["ok"], true, "{check:#}\n{}", ways_in.log());
        assert_eq!(check["certificate"]["names"][0], "mail.example.org");
        assert_eq!(check["certificate"]["valid"], true);
        let steps: Vec<&str> = check["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["name"].as_str().unwrap())
            .collect();
        assert_eq!(steps.contains(&"proxy"), is_behind, "{steps:?}");
        assert_eq!(steps.last(), Some(&"opposite"), "{steps:?}");
    }
    assert_eq!(code, Some(0));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn behind_haproxy_the_same_ports_are_ok_without_a_header_of_ours() {
    let mut ways_in = WaysIn::start(Settings::default());
    let front = ways_in.balance("send-proxy-v2");
    let listeners: String = front
        .iter()
        .map(|(name, protocol, port)| ways_in.listener(name, protocol, *port, false))
        .collect();
    let (code, checks) = check(&ways_in, &listeners);
    assert_eq!((code, checks.len()), (Some(0), 4), "{checks:#?}");
    // A header of ours before HAProxy's own is one too many.
    let (name, protocol, port) = front[0];
    let (code, checks) = check(&ways_in, &ways_in.listener(name, protocol, port, true));
    assert_eq!(code, Some(1), "{checks:#?}");
    let error = checks[0]["error"].as_str().unwrap();
    assert!(error.contains("does not take the PROXY header"), "{error}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn each_wrong_setting_is_caught_and_named() {
    let wrong: [(&str, Settings, &[&str]); 8] = [
        (
            "smtp",
            Settings::default().with("smtp", "-o postscreen_upstream_proxy_protocol=haproxy"),
            &[
                "demands a PROXY header",
                "421 4.3.2 No system resources",
                "Postfix postscreen",
            ],
        ),
        (
            "smtps",
            Settings {
                smtps_names: vec!["old.example.org"],
                ..Settings::default()
            },
            &[
                "is for old.example.org, not for `mail.example.org`",
                "tls_server_name",
            ],
        ),
        (
            "submission",
            Settings::default().with("submission", "-o smtpd_tls_auth_only=no"),
            &["offers AUTH before TLS", "smtpd_tls_auth_only"],
        ),
        (
            "imaps",
            Settings {
                haproxy: vec!["imaps", "imaps-proxy"],
                ..Settings::default()
            },
            &["demands a PROXY header", "behind one it says `* OK"],
        ),
        (
            "smtp-proxy",
            Settings::default().without_header("smtp-proxy"),
            &[
                "does not take the PROXY header (v2)",
                "postscreen_upstream_proxy_protocol",
            ],
        ),
        (
            "smtps-proxy",
            Settings::default().without_header("smtps-proxy"),
            &[
                "does not take the PROXY header (v2)",
                "smtpd_upstream_proxy_protocol",
            ],
        ),
        (
            "submission-proxy",
            Settings::default().without_header("submission-proxy"),
            &[
                "does not take the PROXY header (v2)",
                "reads it as commands: `",
            ],
        ),
        (
            "imaps-proxy",
            Settings {
                trusted: "",
                ..Settings::default()
            },
            &[
                "refuses the PROXY header (v2)",
                "which is how Dovecot says so",
                "haproxy_trusted_networks",
            ],
        ),
    ];
    for (name, settings, words) in wrong {
        let ways_in = WaysIn::start(settings);
        assert_caught(&ways_in, &ways_in.listeners(), name, words);
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_closed_port_missing_starttls_and_a_source_of_the_wrong_family_are_named() {
    let settings = Settings::default().with("submission", "-o smtpd_tls_security_level=none");
    let ways_in = WaysIn::start(settings);
    let right = ways_in.listeners();
    let closed = closed_port();
    for (name, listeners, words) in [
        (
            "imaps",
            ways_in.listener("imaps", "imaps", closed, false),
            "cannot connect: Connection refused",
        ),
        (
            "submission",
            ways_in.listener(
                "submission",
                "submission",
                ways_in.port("submission"),
                false,
            ),
            "does not offer STARTTLS",
        ),
        (
            "submission-proxy",
            section(&right, "submission-proxy").replace("192.0.2.1:4242", "[2001:db8::1]:4242"),
            "421 4.3.0",
        ),
        (
            "smtp-proxy",
            section(&right, "smtp-proxy").replace("192.0.2.1:4242", "[2001:db8::1]:4242"),
            "421 4.3.2",
        ),
    ] {
        let (code, checks) = check(&ways_in, &listeners);
        assert_eq!(code, Some(1), "{checks:#?}");
        let error = checks[0]["error"].as_str().unwrap();
        assert!(error.contains(words), "{name}: {error}");
    }
}

/// One listener's section.
fn section(listeners: &str, name: &str) -> String {
    let wanted = format!("name = \"{name}\"\n");
    let found = listeners
        .split("[[listener]]\n")
        .find(|one| one.starts_with(&wanted))
        .unwrap();
    format!("[[listener]]\n{found}")
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_stranger_is_waited_out_at_postscreen_and_may_not_relay() {
    let ways_in = WaysIn::start(Settings::default());
    // Not on the access list: postscreen lets this one wait behind its teaser.
    let stranger = section(&ways_in.listeners(), "smtp-proxy").replace("192.0.2.1", "198.51.100.7")
        + "relay_check = true\n";
    let (code, checks) = check(&ways_in, &stranger);
    assert_eq!(code, Some(0), "{checks:#?}\n{}", ways_in.log());
    let stages = checks[0]["stages"].as_array().unwrap();
    let seconds = |name: &str| {
        let stage = stages.iter().find(|stage| stage["name"] == name);
        stage.unwrap()["seconds"].as_f64().unwrap()
    };
    assert!(seconds("greeting") >= 1.0, "{stages:#?}");
    assert!(seconds("relay") > 0.0);
    assert!(
        ways_in.log().contains("Relay access denied"),
        "{}",
        ways_in.log()
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_open_relay_is_found_out() {
    let settings = Settings {
        main: "mynetworks = 0.0.0.0/0\n".to_owned(),
        ..Settings::default()
    };
    let ways_in = WaysIn::start(settings);
    let listener = section(&ways_in.listeners(), "smtp") + "relay_check = true\n";
    let (code, checks) = check(&ways_in, &listener);
    assert_eq!(code, Some(1), "{checks:#?}");
    let error = checks[0]["error"].as_str().unwrap();
    assert!(
        error.contains("relays for strangers: `250 2.1.5 Ok`"),
        "{error}"
    );
    assert!(ways_in.messages().is_empty());
    assert!(!ways_in.log().contains("from=<>"), "{}", ways_in.log());
}

/// Hands a message in, with these bytes before all else.
fn submit(port: u16, header: &[u8], to: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(header).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut expect = |start: &str| {
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert!(line.starts_with(start), "{line}, not {start}");
            if line.as_bytes()[3] == b' ' {
                return;
            }
        }
    };
    expect("220");
    for (command, code) in [
        ("EHLO outside.example.net".to_owned(), "250"),
        ("MAIL FROM:<somebody@example.net>".to_owned(), "250"),
        (format!("RCPT TO:<{to}>"), "250"),
        ("DATA".to_owned(), "354"),
        ("Subject: border\r\n\r\nhello\r\n.".to_owned(), "250"),
        ("QUIT".to_owned(), "221"),
    ] {
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        expect(code);
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_border_hop_shows_the_client_that_the_header_named() {
    use mailprobe::net::proxy_protocol::{Version, header};
    let ways_in = WaysIn::start(Settings::default());
    let port = ways_in.port("smtp-proxy");
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let bytes = header(Version::V2, "192.0.2.1:4242".parse().unwrap(), to);
    submit(port, &bytes, "spam@example.org");
    let message = wait_until("the message is there", || ways_in.messages().pop());
    assert!(
        message.contains("from outside.example.net (unknown [192.0.2.1])"),
        "{message}"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_run_checks_the_listeners_once_and_tells_the_gateway_in_a_group_without_a_probe() {
    let ways_in = WaysIn::start(Settings::default());
    let mut site = Site::start();
    let closed = closed_port();
    let listeners = ways_in.listeners() + &ways_in.listener("pop3s", "pop3s", closed, false);
    site.with(|settings| settings.more = format!("\n{listeners}"));
    let output = site.see(&["run", "--output", "json", "--push"]);
    assert_eq!(output.code, Some(0), "{output:#?}");
    // Told once, on stderr.
    let told = output.stderr.matches("listener `pop3s`").count();
    assert_eq!(told, 1, "{output:#?}");
    let value = |name: &str, endpoint: &str| {
        site.gateway.value(&format!(
            "{name}{{endpoint=\"{endpoint}\",instance=\"\",job=\"email-roundtrip-monitor\"}}"
        ))
    };
    let up = |endpoint: &str| value("mailprobe_listener_up", endpoint);
    assert_eq!(
        up("imaps-proxy").as_deref(),
        Some("1"),
        "{}",
        site.gateway.metrics()
    );
    assert_eq!(up("pop3s").as_deref(), Some("0"));
    let took = value("mailprobe_listener_handshake_seconds", "pop3s");
    assert_eq!(took.as_deref(), Some("NaN"));
    let checked =
        "mailprobe_last_check_timestamp_seconds{instance=\"\",job=\"email-roundtrip-monitor\"}";
    let checked: f64 = site.gateway.value(checked).unwrap().parse().unwrap();
    let ago = chrono::Utc::now().timestamp() as f64 - checked;
    assert!((-1.0..120.0).contains(&ago), "{ago} s ago");
    // One certificate was not seen, so the row is left as it was: not there.
    let end = "mailprobe_certificate_expiry_timestamp_seconds";
    assert_eq!(value(end, "imaps"), None);
    // The group is ours, and no left-over; an older script's in the same place is one.
    let check = site.see(&["check", "--output", "json"]);
    assert!(!check.stdout.contains("older script"), "{check:#?}");
    assert!(check.stdout.contains("listener `pop3s`"), "{check:#?}");
    let old = "# TYPE email_roundtrip_success gauge\nemail_roundtrip_success 1\n";
    site.gateway
        .request("POST", "/metrics/job/email-roundtrip-monitor", old);
    let check = site.see(&["check"]);
    assert!(
        check.stdout.contains("an older script left it"),
        "{check:#?}"
    );
    assert_eq!(check.code, Some(1));
}
