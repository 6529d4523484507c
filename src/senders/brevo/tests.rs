//! Answers of the real API and of what can stand in its place, over sockets.

use super::*;
use crate::config::plan::{SecretPlan, SecretSource};
use crate::demo::http::{Request, Response, serve};
use crate::probe::send::{Retry, Taken};
use crate::probe::verdict::CauseCode;
use crate::secret::Secret;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use url::Url;

const KEY: &str = "xkeysib-scripted-0123456789";
const TO: &str = "smoke+test@example.org";
const LIMIT: Duration = Duration::from_secs(10);

/// What a server was asked.
type Heard = Arc<Mutex<Vec<Request>>>;

fn brevo(base_url: &str) -> Brevo {
    Brevo::new(BrevoPlan {
        name: "brevo".to_owned(),
        api_key: SecretPlan {
            value: Secret::new(KEY),
            source: SecretSource::Variable("BREVO_API_KEY".to_owned()),
        },
        from: "monitoring@example.org".to_owned(),
        from_name: Some("Monitoring".to_owned()),
        unblock_recipient: true,
        base_url: Url::parse(base_url).unwrap(),
        ca_file: None,
        daily_limit: None,
    })
    .unwrap()
}

/// An account at a server that answers so.
async fn answering(
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> (Brevo, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v3", listener.local_addr().unwrap());
    let heard = Heard::default();
    let hearing = Arc::clone(&heard);
    tokio::spawn(serve(listener, None, move |request| {
        let response = answer(&request);
        hearing.lock().unwrap().push(request);
        async move { response }
    }));
    (brevo(&url), heard)
}

fn message() -> Message {
    Message {
        token: "e2e-probe-x".to_owned(),
        sent_at: chrono::DateTime::UNIX_EPOCH,
        from: brevo("http://127.0.0.1:1/").from(),
        to: TO.to_owned(),
        subject: "[E2E Monitor] e2e-probe-x".to_owned(),
        headers: vec![("X-Mailprobe-Token".to_owned(), "e2e-probe-x".to_owned())],
        text: "text".to_owned(),
        html: "<p>html</p>".to_owned(),
        idempotency_key: "ffffffff-ffff-4fff-bfff-ffffffffffff".to_owned(),
    }
}

async fn attempt(response: Response) -> Result<Acceptance, Failure> {
    let (brevo, _) = answering(move |_| response.clone()).await;
    brevo.attempt(&message(), LIMIT).await
}

fn refusal(status: u16, code: &str, message: &str) -> Response {
    crate::demo::brevo::error(status, code, message)
}

#[tokio::test]
async fn a_message_goes_out_with_every_part_that_brevo_needs() {
    let yes = Response::json(201, &json!({ "messageId": "<1@smtp-relay.mailin.fr>" }));
    let (brevo, heard) = answering(move |_| yes.clone()).await;
    let accepted = brevo.attempt(&message(), LIMIT).await.unwrap();
    assert_eq!(
        accepted.message_id.as_deref(),
        Some("<1@smtp-relay.mailin.fr>")
    );
    assert_eq!(accepted.status, 201);
    let heard = heard.lock().unwrap();
    let [request] = heard.as_slice() else {
        panic!("one request: {heard:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v3/smtp/email")
    );
    assert_eq!(request.header("api-key"), Some(KEY));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "sender": { "email": "monitoring@example.org", "name": "Monitoring" },
            "to": [{ "email": TO }],
            "subject": "[E2E Monitor] e2e-probe-x",
            "textContent": "text",
            "htmlContent": "<p>html</p>",
            "headers": {
                "X-Mailprobe-Token": "e2e-probe-x",
                "idempotencyKey": "ffffffff-ffff-4fff-bfff-ffffffffffff",
            },
            "tags": ["mailprobe"],
        })
    );
}

#[tokio::test]
async fn a_yes_without_a_usable_id_is_a_yes() {
    let long = "x".repeat(500);
    for response in [
        Response::text(201, ""),
        Response::json(201, &json!({})),
        Response::json(202, &json!({ "messageId": "" })),
        Response::json(201, &json!({ "messageId": long })),
        Response::json(201, &json!({ "messageId": "<a b>" })),
        // The key was used: an earlier attempt got through.
        refusal(400, "duplicate_request", "Request already processed"),
        refusal(409, "", "Request already processed"),
    ] {
        let accepted = attempt(response.clone()).await.unwrap();
        assert_eq!(accepted.message_id, None, "{response:?}");
    }
}

