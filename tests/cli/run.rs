//! `mailprobe run`: what stdout and the sinks get, and how the process ends.

use crate::world::{Gate, Stage, finish, program, run};
use mailprobe::demo::Fault;
use mailprobe::demo::brevo::{Behaviour, error};
use mailprobe::demo::http::Response;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const JSON: [&str; 2] = ["--output", "json"];

#[test]
fn json_is_one_object_a_run_on_stdout_and_nothing_else_anywhere() {
    let stage = Stage::new(None);
    let ran = stage.run(&JSON);
    let report = ran.report();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(report["schema"], 1);
    assert_eq!(report["verdict"], "delivered");
    assert_eq!(report["cause"], Value::Null);
    assert_eq!(report["warnings"], serde_json::json!([]));
    assert_eq!(report["sender"]["type"], "brevo");
    let places = serde_json::json!(["header", "subject", "body"]);
    assert_eq!(report["token_found_in"], places);
    for key in ["started_at", "accepted_at", "seen_at", "ended_at"] {
        let time = report[key].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{key}: {time}");
    }
    let stages: Vec<&str> = report["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    let expected = [
        "mailbox_connect",
        "send",
        "await",
        "inspect",
        "cleanup",
        "push",
    ];
    assert_eq!(stages, expected);
}

#[test]
fn people_get_a_timeline_a_sentence_and_the_token() {
    let ran = Stage::new(None).run(&[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let last: Vec<&str> = ran.stdout.lines().rev().take(2).collect();
    assert!(last[1].starts_with("demo: delivered in "), "{}", ran.stdout);
    assert!(last[0].starts_with("  run: e2e-probe-"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'));
}

#[test]
fn nagios_gets_one_line_with_performance_data_and_its_own_codes() {
    let ran = Stage::new(None).run(&["--output", "nagios"]);
    let line = ran.stdout.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    assert!(
        line.starts_with("MAILPROBE OK - demo: delivered in "),
        "{line}"
    );
    let (_, data) = line.split_once(" | ").unwrap();
    assert!(data.starts_with("'demo duration'=0."), "{data}");
    assert!(data.contains(" 'demo delivery'=0."), "{data}");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));

    let refused = Stage::new(Some(Fault::BrevoKey)).run(&["--output", "nagios"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .stdout
            .starts_with("MAILPROBE CRITICAL - demo: refused: ")
    );

    let blind = Stage::new(Some(Fault::ImapPassword)).run(&["--output", "nagios"]);
    assert_eq!(blind.code, Some(3));
    assert!(
        blind
            .stdout
            .starts_with("MAILPROBE UNKNOWN - demo: undetermined: ")
    );
    // Nothing was sent, so there is nothing to measure.
    assert!(!blind.stdout.contains('|'), "{}", blind.stdout);
}

#[test]
fn a_failed_path_ends_with_1_a_blind_probe_with_3_an_unheard_success_with_4() {
    for (fault, code) in [
        (Fault::BrevoQuota, 1),
        (Fault::ImapCertificate, 3),
        (Fault::PushGatewayDown, 0),
    ] {
        let ran = Stage::new(Some(fault)).run(&JSON);
        assert_eq!(ran.code, Some(code), "{fault:?}: {ran:#?}");
    }
    // Uptime Kuma heard of the last one; where it is no sink, nobody did.
    let stage = Stage::new(Some(Fault::PushGatewayDown));
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let kuma = text.rfind("[[sink]]").unwrap();
    let config = stage.config_with(&[(&text[kuma..], "")]);
    let ran = run(&[
        "run",
        "--output",
        "json",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    let report = ran.report();
    assert_eq!(report["verdict"], "delivered");
    assert_eq!(report["pushes"][0]["ok"], false);
    assert_eq!(report["pushes"][0]["attempts"], 3);
    let warning = &report["warnings"][0];
    assert_eq!(warning["code"], "sink_failed");
    assert!(
        warning["summary"]
            .as_str()
            .unwrap()
            .starts_with("pushgateway http://127.0.0.1:")
    );
}

#[test]
fn a_failure_that_a_sink_took_note_of_is_no_failed_job_where_that_is_wanted() {
    let stage = Stage::new(Some(Fault::BrevoKey));
    let reported = stage.run(&["--output", "json", "--exit-zero-when-reported"]);
    assert_eq!(reported.code, Some(0), "{reported:#?}");
    let unreported = stage.run(&["--output", "json", "--exit-zero-when-reported", "--no-push"]);
    assert_eq!(unreported.code, Some(1), "{unreported:#?}");
}

#[test]
fn a_run_that_tells_nobody_tells_nobody() {
    let stage = Stage::new(None);
    let ran = stage.run(&["--output", "json", "--no-push"]);
    assert_eq!(ran.report()["pushes"], serde_json::json!([]));
    assert_eq!(ran.code, Some(0));
    assert!(stage.world().gateway().requests().is_empty());
    assert!(stage.world().kuma().requests().is_empty());
}

#[test]
fn a_message_that_is_kept_stays_and_the_next_run_leaves_it_alone() {
    let stage = Stage::new(None);
    let count = || {
        stage
            .world()
            .store()
            .folder("INBOX")
            .unwrap()
            .messages
            .len()
    };
    assert_eq!(stage.run(&["--keep"]).code, Some(0));
    assert_eq!(count(), 1);
    assert_eq!(stage.run(&[]).code, Some(0));
    assert_eq!(count(), 1);
}

#[test]
fn a_shorter_timeout_by_hand_also_shortens_what_is_late() {
    let stage = Stage::new(None);
    stage.world().brevo().state().hold = std::time::Duration::from_secs(30);
    let ran = stage.run(&["--output", "json", "--timeout", "1s"]);
    let report = ran.report();
    assert_eq!(
        (report["verdict"].as_str(), ran.code),
        (Some("missing"), Some(1))
    );
    assert!(report["duration_seconds"].as_f64().unwrap() < 3.0);
}

#[test]
fn kuma_is_told_once_in_the_words_of_the_report() {
    let blind = Stage::new(Some(Fault::ImapPassword));
    blind.run(&[]);
    let told = blind.told_kuma();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][0], "status=down");
    assert!(
        told[0][1].starts_with("msg=BLIND: cannot log in to imap"),
        "{told:?}"
    );
    // No message, so no time.
    assert_eq!(told[0].len(), 2);

    let fine = Stage::new(None);
    fine.run(&[]);
    let told = fine.told_kuma();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][0], "status=up");
    assert!(told[0][1].starts_with("msg=delivered in 0."), "{told:?}");
    let ping: u64 = told[0][2].strip_prefix("ping=").unwrap().parse().unwrap();
    assert!((300..5000).contains(&ping), "{ping}");
}

#[test]
fn a_429_is_waited_out_as_its_header_says_and_told_as_a_warning() {
    let stage = Stage::new(Some(Fault::BrevoRate));
    let ran = stage.run(&JSON);
    let report = ran.report();
    assert_eq!(report["verdict"], "delivered");
    assert_eq!(report["warnings"][0]["code"], "sender_rate_limited");
    assert_eq!(stage.sends(), 2);
    // The wait is no part of the delivery.
    assert!(
        report["duration_seconds"].as_f64().unwrap() < 1.5,
        "{report}"
    );
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_wait_that_brevo_asks_for_does_not_use_up_the_looks() {
    let stage = Stage::new(None);
    let limited = error(429, "too_many_requests", "slow down");
    let limited = limited.with_header("x-sib-ratelimit-reset", "4");
    let mut state = stage.world().brevo().state();
    state.next.push_back(Behaviour::Answer(limited));
    drop(state);
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let port = text.lines().find(|line| line.starts_with("port ")).unwrap();
    let gate = Gate::before(port.rsplit(' ').next().unwrap());
    let config = stage.config_with(&[
        (port, &format!("port     = {}", gate.port)),
        ("\"4500ms\"", "\"30s\""),
    ]);
    let ran = run(&[
        "run",
        "--output",
        "json",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert_eq!(ran.report()["verdict"], "delivered", "{ran:#?}");
    // Looking on for these four seconds would take more than three hundred.
    let sent = gate.sent.load(Ordering::SeqCst);
    assert!((20..260).contains(&sent), "{sent} commands");
}

#[test]
fn a_lost_answer_costs_nothing_where_the_message_comes_and_the_key_is_the_same_each_time() {
    let stage = Stage::new(None);
    let cut = Behaviour::TakeAndAnswer(Response::Bytes(Vec::new()));
    stage.world().brevo().state().next.push_back(cut);
    let ran = stage.run(&JSON);
    let report = ran.report();
    assert_eq!(
        (report["verdict"].as_str(), ran.code),
        (Some("delivered"), Some(0)),
        "{report}"
    );
    assert_eq!(report["warnings"][0]["code"], "sender_failed");
    let state = stage.world().brevo().state();
    let keys: Vec<String> = state
        .requests
        .iter()
        .filter(|one| one.method == "POST")
        .map(|one| {
            let body: Value = serde_json::from_slice(&one.body).unwrap();
            body["headers"]["idempotencyKey"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
}

#[test]
fn a_refusal_of_the_callers_address_is_not_blamed_on_the_key() {
    let stage = Stage::new(None);
    let refused = Behaviour::Answer(error(
        401,
        "unauthorized",
        "We have detected you are using an unrecognised IP address 192.0.2.7. If you performed this action make sure to add the new IP address in this link: https://app.brevo.com/security/authorised_ips",
    ));
    stage.world().brevo().state().then = Some(refused);
    let report = stage.run(&JSON).report();
    assert_eq!(report["cause"]["code"], "sender_unauthorized");
    let hint = report["cause"]["hint"].as_str().unwrap();
    assert!(hint.contains("Authorised IPs"), "{hint}");
    assert_eq!(stage.sends(), 1, "a definite no is not repeated");
}

/// A proxy that tunnels, and remembers where to.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let line = String::from_utf8(head).unwrap();
            let line = line.lines().next().unwrap().to_owned();
            let target = line.split(' ').nth(1).unwrap().to_owned();
            remembered.lock().unwrap().push(line);
            let mut server = TcpStream::connect(target).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (url, asked)
}

#[test]
fn brevo_is_reached_through_the_proxy_of_the_environment_unless_it_is_excepted() {
    let stage = Stage::new(None);
    let (url, asked) = proxy();
    let config = stage.config();
    let run = |no_proxy: &str| {
        let mut command = program(&[
            "run",
            "--output",
            "json",
            "--config",
            config.to_str().unwrap(),
        ]);
        command.env("HTTPS_PROXY", &url).env("NO_PROXY", no_proxy);
        finish(command.spawn().unwrap())
    };
    assert_eq!(run("").report()["verdict"], "delivered");
    let lines = asked.lock().unwrap().clone();
    assert!(!lines.is_empty());
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("CONNECT 127.0.0.1:")),
        "{lines:?}"
    );
    assert_eq!(run("127.0.0.1").report()["verdict"], "delivered");
    assert_eq!(asked.lock().unwrap().len(), lines.len());
}

#[test]
fn rows_of_every_run_are_pushed_by_every_run_and_rows_of_arrivals_only_with_one() {
    let every = |stage: &Stage| -> Vec<String> {
        let mut names: Vec<String> = stage
            .pushed()
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let fine = Stage::new(None);
    fine.run(&[]);
    let refused = Stage::new(Some(Fault::BrevoKey));
    refused.run(&[]);
    let (with, without) = (every(&fine), every(&refused));
    for name in &without {
        assert!(with.contains(name), "{name} is pushed by a failure only");
    }
    for name in [
        "email_roundtrip_success",
        "email_roundtrip_duration_seconds",
        "mailprobe_last_run_timestamp_seconds",
        "mailprobe_next_run_timestamp_seconds",
        "mailprobe_verdict",
        "mailprobe_cause",
        "mailprobe_late_arrivals",
        "mailprobe_late_arrival_delivery_seconds",
        "mailprobe_recipient_unblocked",
        "mailprobe_stage_duration_seconds",
        "mailprobe_certificate_expiry_timestamp_seconds",
        "mailprobe_build_info",
    ] {
        assert!(without.iter().any(|one| one == name), "{name} is missing");
    }
    for name in [
        "email_roundtrip_last_success_timestamp",
        "mailprobe_last_arrival_timestamp_seconds",
        "mailprobe_last_delivery_seconds",
        "mailprobe_last_delivery_error_seconds",
    ] {
        assert!(with.iter().any(|one| one == name), "{name} is missing");
        assert!(
            !without.iter().any(|one| one == name),
            "{name} with a failure"
        );
    }
    let blind = Stage::new(Some(Fault::ImapPassword));
    blind.run(&[]);
    let pushed = blind.pushed();
    for line in [
        "email_roundtrip_success 0",
        "email_roundtrip_duration_seconds NaN",
        "mailprobe_late_arrivals NaN",
        "mailprobe_stage_duration_seconds{stage=\"send\"} NaN",
        "mailprobe_verdict{verdict=\"undetermined\"} 1",
        "mailprobe_verdict{verdict=\"missing\"} 0",
        "mailprobe_cause{cause=\"mailbox_login_refused\"} 1",
        "mailprobe_cause{cause=\"none\"} 0",
    ] {
        assert!(pushed.lines().any(|one| one == line), "{line} in {pushed}");
    }
    // What could not be observed is left as it was.
    assert!(!pushed.contains("certificate_expiry"), "{pushed}");
}

#[test]
fn a_message_that_is_overdue_is_told_before_it_arrives_late() {
    for (accept, code) in [("", 1), ("accept     = [\"late\"]\n", 0)] {
        let stage = Stage::new(None);
        stage.world().brevo().state().hold = std::time::Duration::from_secs(2);
        let late = format!("{accept}late_after = \"1s\"");
        let config = stage.config_with(&[
            ("late_after = \"2500ms\"", &late),
            ("\"4500ms\"", "\"30s\""),
        ]);
        let ran = run(&[
            "run",
            "--output",
            "json",
            "--config",
            config.to_str().unwrap(),
        ]);
        let report = ran.report();
        assert_eq!(
            (report["verdict"].as_str(), ran.code),
            (Some("late"), Some(code)),
            "{report}"
        );
        assert_eq!(report["success"], code == 0);
        assert_eq!(report["cause"]["code"], "delayed_on_the_way");
        let posts: Vec<String> = stage
            .world()
            .gateway()
            .requests()
            .into_iter()
            .filter(|one| one.method == "POST")
            .map(|one| String::from_utf8(one.body).unwrap())
            .collect();
        let [overdue, last] = posts.as_slice() else {
            panic!("{posts:?}")
        };
        assert!(overdue.contains("mailprobe_verdict{verdict=\"overdue\"} 1"));
        assert!(!overdue.contains("mailprobe_cause"));
        assert!(last.contains("mailprobe_verdict{verdict=\"overdue\"} 0"));
        assert!(last.contains("mailprobe_verdict{verdict=\"late\"} 1"));
        assert_eq!(stage.told_kuma().len(), 1, "an interim report would page");
    }
}
