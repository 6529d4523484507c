//! Gateways and monitors that take reports, refuse them, stall, babble and cut off, over sockets.

use super::*;
use crate::config::plan::{
    HttpCredentials, PushgatewayPlan, SecretPlan, SecretSource, UptimeKumaPlan,
};
use crate::demo::http::{Request, Response, serve};
use crate::metrics;
use crate::probe::report::samples;
use crate::probe::verdict::CauseCode;
use crate::secret::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use url::Url;

const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "ScriptedKumaToken0123456789";

type Heard = Arc<Mutex<Vec<Request>>>;

async fn listening(
    answer: impl Fn(&Request, usize) -> Response + Send + Sync + 'static,
) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let hearing = Arc::clone(&heard);
    tokio::spawn(serve(listener, None, move |request| {
        let mut heard = hearing.lock().unwrap();
        let response = answer(&request, heard.len());
        heard.push(request);
        drop(heard);
        async move { response }
    }));
    (url, heard)
}

fn secret(value: &str) -> SecretPlan {
    SecretPlan {
        value: Secret::new(value),
        source: SecretSource::Literal,
    }
}

fn gateway_plan(url: &str) -> PushgatewayPlan {
    PushgatewayPlan {
        url: Url::parse(url).unwrap(),
        job: "mailprobe".to_owned(),
        labels: BTreeMap::new(),
        credentials: None,
        ca_file: None,
    }
}

fn gateway(url: &str) -> Sink {
    Sink::new(&SinkPlan::Pushgateway(gateway_plan(url))).unwrap()
}

fn kuma(url: &str, interim: bool) -> Sink {
    let plan = UptimeKumaPlan {
        probe: "external".to_owned(),
        push_url: secret(&format!("{url}/api/push/{TOKEN}")),
        interim,
        ca_file: None,
    };
    Sink::new(&SinkPlan::UptimeKuma(plan)).unwrap()
}

#[tokio::test]
async fn a_gateway_gets_one_post_in_the_group_of_the_probe() {
    let (url, heard) = listening(|_, _| Response::text(200, "")).await;
    let report = samples::delivered();
    let push = gateway(&format!("{url}/prefix")).push(&report, LIMIT).await;
    assert_eq!((push.ok, push.attempts, push.error), (true, 1, None));
    assert_eq!(push.sink, format!("pushgateway {url}/prefix"));
    let heard = heard.lock().unwrap();
    let [request] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/prefix/metrics/job/mailprobe/probe/external");
    assert_eq!(request.header("content-type"), Some(metrics::CONTENT_TYPE));
    assert_eq!(
        request.body,
        metrics::encode(&metrics::Gauges::of(&report)).into_bytes()
    );
}