#[tokio::test]
// A table, which the formatter spreads out.
#[allow(clippy::too_many_lines)]
async fn each_refusal_has_its_cause_its_words_and_its_way_on() {
    use CauseCode::{
        SenderFailed, SenderQuotaExhausted, SenderRateLimited, SenderRejectedMessage,
        SenderUnauthorized,
    };
    let html = |status| Response::text(status, "<html><h1>Bad Gateway</h1>\n</html>");
    let limited = |name: &str, value: &str| refusal(429, "", "").with_header(name, value);
    let after = |seconds| Retry::After(Duration::from_secs(seconds));
    for (response, code, taken, retry, says) in [
        (
            refusal(401, "unauthorized", "Key not found"),
            SenderUnauthorized,
            Taken::No,
            Retry::Never,
            "does not accept the API key: HTTP 401 unauthorized: Key not found",
        ),
        (
            refusal(401, "unauthorized", "unrecognised IP address 192.0.2.1"),
            SenderUnauthorized,
            Taken::No,
            Retry::Never,
            "this machine's address",
        ),
        (
            refusal(403, "permission_denied", "suspended"),
            SenderUnauthorized,
            Taken::No,
            Retry::Never,
            "does not allow",
        ),
        (
            refusal(400, "account_under_validation", "x"),
            SenderUnauthorized,
            Taken::No,
            Retry::Never,
            "has not released the account",
        ),
        (
            refusal(400, "not_enough_credits", "You do not have enough credits"),
            SenderQuotaExhausted,
            Taken::No,
            Retry::Never,
            "has no credits left",
        ),
        (
            refusal(402, "", "payment required"),
            SenderQuotaExhausted,
            Taken::No,
            Retry::Never,
            "has no credits left",
        ),
        (
            refusal(400, "Insufficient credits", ""),
            SenderQuotaExhausted,
            Taken::No,
            Retry::Never,
            "has no credits left",
        ),
        (
            refusal(400, "missing_parameter", "sender is missing"),
            SenderRejectedMessage,
            Taken::No,
            Retry::Never,
            "refuses the message: HTTP 400 missing_parameter: sender is missing",
        ),
        (
            refusal(422, "unprocessable_entity", "x"),
            SenderRejectedMessage,
            Taken::No,
            Retry::Never,
            "refuses the message",
        ),
        (
            refusal(404, "document_not_found", "x"),
            SenderFailed,
            Taken::No,
            Retry::Never,
            "does not know the request",
        ),
        (
            limited("x-sib-ratelimit-reset", "60"),
            SenderRateLimited,
            Taken::No,
            after(60),
            "asks to wait 60 s",
        ),
        (
            limited("x-sib-ratelimit-reset", "0.2"),
            SenderRateLimited,
            Taken::No,
            after(1),
            "asks to wait 1 s",
        ),
        (
            limited("retry-after", "7"),
            SenderRateLimited,
            Taken::No,
            after(7),
            "asks to wait 7 s",
        ),
        (
            limited("x-sib-ratelimit-reset", "-5"),
            SenderRateLimited,
            Taken::No,
            Retry::Soon,
            "asks to send less often",
        ),
        (
            limited("x-sib-ratelimit-reset", "18446744073709549568"),
            SenderRateLimited,
            Taken::No,
            after(366 * 86_400),
            "asks to wait",
        ),
        (
            limited("x-sib-ratelimit-reset", "soon"),
            SenderRateLimited,
            Taken::No,
            Retry::Soon,
            "asks to send less often",
        ),
        (
            html(500),
            SenderFailed,
            Taken::No,
            Retry::Soon,
            "fails: HTTP 500 <html><h1>Bad Gateway</h1> </html>",
        ),
        (
            html(503),
            SenderFailed,
            Taken::No,
            Retry::Soon,
            "fails: HTTP 503",
        ),
        // Somebody in front of the API lost its answer.
        (
            html(502),
            SenderFailed,
            Taken::Unknown,
            Retry::Soon,
            "fails: HTTP 502",
        ),
        (
            html(504),
            SenderFailed,
            Taken::Unknown,
            Retry::Soon,
            "fails: HTTP 504",
        ),
        (
            html(524),
            SenderFailed,
            Taken::Unknown,
            Retry::Soon,
            "fails: HTTP 524",
        ),
        (
            refusal(408, "", "timeout"),
            SenderFailed,
            Taken::Unknown,
            Retry::Soon,
            "fails: HTTP 408",
        ),
        // A captive portal says yes to everything.
        (
            Response::text(200, "<html>Welcome"),
            SenderFailed,
            Taken::Unknown,
            Retry::Soon,
            "gives an answer that is not of the API: HTTP 200 <html>Welcome",
        ),
        (
            Response::text(302, "").with_header("location", "http://127.0.0.1:1/"),
            SenderFailed,
            Taken::No,
            Retry::Never,
            "answers with a redirect",
        ),
    ] {
        let failure = attempt(response.clone()).await.unwrap_err();
        let found = (failure.cause.code, failure.taken, failure.retry);
        assert_eq!(found, (code, taken, retry), "{response:?}");
        assert!(
            failure.cause.summary.contains(says),
            "{}",
            failure.cause.summary
        );
        assert!(
            failure
                .cause
                .summary
                .starts_with("brevo `http://127.0.0.1:")
        );
        assert!(!failure.cause.hint.is_empty());
        assert!(failure.status.is_some());
    }
}

