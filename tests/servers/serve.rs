//! The scheduler against a real Dovecot and Pushgateway.

use crate::common::fleet::Fleet;
use crate::common::process::signal;
use crate::common::wait_until;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
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
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
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

/// A gateway that refuses the first push of each group: only who is still there to ask again is heard.
struct Reluctant {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Reluctant {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut refused = BTreeSet::new();
            for client in listener.incoming().map_while(Result::ok) {
                let Some(path) = request_path(&client) else {
                    continue;
                };
                let status = if refused.insert(path.clone()) {
                    "503 Service Unavailable"
                } else {
                    noted.lock().unwrap().push(path);
                    "200 OK"
                };
                let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = (&client).write_all(format!("HTTP/1.1 {status}\r\n{end}").as_bytes());
            }
        });
        Self { port, taken }
    }

    /// The section of a sink that leads here, with this label.
    fn sink(&self, site: &str) -> String {
        format!(
            "[[sink]]\ntype = \"pushgateway\"\nurl = \"http://127.0.0.1:{}\"\nlabels = {{ site = \"{site}\" }}\n",
            self.port
        )
    }

    fn has(&self, probe: &str, site: &str) -> bool {
        let (probe, site) = (format!("/probe/{probe}"), format!("/site/{site}"));
        let taken = self.taken.lock().unwrap();
        taken
            .iter()
            .any(|path| path.contains(&probe) && path.contains(&site))
    }
}

/// Reads one request to its end.
fn request_path(client: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(client);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(first.split(' ').nth(1)?.to_owned())
}

/// Asks as somebody who shows this token; the status.
fn post(fleet: &Fleet, path: &str, token: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", fleet.http_port)).unwrap();
    let fields = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    write!(stream, "POST {path} HTTP/1.0\r\n{fields}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// When each probe runs next, by its name.
fn plans(fleet: &Fleet) -> Vec<(String, String)> {
    let probes: Value = serde_json::from_str(&fleet.get("/api/probes").unwrap()).unwrap();
    let probes = probes["probes"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    probes
        .iter()
        .map(|probe| (text(&probe["probe"]), text(&probe["next_run_at"])))
        .collect()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_reload_changes_what_the_config_changes_and_disturbs_nothing_else() {
    let mut fleet = Fleet::start(3);
    let gateway = Reluctant::start();
    let (old, new) = ("the-token-of-before", "the-token-of-after");
    let serve = |token: &str, site: &str| format!("token = \"{token}\"\n{}", gateway.sink(site));
    fleet.write_config(3, |_| SOON.to_owned(), &serve(old, "before"));
    fleet.serve();
    for probe in 0..3 {
        assert!(fleet.begins(probe));
    }
    until_ended(&fleet, 3);
    let first = fleet.imap_connections();
    assert_eq!(first.len(), 6, "{first:?}");
    let before = plans(&fleet);

    // Another schedule for p1, p9 in the place of p2, box2 without a junk folder, another label of the sink, another token.
    let later = SOON.replace("0 3 1 1 *", "0 4 1 1 *");
    let keys = |probe| {
        if probe == 1 {
            later.clone()
        } else {
            SOON.to_owned()
        }
    };
    fleet.write_config(3, keys, &serve(new, "after"));
    let config = fleet.path().join("mailprobe.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let good = good.replace("name = \"p2\"", "name = \"p9\"");
    let user = "username = \"box2@example.org\"\n";
    let good = good.replace(user, &format!("{user}junk = \"none\"\n"));
    std::fs::write(&config, &good).unwrap();
    assert_eq!(post(&fleet, "/-/reload", new), 401);
    assert_eq!(post(&fleet, "/-/reload", old), 200);
    let after = plans(&fleet);
    assert_eq!(after[0], before[0]);
    assert_eq!((after[1].0.as_str(), after[2].0.as_str()), ("p1", "p9"));
    assert_eq!(after[1].1.replace("T04:", "T03:"), before[1].1);
    assert_ne!(after[1].1, before[1].1);
    assert_eq!(post(&fleet, "/api/probes/p1/run", old), 401);
    assert_eq!(post(&fleet, "/api/probes/p2/run", new), 404);
    for probe in ["p0", "p1", "p9"] {
        wait_until("it may be asked for again", || {
            let status = post(&fleet, &format!("/api/probes/{probe}/run"), new);
            (status == 202).then_some(())
        });
    }
    until_ended(&fleet, 6);
    assert!(fleet.runs().iter().all(|run| run["verdict"] == "delivered"));
    // Box2 has another one in the place of its two; the four of the others are the same.
    let connections = wait_until("what no config uses any more is logged out of", || {
        let now = fleet.imap_connections();
        (now.len() <= 5).then_some(now)
    });
    assert_eq!(
        connections.intersection(&first).count(),
        4,
        "{first:?} {connections:?}"
    );
    assert_eq!(connections.len(), 5, "{connections:?}");
    wait_until("each run is told to the sink of its config", || {
        let told = |probes: [&str; 3], site| probes.iter().all(|probe| gateway.has(probe, site));
        let all = told(["p0", "p1", "p2"], "before") && told(["p0", "p1", "p9"], "after");
        all.then_some(())
    });
    assert!(!gateway.has("p9", "before") && !gateway.has("p2", "after"));

    let successful = "mailprobe_config_last_reload_successful";
    assert_eq!(fleet.sum(successful), 1.0);
    let bad = good.replace(new, old) + "\n[[probe]]\nname = \"p10\"\n";
    std::fs::write(&config, bad).unwrap();
    assert_eq!(post(&fleet, "/-/reload", new), 422);
    assert_eq!(fleet.sum(successful), 0.0);
    assert_eq!(plans(&fleet), after);
    assert_eq!(post(&fleet, "/api/probes/p1/run", old), 401);
    assert_eq!(fleet.imap_connections(), connections);
    std::fs::write(&config, good).unwrap();
    assert_eq!(post(&fleet, "/-/reload", new), 200);
    assert_eq!(fleet.sum(successful), 1.0);
    assert_eq!(plans(&fleet), after);
    assert_eq!(fleet.imap_connections(), connections);
    assert_eq!(fleet.stop(), Some(0));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_run_from_before_a_reload_is_told_to_its_sink_where_sigterm_comes_right_after() {
    let mut fleet = Fleet::start(1);
    let gateway = Reluctant::start();
    fleet.write_config(1, |_| SOON.to_owned(), &gateway.sink("before"));
    fleet.brevo.state().hold = Duration::from_secs(60);
    fleet.serve();
    assert!(fleet.begins(0));
    wait_until("the message is handed over", || {
        (fleet.sent() == 1).then_some(())
    });
    fleet.write_config(1, |_| SOON.to_owned(), &gateway.sink("after"));
    signal(fleet.pid(), "HUP");
    wait_until("the config is read again", || {
        let log = fleet.log();
        let mut lines = log.iter().map(Value::to_string);
        lines
            .any(|line| line.contains("the config was read again"))
            .then_some(())
    });
    assert_eq!(fleet.stop(), Some(0));
    assert!(gateway.has("p0", "before"), "{:?}", gateway.taken);
    assert!(!gateway.has("p0", "after"), "{:?}", gateway.taken);
}
