//! Requests over real connections, answers compared.

use super::*;
use crate::config;
use crate::config::plan::ProbePlan;
use crate::probe::report::sample;
use crate::scheduler::Asked;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Site {
    port: u16,
    app: Arc<App>,
    commands: mpsc::Receiver<Command>,
}

fn plans() -> Vec<Arc<ProbePlan>> {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/smallest.toml");
    config::load_without_secrets(&file).unwrap().probes
}

/// What the routes need, by a plan with one probe.
fn app(port: u16, is_loopback: bool, token: Option<&str>) -> (Arc<App>, mpsc::Receiver<Command>) {
    let (sender, commands) = mpsc::channel(8);
    let logbook = Arc::new(Logbook::new(None, Vec::new()));
    logbook.set_probes(&plans());
    let app = App {
        logbook,
        counters: Arc::new(Counters::new().unwrap()),
        commands: sender,
        is_loopback,
        port,
        token: RwLock::new(token.map(Secret::new)),
    };
    (Arc::new(app), commands)
}

async fn site_for(most: usize, is_loopback: bool, token: Option<&str>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (app, commands) = app(port, is_loopback, token);
    tokio::spawn(serve_so_many(most, listener, Arc::clone(&app)));
    Site {
        port,
        app,
        commands,
    }
}

async fn site(is_loopback: bool, token: Option<&str>) -> Site {
    site_for(MOST_CONNECTIONS, is_loopback, token).await
}