#[tokio::test]
async fn what_support_asks_for_is_evidence() {
    let response = refusal(400, "not_enough_credits", "no")
        .with_header("sib-request-id", "abc-123")
        .with_header("x-sib-ratelimit-remaining", "0")
        .with_header("x-sib-ratelimit-reset", "3600");
    let evidence = attempt(response).await.unwrap_err().cause.evidence;
    for expected in [
        "sib-request-id: abc-123",
        "x-sib-ratelimit-remaining: 0",
        "x-sib-ratelimit-reset: 3600",
    ] {
        assert!(evidence.iter().any(|one| one == expected), "{evidence:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_open_whether_the_message_was_taken() {
    for (response, says) in [
        (Response::Bytes(Vec::new()), "the connection broke off"),
        (
            Response::Bytes(b"220 mail.example.org ESMTP\r\n".to_vec()),
            "the connection broke off",
        ),
        (
            Response::Bytes(b"HTTP/1.1 2".to_vec()),
            "the connection broke off",
        ),
        (Response::Silence, "no answer within"),
    ] {
        let (brevo, _) = answering(move |_| response.clone()).await;
        let limit = Duration::from_millis(500);
        let failure = brevo.attempt(&message(), limit).await.unwrap_err();
        assert_eq!(failure.cause.code, CauseCode::SenderFailed);
        assert_eq!(
            (failure.taken, failure.retry),
            (Taken::Unknown, Retry::Soon)
        );
        let summary = &failure.cause.summary;
        assert!(
            summary.starts_with("cannot hand the message to brevo"),
            "{summary}"
        );
        assert!(summary.contains(says), "{summary}");
    }
}

#[tokio::test]
async fn a_yes_whose_end_is_lost_leaves_open_whether_the_message_was_taken() {
    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n";
    let endless = format!("{head}\r\n{}", "x".repeat(2 * 1024 * 1024));
    for (text, says) in [
        (
            format!("{head}Content-Length: 50\r\n\r\n{{\"mess"),
            "and the rest was lost: the connection broke off",
        ),
        (
            format!("{head}Content-Length: 50\r\n\r\n"),
            "and the rest was lost: the connection broke off",
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n6\r\n{{\"mess\r\n"),
            "and the rest was lost: the connection broke off",
        ),
        (
            endless,
            "and the rest was lost: it goes on beyond 524288 bytes",
        ),
    ] {
        let failure = attempt(Response::Bytes(text.into_bytes()))
            .await
            .unwrap_err();
        let told = (failure.taken, failure.retry, failure.status);
        assert_eq!(told, (Taken::Unknown, Retry::Soon, Some(201)));
        assert_eq!(failure.cause.code, CauseCode::SenderFailed);
        let summary = &failure.cause.summary;
        assert!(summary.contains("began to answer HTTP 201, "), "{summary}");
        assert!(summary.contains(says), "{summary}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = brevo(&format!("http://127.0.0.1:{port}/v3"));
    let failure = refused.attempt(&message(), LIMIT).await.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnreachable);
    assert_eq!((failure.taken, failure.retry), (Taken::No, Retry::Soon));
    assert_eq!(failure.status, None);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_named_and_nothing_is_sent_or_repeated() {
    let authority = crate::demo::ca::Authority::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v3", listener.local_addr().unwrap());
    let tls = authority.acceptor(&["127.0.0.1"]).unwrap();
    tokio::spawn(serve(listener, Some(tls), |_| async { Response::Silence }));
    let failure = brevo(&url).attempt(&message(), LIMIT).await.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderTlsInvalid);
    assert_eq!((failure.taken, failure.retry), (Taken::No, Retry::Never));
    assert!(
        failure
            .cause
            .summary
            .contains("an authority that is not trusted")
    );
    assert!(failure.cause.hint.contains("`ca_file`"));
    assert!(
        failure
            .cause
            .evidence
            .iter()
            .any(|one| one == "issuer: CN=mailprobe demo CA")
    );
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_and_the_status_counts() {
    let mut bytes = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n".to_vec();
    bytes.resize(8 * 1024 * 1024, b'x');
    let failure = attempt(Response::Bytes(bytes)).await.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderRejectedMessage);
    assert!(failure.cause.summary.len() < 500);
}

/// A block list with these entries, bounces of today, and an answer to lifting.
struct Blocks {
    contacts: Value,
    bounces: Response,
    lifting: Response,
}

impl Blocks {
    fn of(code: &str) -> Self {
        Self::listing(json!([{
            "email": "Smoke+Test@example.org", "senderEmail": "", "blockedAt": "2026-11-20T03:12:44Z",
            "reason": { "code": code, "message": "said the server" },
        }]))
    }

    fn listing(contacts: Value) -> Self {
        Self {
            contacts,
            bounces: Response::json(200, &json!({ "events": [{}] })),
            lifting: Response::text(204, ""),
        }
    }

    async fn prepare(self) -> (Preparation, Vec<String>) {
        let (brevo, heard) =
            answering(
                move |request| match (request.method.as_str(), request.path.as_str()) {
                    ("DELETE", _) => self.lifting.clone(),
                    (_, "/v3/smtp/blockedContacts") => {
                        Response::json(200, &json!({ "count": 1, "contacts": self.contacts }))
                    }
                    _ => self.bounces.clone(),
                },
            )
            .await;
        let preparation = brevo.prepare(TO, LIMIT).await;
        let asked = heard
            .lock()
            .unwrap()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        (preparation, asked)
    }
}

const LOOK_UP: &str = "GET /v3/smtp/blockedContacts";
const BOUNCES: &str = "GET /v3/smtp/statistics/events";
const LIFT: &str = "DELETE /v3/smtp/blockedContacts/smoke%2Btest%40example.org";

#[tokio::test]
async fn nobody_blocked_costs_one_question() {
    for contacts in [
        json!([]),
        json!(null),
        json!([{ "email": "other@example.org" }]),
    ] {
        let (preparation, asked) = Blocks::listing(contacts).prepare().await;
        assert_eq!(preparation, Preparation::default());
        assert_eq!(asked, [LOOK_UP]);
    }
}

#[tokio::test]
async fn a_block_after_a_bounce_or_an_unsubscribe_is_lifted_with_a_warning() {
    for code in [
        "hardBounce",
        "unsubscribedViaEmail",
        "unsubscribedViaApi",
        "unsubscribedViaMA",
    ] {
        let (preparation, asked) = Blocks::of(code).prepare().await;
        assert_eq!(asked, [LOOK_UP, BOUNCES, LIFT], "{code}");
        assert_eq!(preparation.blocked, None);
        assert_eq!(preparation.warnings, []);
        let warning = preparation.lifted.unwrap();
        assert_eq!(warning.code, CauseCode::RecipientBlocked);
        assert!(warning.summary.ends_with("; the block was lifted"));
        let evidence = format!("blocked since 2026-11-20T03:12:44Z: {code} (said the server)");
        assert_eq!(warning.evidence, [evidence]);
    }
}

#[tokio::test]
async fn a_complaint_and_a_block_by_a_person_stay() {
    for code in ["contactFlaggedAsSpam", "adminBlocked", "somethingNew", ""] {
        let (preparation, asked) = Blocks::of(code).prepare().await;
        assert_eq!(asked, [LOOK_UP], "{code}");
        assert_eq!(preparation.lifted, None);
        let cause = preparation.blocked.unwrap();
        assert_eq!(cause.code, CauseCode::RecipientBlocked);
    }
}

#[tokio::test]
async fn three_bounces_in_a_day_are_left_to_a_person() {
    let mut blocks = Blocks::of("hardBounce");
    blocks.bounces = Response::json(200, &json!({ "events": [{}, {}, {}] }));
    let (preparation, asked) = blocks.prepare().await;
    assert_eq!(asked, [LOOK_UP, BOUNCES]);
    let hint = preparation.blocked.unwrap().hint;
    assert!(hint.starts_with("3 hard bounces in a day"), "{hint}");
}

#[tokio::test]
async fn an_address_without_events_and_a_block_that_went_by_itself_are_no_trouble() {
    let mut blocks = Blocks::of("hardBounce");
    blocks.bounces = refusal(404, "document_not_found", "no events");
    blocks.lifting = refusal(404, "document_not_found", "Contact does not exist");
    let (preparation, _) = blocks.prepare().await;
    assert!(preparation.lifted.is_some());
    assert_eq!(preparation.warnings, []);
}

#[tokio::test]
async fn a_block_that_cannot_be_lifted_is_told_with_the_reason() {
    let mut blocks = Blocks::of("hardBounce");
    blocks.lifting = refusal(403, "permission_denied", "not with this key");
    let (preparation, _) = blocks.prepare().await;
    let hint = preparation.blocked.unwrap().hint;
    assert!(
        hint.contains("HTTP 403 permission_denied: not with this key"),
        "{hint}"
    );
}

#[tokio::test]
async fn an_unsubscription_from_another_sender_is_not_ours() {
    let of_another = json!([{
        "email": TO, "senderEmail": "newsletter@example.org", "reason": { "code": "unsubscribedViaMA" },
    }]);
    let (preparation, asked) = Blocks::listing(of_another).prepare().await;
    assert_eq!(preparation, Preparation::default());
    assert_eq!(asked, [LOOK_UP]);
}

#[tokio::test]
async fn a_list_without_end_is_read_for_five_pages() {
    let page: Vec<Value> = (0..100)
        .map(|number| json!({ "email": format!("{number}@example.net") }))
        .collect();
    let (preparation, asked) = Blocks::listing(json!(page)).prepare().await;
    assert_eq!(preparation, Preparation::default());
    assert_eq!(asked, [LOOK_UP; 5]);
}

#[tokio::test]
async fn a_look_up_that_fails_is_a_warning_and_no_more() {
    for response in [
        refusal(500, "", "oops"),
        Response::text(200, "<html>"),
        Response::Bytes(Vec::new()),
        Response::Silence,
    ] {
        let (brevo, heard) = answering(move |_| response.clone()).await;
        let preparation = brevo.prepare(TO, Duration::from_millis(300)).await;
        assert_eq!(preparation.blocked, None);
        assert_eq!(preparation.lifted, None);
        let [warning] = preparation.warnings.as_slice() else {
            panic!("{preparation:?}")
        };
        assert!(
            warning
                .summary
                .starts_with("cannot tell whether brevo `http://127.0.0.1:"),
            "{}",
            warning.summary
        );
        assert!(
            !warning.summary.contains("hand the message"),
            "{}",
            warning.summary
        );
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_question_that_is_refused_is_not_told_as_a_message_that_is() {
    let (brevo, _) = answering(|_| refusal(400, "invalid_parameter", "no such thing")).await;
    for cause in [
        brevo.account(LIMIT).await.unwrap_err(),
        brevo.block(TO, LIMIT).await.unwrap_err(),
        brevo.identity(LIMIT).await.unwrap_err(),
    ] {
        assert_eq!(cause.code, CauseCode::SenderFailed);
        assert!(
            cause
                .summary
                .contains("refuses the question: HTTP 400 invalid_parameter: no such thing"),
            "{}",
            cause.summary
        );
        assert!(!cause.summary.contains("message"), "{}", cause.summary);
    }
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_may_be_lifted() {
    let (mut brevo, heard) = answering(|_| Response::text(200, "")).await;
    brevo.plan.unblock_recipient = false;
    assert_eq!(brevo.prepare(TO, LIMIT).await, Preparation::default());
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_account_tells_what_is_left() {
    let body = json!({
        "plan": [{ "type": "sms", "credits": 5 }, { "type": "free", "credits": 212.0 }],
        "relay": { "enabled": false },
    });
    let (brevo, _) = answering(move |_| Response::json(200, &body)).await;
    let account = brevo.account(LIMIT).await.unwrap();
    assert_eq!(account.plan, "free");
    assert_eq!(
        (account.credits, account.relay_enabled),
        (Some(212.0), Some(false))
    );
}