#[tokio::test]
async fn labels_that_would_break_the_path_go_in_base64() {
    let (url, heard) = listening(|_, _| Response::text(200, "")).await;
    let mut plan = gateway_plan(&url);
    plan.job = "a/b".to_owned();
    plan.labels = [("site", "caf\u{e9} 1"), ("empty", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let sink = Sink::new(&SinkPlan::Pushgateway(plan)).unwrap();
    assert!(sink.push(&samples::delivered(), LIMIT).await.ok);
    assert_eq!(
        heard.lock().unwrap()[0].path,
        "/metrics/job@base64/YS9i/empty@base64/=/probe/external/site/caf%C3%A9%201"
    );
}

#[tokio::test]
async fn credentials_go_with_the_push() {
    for (credentials, expected) in [
        (
            HttpCredentials::Basic {
                username: "me".to_owned(),
                password: secret("hunter2-gateway"),
            },
            "Basic bWU6aHVudGVyMi1nYXRld2F5",
        ),
        (
            HttpCredentials::Bearer(secret("bearer-gateway")),
            "Bearer bearer-gateway",
        ),
    ] {
        let (url, heard) = listening(|_, _| Response::text(200, "")).await;
        let mut plan = gateway_plan(&url);
        plan.credentials = Some(credentials);
        let sink = Sink::new(&SinkPlan::Pushgateway(plan)).unwrap();
        assert!(sink.push(&samples::delivered(), LIMIT).await.ok);
        let heard = heard.lock().unwrap();
        assert_eq!(heard[0].header("authorization"), Some(expected));
    }
}

#[tokio::test]
async fn a_gateway_that_fails_gets_three_attempts_and_one_that_recovers_is_fine() {
    let (url, heard) = listening(|_, _| Response::text(503, "busy")).await;
    let push = gateway(&url).push(&samples::delivered(), LIMIT).await;
    assert_eq!((push.ok, push.attempts), (false, 3));
    assert_eq!(push.error.as_deref(), Some("HTTP 503 busy"));
    assert_eq!(heard.lock().unwrap().len(), 3);

    let (url, _) =
        listening(|_, count| Response::text(if count == 0 { 502 } else { 200 }, "")).await;
    let push = gateway(&url).push(&samples::delivered(), LIMIT).await;
    assert_eq!((push.ok, push.attempts, push.error), (true, 2, None));
}

#[tokio::test]
async fn what_a_repeat_cannot_mend_is_not_repeated() {
    for (status, body, hint) in [
        (
            400,
            "Client sent an HTTP request to an HTTPS server.",
            "https://",
        ),
        (401, "Unauthorized", "`bearer_token`"),
        (404, "404 page not found", "prefix"),
        (301, "", "redirect"),
    ] {
        let (url, heard) = listening(move |_, _| Response::text(status, body)).await;
        let push = gateway(&url).push(&samples::delivered(), LIMIT).await;
        assert_eq!((push.ok, push.attempts), (false, 1), "{status}");
        assert!(push.error.unwrap().starts_with(&format!("HTTP {status}")));
        let said = push.hint.unwrap();
        assert!(said.contains(hint), "{status}: {said}");
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_page_is_no_push_whatever_its_status() {
    let endless = "HTTP/1.1 200 OK\r\n\r\n<html>".to_owned() + &"x".repeat(2 * 1024 * 1024);
    for (response, attempts, says) in [
        (
            Response::text(200, "<html><title>Sign in</title>"),
            1,
            "HTTP 200 with a page instead of the empty answer of a Pushgateway: <html><title>Sign in",
        ),
        (
            Response::text(202, "OK"),
            1,
            "HTTP 202 with a page instead of the empty answer",
        ),
        (
            Response::Bytes(endless.into_bytes()),
            1,
            "HTTP 200 with a page instead of the empty answer of a Pushgateway: <html>xxx",
        ),
        (
            Response::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()),
            3,
            "HTTP 200, and the end of the answer is missing: the connection broke off",
        ),
    ] {
        let (url, heard) = listening(move |_, _| response.clone()).await;
        let push = gateway(&url).push(&samples::delivered(), LIMIT).await;
        let error = push.error.unwrap();
        assert!(error.starts_with(says), "{error}");
        assert!(error.len() < 500, "{error}");
        assert_eq!((push.ok, push.attempts), (false, attempts), "{error}");
        assert!(push.hint.is_some());
        assert_eq!(
            heard.lock().unwrap().len(),
            usize::try_from(attempts).unwrap()
        );
    }
    for blank in ["", "\n"] {
        let (url, _) = listening(move |_, _| Response::text(200, blank)).await;
        assert!(gateway(&url).push(&samples::delivered(), LIMIT).await.ok);
    }
}

#[tokio::test]
async fn a_group_whose_type_clashes_is_named_with_the_command_that_deletes_it() {
    let groups = json!({ "status": "success", "data": [
        { "labels": { "job": "other" }, "go_goroutines": { "type": "GAUGE" } },
        { "labels": { "job": "email-roundtrip-monitor" }, "email_roundtrip_success": { "type": "UNTYPED" } },
    ]});
    let (url, _) = listening(move |request, _| match request.method.as_str() {
        "POST" => Response::text(
            400,
            "pushed metrics are invalid or inconsistent: is not a GAUGE",
        ),
        _ => Response::json(200, &groups),
    })
    .await;
    let push = gateway(&url).push(&samples::delivered(), LIMIT).await;
    assert_eq!((push.ok, push.attempts), (false, 1));
    assert_eq!(
        push.hint.unwrap(),
        format!(
            "`email_roundtrip_success` of this group is UNTYPED, not GAUGE, which keeps every push of ours out: \
             curl -X DELETE '{url}/metrics/job/email-roundtrip-monitor'"
        )
    );
}

#[tokio::test]
async fn a_gateway_that_stalls_or_is_asked_why_it_refuses_costs_no_more_than_the_limit() {
    let limit = Duration::from_millis(700);
    for refuses in [false, true] {
        let (url, _) = listening(move |request, _| match request.method.as_str() {
            "POST" if refuses => Response::text(400, "no"),
            _ => Response::Silence,
        })
        .await;
        let begun = Instant::now();
        let push = gateway(&url).push(&samples::delivered(), limit).await;
        assert!(!push.ok);
        assert!(begun.elapsed() < limit * 2, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn the_interim_report_touches_the_verdict_alone() {
    let (url, heard) = listening(|_, _| Response::text(200, "")).await;
    let push = gateway(&url)
        .push_overdue("external", "it is not there after 300 s", LIMIT)
        .await;
    assert!(push.unwrap().ok);
    let body = String::from_utf8(heard.lock().unwrap()[0].body.clone()).unwrap();
    assert!(body.contains("mailprobe_verdict{verdict=\"overdue\"} 1\n"));
    let names = body.lines().filter(|line| line.starts_with("# TYPE"));
    assert_eq!(names.count(), 1, "{body}");
}

fn query(request: &Request) -> Vec<String> {
    let pairs = request.query.iter();
    pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn taken() -> Response {
    Response::json(200, &json!({ "ok": true }))
}

#[tokio::test]
async fn kuma_gets_one_get_with_status_sentence_and_whole_milliseconds() {
    let (url, heard) = listening(|_, _| taken()).await;
    let push = kuma(&url, false).push(&samples::delivered(), LIMIT).await;
    assert!(push.ok);
    assert_eq!(push.sink, format!("uptime_kuma {url}"));
    let mut blind = samples::blind(CauseCode::MailboxLoginRefused);
    kuma(&url, false).push(&blind, LIMIT).await;
    blind.duration_seconds = Some(0.0);
    kuma(&url, false).push(&blind, LIMIT).await;
    let heard = heard.lock().unwrap();
    assert!(
        heard
            .iter()
            .all(|one| one.method == "GET" && one.path == format!("/api/push/{TOKEN}"))
    );
    let queries: Vec<_> = heard.iter().map(query).collect();
    let refused = [
        "status=down",
        "msg=BLIND: cannot log in to imap `mail.example.org:993`: NO",
    ];
    assert_eq!(
        queries,
        [
            vec![
                "status=up",
                "msg=delivered in 1.010 s (or up to 0.020 s sooner)",
                "ping=1350"
            ],
            refused.to_vec(),
            // A ping of 0 is none.
            refused.to_vec(),
        ]
    );
}

#[tokio::test]
async fn a_long_sentence_is_cut_and_awkward_letters_arrive() {
    let (url, heard) = listening(|_, _| taken()).await;
    let mut report = samples::blind(CauseCode::Unknown);
    if let Some(cause) = &mut report.cause {
        cause.summary = format!("a&b #c %d +e \u{fc} {}", "x".repeat(2000));
    }
    assert!(kuma(&url, false).push(&report, LIMIT).await.ok);
    let heard = heard.lock().unwrap();
    let message = heard[0].query("msg").unwrap();
    assert!(
        message.starts_with("BLIND: a&b #c %d +e \u{fc} xxx"),
        "{message}"
    );
    assert_eq!(message.chars().count(), 400);
}

#[tokio::test]
async fn only_200_with_ok_true_is_success_and_nothing_that_was_received_is_sent_again() {
    let not_found = json!({ "ok": false, "msg": "Monitor not found or not active." });
    let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(2 * 1024 * 1024);
    for (response, says) in [
        (
            Response::text(200, "<!DOCTYPE html>"),
            "HTTP 200 with a page instead of an answer",
        ),
        (
            Response::json(404, &not_found),
            "HTTP 404 Monitor not found or not active.",
        ),
        (
            Response::json(200, &not_found),
            "HTTP 200 Monitor not found or not active.",
        ),
        (
            Response::Bytes(endless.into_bytes()),
            "HTTP 200, and the end of the answer is missing: it goes on beyond 524288 bytes",
        ),
        (
            Response::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok".to_vec()),
            "HTTP 200, and the end of the answer is missing: the connection broke off",
        ),
        (Response::json(201, &json!({ "ok": true })), "HTTP 201"),
        (Response::text(502, "Bad Gateway"), "HTTP 502 Bad Gateway"),
        (Response::Bytes(Vec::new()), "the connection broke off"),
        (Response::Silence, "no answer within"),
    ] {
        let is_silent = matches!(response, Response::Silence);
        let (url, heard) = listening(move |_, _| response.clone()).await;
        let limit = if is_silent {
            Duration::from_millis(500)
        } else {
            LIMIT
        };
        let push = kuma(&url, false).push(&samples::delivered(), limit).await;
        let error = push.error.unwrap();
        assert!(error.starts_with(says), "{error}");
        assert!(!error.contains(TOKEN), "{error}");
        assert_eq!((push.ok, push.attempts), (false, 1), "{says}");
        assert_eq!(heard.lock().unwrap().len(), 1, "{says}");
    }
}

#[tokio::test]
async fn a_kuma_that_does_not_listen_is_tried_three_times() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let push = kuma(&url, false).push(&samples::delivered(), LIMIT).await;
    assert_eq!((push.ok, push.attempts), (false, 3));
    assert!(push.error.unwrap().starts_with("no connection: "));
}

#[tokio::test]
async fn an_interim_report_pages_only_where_that_is_wanted() {
    let (url, heard) = listening(|_, _| taken()).await;
    let silent = kuma(&url, false)
        .push_overdue("external", "it is not there after 300 s", LIMIT)
        .await;
    assert_eq!(silent, None);
    assert!(heard.lock().unwrap().is_empty());
    let push = kuma(&url, true)
        .push_overdue("external", "it is not there after 300 s", LIMIT)
        .await;
    assert!(push.unwrap().ok);
    assert_eq!(
        query(&heard.lock().unwrap()[0]),
        ["status=down", "msg=overdue: it is not there after 300 s"]
    );
}

#[tokio::test]
async fn an_interrupted_run_is_for_the_gateway_only() {
    let interrupted = samples::blind(CauseCode::Interrupted);
    assert!(gateway("http://127.0.0.1:1").wants(&interrupted));
    assert!(!kuma("http://127.0.0.1:1", true).wants(&interrupted));
    assert!(kuma("http://127.0.0.1:1", false).wants(&samples::delivered()));
}

#[tokio::test]
async fn a_gateway_behind_a_private_ca_is_reached_with_its_ca_file_and_named_without() {
    let authority = crate::demo::ca::Authority::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = authority.acceptor(&["127.0.0.1"]).unwrap();
    tokio::spawn(serve(listener, Some(tls), |request: Request| async move {
        match request.method.as_str() {
            "POST" => Response::text(200, ""),
            _ => Response::json(200, &json!({ "ok": true })),
        }
    }));
    for with_ca in [true, false] {
        let mut plan = gateway_plan(&url);
        plan.ca_file = with_ca.then(|| ca_file.clone());
        let gateway = Sink::new(&SinkPlan::Pushgateway(plan)).unwrap();
        let kuma = Sink::new(&SinkPlan::UptimeKuma(UptimeKumaPlan {
            probe: "external".to_owned(),
            push_url: secret(&format!("{url}/api/push/{TOKEN}")),
            interim: false,
            ca_file: with_ca.then(|| ca_file.clone()),
        }))
        .unwrap();
        for sink in [gateway, kuma] {
            let push = sink.push(&samples::delivered(), LIMIT).await;
            assert_eq!((push.ok, push.attempts), (with_ca, 1), "{push:?}");
            if !with_ca {
                assert!(push.error.unwrap().contains("not trusted"));
                assert!(push.hint.unwrap().contains("`ca_file`"));
            }
        }
    }
}