impl Site {
    /// Asks, takes the first line of the answer and nothing more.
    async fn begin(&self, path: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(line).unwrap())
    }

    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // An answer that is cut off by the server is an answer, too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, fields: &[&str]) -> (u16, String) {
        let host = format!("Host: 127.0.0.1:{}", self.port);
        let has_host = fields.iter().any(|field| field.starts_with("Host:"));
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for field in fields
            .iter()
            .copied()
            .chain((!has_host).then_some(host.as_str()))
        {
            request.push_str(field);
            request.push_str("\r\n");
        }
        let answer = self.send(&(request + "\r\n")).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    /// Answers every wish with a yes.
    fn say_yes(&mut self) {
        let (_, empty) = mpsc::channel(1);
        let mut commands = std::mem::replace(&mut self.commands, empty);
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Run { probe, reply } => {
                        let asked = match probe.as_str() {
                            "external" => Asked::Begun,
                            "busy" => Asked::Running,
                            "again" => Asked::TooSoon(Duration::from_secs(41)),
                            _ => Asked::Unknown,
                        };
                        reply.send(asked).unwrap();
                    }
                    Command::Reload { reply } => {
                        reply.send(Err("error: x.toml:3: no".to_owned())).unwrap();
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn every_page_that_shows_something_answers_before_and_after_the_first_run() {
    let site = site(true, None).await;
    for (path, status, part) in [
        ("/", 200, "no run yet"),
        ("/style.css", 200, "--card-back"),
        (
            "/metrics",
            200,
            "mailprobe_next_run_timestamp_seconds{probe=\"external\"} NaN\n",
        ),
        ("/probe?probe=external", 503, "has not run yet"),
        ("/probe?probe=nobody", 404, "no such probe"),
        ("/probe", 400, "name the probe"),
        ("/healthz", 200, "ticks"),
        ("/readyz", 200, "ready"),
        ("/api/probes", 200, "\"probe\":\"external\""),
        ("/api/probes/external", 200, "\"last_run\":null"),
        ("/api/probes/nobody", 404, "no such probe"),
        ("/api/runs/e2e-probe-1", 404, "no finished run"),
        ("/nothing", 404, "nothing here"),
    ] {
        let (found, body) = site.ask("GET", path, &[]).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
    }
    let report = sample(
        "external",
        "e2e-probe-1",
        "2026-11-25T10:00:00Z".parse().unwrap(),
    );
    site.app.counters.begin("external");
    site.app.counters.end(&report);
    site.app.logbook.end(&Arc::new(report));
    for (path, part) in [
        ("/", "1.000 s (or up to 0.020 s sooner)"),
        (
            "/metrics",
            "email_roundtrip_success{probe=\"external\"} 1\n",
        ),
        (
            "/metrics",
            "mailprobe_verdict{probe=\"external\",verdict=\"delivered\"} 1\n",
        ),
        (
            "/metrics",
            "mailprobe_delivery_seconds_count{probe=\"external\"} 1\n",
        ),
        ("/probe?probe=external", "email_roundtrip_success 1\n"),
        ("/api/runs/E2E-PROBE-1", "\"verdict\":\"delivered\""),
        ("/api/probes", "\"run\":\"e2e-probe-1\""),
    ] {
        let (found, body) = site.ask("GET", path, &[]).await;
        assert_eq!(found, 200, "{path}");
        assert!(body.contains(part), "{path} without {part}: {body}");
    }
}

#[tokio::test]
async fn no_request_to_look_has_anything_done() {
    let mut site = site(true, None).await;
    for path in [
        "/probe?probe=external",
        "/api/probes/external/run",
        "/-/reload",
        "/",
    ] {
        site.ask("GET", path, &[]).await;
    }
    assert!(site.commands.try_recv().is_err());
}

#[tokio::test]
async fn on_loopback_programs_get_things_done_and_pages_of_others_do_not() {
    let mut site = site(true, None).await;
    site.say_yes();
    let own = format!("Origin: http://127.0.0.1:{}", site.port);
    for (fields, status) in [
        (vec![], 202),
        (vec!["Host: localhost:9797"], 202),
        (vec!["Host: [::1]:9797"], 202),
        (vec![own.as_str(), "Sec-Fetch-Site: same-origin"], 202),
        (vec!["Host: evil.example:9797"], 403),
        (vec!["Host: localhost.evil.example"], 403),
        (vec!["Host: [::1]evil.example"], 403),
        (vec!["Host: [::1]:9797.evil.example"], 403),
        (vec!["Host: [localhost]"], 403),
        (vec!["Host: localhost", "Host: evil.example"], 403),
        (vec!["Host: localhost", "Host: localhost"], 403),
        (
            vec!["Host: evil.example", "Origin: http://evil.example"],
            403,
        ),
        (vec!["Origin: http://evil.example"], 403),
        (vec!["Origin: null"], 403),
        (vec!["Sec-Fetch-Site: cross-site"], 403),
        (vec!["Authorization: Bearer guessed"], 403),
    ] {
        let (found, body) = site.ask("POST", "/api/probes/external/run", &fields).await;
        assert_eq!(found, status, "{fields:?}: {body}");
    }
    let (found, body) = site.ask("POST", "http://evil.example/-/reload", &[]).await;
    assert_eq!(found, 403, "{body}");
    let shown = ["Authorization: Bearer guessed"];
    let (_, body) = site.ask("POST", "/-/reload", &shown).await;
    assert!(body.starts_with("[serve] has no `token`"), "{body}");
}

#[tokio::test]
async fn a_page_that_made_its_own_name_point_here_reads_nothing_and_proxies_and_monitors_do() {
    let site = site(true, None).await;
    let at_our_port = |name: &str| format!("Host: {name}:{}", site.port);
    for path in [
        "/",
        "/api/probes",
        "/api/probes/external",
        "/api/runs/e2e-probe-1",
    ] {
        let evil = at_our_port("evil.example");
        assert_eq!(site.ask("GET", path, &[&evil]).await.0, 403, "{path}");
    }
    for (field, status) in [
        (at_our_port("localhost"), 200),
        (at_our_port("[::1]"), 200),
        (at_our_port("192.0.2.1"), 200),
        // What a proxy passes on.
        ("Host: probe.example.org".to_owned(), 200),
        ("Host: probe.example.org:8443".to_owned(), 200),
        (at_our_port("[::1]evil.example"), 403),
        ("Host: probe.example.org:port".to_owned(), 403),
    ] {
        let (found, body) = site.ask("GET", "/api/probes", &[&field]).await;
        assert_eq!(found, status, "{field}: {body}");
    }
    let url = format!("http://evil.example:{}/api/probes", site.port);
    assert_eq!(site.ask("GET", &url, &[]).await.0, 403);
    for path in ["/metrics", "/healthz", "/readyz"] {
        let named = at_our_port("probe-host");
        assert_eq!(site.ask("GET", path, &[&named]).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn from_elsewhere_only_the_token_gets_things_done() {
    let mut open = site(false, Some("sixteen-bytes-or-more")).await;
    open.say_yes();
    for (field, status) in [
        ("Accept: */*", 401),
        ("Authorization: Bearer sixteen-bytes-or-mora", 401),
        ("Authorization: Basic sixteen-bytes-or-more", 401),
        ("Authorization: Bearer sixteen-bytes-or-more", 202),
    ] {
        let (found, _) = open.ask("POST", "/api/probes/external/run", &[field]).await;
        assert_eq!(found, status, "{field}");
    }
    let closed = site(false, None).await;
    let (found, body) = closed.ask("POST", "/-/reload", &[]).await;
    assert_eq!((found, body.contains("no `token`")), (403, true), "{body}");
}

#[tokio::test]
async fn what_the_scheduler_answers_has_a_status_of_its_own() {
    let mut site = site(true, None).await;
    site.say_yes();
    for (path, status) in [
        ("/api/probes/external/run", 202),
        ("/api/probes/nobody/run", 404),
        ("/api/probes/busy/run", 409),
        ("/api/probes/again/run", 429),
        ("/-/reload", 422),
    ] {
        assert_eq!(site.ask("POST", path, &[]).await.0, status, "{path}");
    }
    let (_, body) = site.ask("POST", "/-/reload", &[]).await;
    assert_eq!(body, "error: x.toml:3: no\n");
}

#[tokio::test]
async fn a_head_that_is_too_long_and_a_method_that_is_not_meant_are_refused() {
    let site = site(true, None).await;
    let long = format!("X-Long: {}", "x".repeat(20_000));
    let answer = site
        .send(&format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{long}\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(site.ask("DELETE", "/metrics", &[]).await.0, 405);
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_keep_others_waiting() {
    let site = site(true, None).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(("127.0.0.1", site.port)).await.unwrap());
    }
    let begun = Instant::now();
    assert_eq!(site.ask("GET", "/readyz", &[]).await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn clients_that_do_not_take_their_answers_keep_nobody_else_out() {
    let most = 4;
    let site = site_for(most, true, None).await;
    let mut report = sample("external", "e2e-probe-1", chrono::Utc::now());
    // More than the system takes off our hands.
    report.folder = Some("x".repeat(8 << 20));
    site.app.logbook.end(&Arc::new(report));
    let mut stalled = Vec::new();
    for _ in 0..most {
        let (stream, line) = site.begin("/api/runs/e2e-probe-1").await;
        assert!(line.contains("200"), "{line}");
        stalled.push(stream);
    }
    // The first one to ask waits until they have stood still for long enough, the next ones do not.
    for limit in [
        seats::STALL_LIMIT + Duration::from_secs(1),
        Duration::from_secs(1),
    ] {
        let (status, _) = timeout(limit, site.ask("GET", "/readyz", &[]))
            .await
            .unwrap();
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn few_pages_are_rendered_at_the_same_time_however_many_ask_and_take_nothing() {
    let site = site(true, None).await;
    let probes: Vec<_> = (0..200)
        .map(|number| {
            let mut probe = ProbePlan::clone(&plans()[0]);
            probe.name = format!("p{number}-{}", "x".repeat(300));
            Arc::new(probe)
        })
        .collect();
    site.app.logbook.set_probes(&probes);
    for probe in &probes {
        let report = sample(
            &probe.name,
            &format!("of-{}", probe.name),
            chrono::Utc::now(),
        );
        site.app.logbook.end(&Arc::new(report));
    }
    let site = Arc::new(site);
    let many = line::AT_ONCE + line::WAITING + 10;
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..many {
        let (site, tell) = (Arc::clone(&site), tell.clone());
        clients.spawn(async move {
            let (_held, line) = site.begin("/metrics").await;
            let _ = tell.send(line);
            std::future::pending::<()>().await;
        });
    }
    let (mut pages, mut busy) = (0, 0);
    while pages + busy < many - line::WAITING {
        let line = timeout(Duration::from_secs(3), told.recv())
            .await
            .unwrap()
            .unwrap();
        pages += usize::from(line.contains(" 200 "));
        busy += usize::from(line.contains(" 503 "));
    }
    assert_eq!((pages, busy), (line::AT_ONCE, 10));
    assert!(told.try_recv().is_err(), "the others wait");
    let late = site.begin("/").await.1;
    assert!(late.contains(" 503 "), "{late}");
    // Whoever takes nothing goes, and those get their pages that waited for it.
    let line = timeout(seats::STALL_LIMIT + Duration::from_secs(2), told.recv()).await;
    let line = line.unwrap().unwrap();
    assert!(line.contains(" 200 "), "{line}");
    drop(clients);
    // Without the sizes that stand between pieces.
    let page = site.send("GET /metrics HTTP/1.0\r\n\r\n").await;
    let whole = page
        .matches("mailprobe_next_run_timestamp_seconds{probe=\"p")
        .count();
    assert_eq!(whole, probes.len());
}

#[tokio::test]
async fn the_list_of_probes_holds_each_with_its_reports_as_they_were_written() {
    let site = site(true, None).await;
    let read = async || -> serde_json::Value {
        let (status, body) = site.ask("GET", "/api/probes", &["Connection: close"]).await;
        assert_eq!(status, 200);
        // Of each piece its size stands before it: RFC 9112, 7.1.
        let json: String = body.split("\r\n").skip(1).step_by(2).collect();
        serde_json::from_str(&json).unwrap()
    };
    let mut probes = plans();
    let mut other = ProbePlan::clone(&probes[0]);
    other.name = "other".to_owned();
    probes.push(Arc::new(other));
    site.app.logbook.set_probes(&probes);
    let ended_at = "2026-11-25T10:00:00Z".parse().unwrap();
    let mut failed = sample("external", "e2e-probe-1", ended_at);
    (failed.success, failed.folder) = (false, Some("\u{202e}\u{9b}".to_owned()));
    let last = sample("external", "e2e-probe-2", ended_at);
    for report in [&failed, &last] {
        site.app.logbook.end(&Arc::new(report.clone()));
    }
    let of = |probe: &str, last_run, last_failure, last_success_at| {
        serde_json::json!({
            "probe": probe, "sender": "brevo", "mailbox": probes[0].mailbox.name,
            "schedule": probes[0].schedule.to_string(), "next_run_at": null, "running_since": null,
            "overdue": false, "ticks_skipped": 0, "last_success_at": last_success_at,
            "last_run": last_run, "last_failure": last_failure,
        })
    };
    let nothing = serde_json::Value::Null;
    let report = |report| serde_json::to_value(report).unwrap();
    let expected = serde_json::json!({ "probes": [
        of("external", report(&last), report(&failed), "2026-11-25T10:00:00.000Z".into()),
        of("other", nothing.clone(), nothing.clone(), nothing),
    ] });
    assert_eq!(read().await, expected);
    site.app.logbook.set_probes(&[]);
    assert_eq!(read().await, serde_json::json!({ "probes": [] }));
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_does_not_look_at_the_clock_any_more_is_not_healthy() {
    let (app, _commands) = app(9797, true, None);
    let status = async || health(State(Arc::clone(&app))).await.status();
    assert_eq!(status().await, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(14)).await;
    assert_eq!(status().await, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    app.logbook.tick();
    assert_eq!(status().await, StatusCode::OK);
}
