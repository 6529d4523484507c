//! For each provider the request as it goes out (`fixtures/senders`), and what each documented answer means.

use super::*;
use crate::config::plan::{SecretPlan, SecretSource, SesPlan};
use crate::probe::compose::{Occasion, compose};
use crate::probe::token::{Identity, TokenKey};
use crate::secret::Secret;
use serde_json::json;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

const LIMIT: Duration = Duration::from_secs(10);

fn secret(value: &str) -> SecretPlan {
    SecretPlan {
        value: Secret::new(value),
        source: SecretSource::Variable("PROVIDER_KEY".to_owned()),
    }
}

/// Every provider, with the keys of an account that is none.
fn providers() -> Vec<ProviderPlan> {
    vec![
        ProviderPlan::Mailgun {
            api_key: secret("mailgun-key-for-tests"),
            domain: "mg.example.org".to_owned(),
        },
        ProviderPlan::Postmark {
            server_token: secret("postmark-token-for-tests"),
            message_stream: "outbound".to_owned(),
        },
        ProviderPlan::Sendgrid {
            api_key: secret("SG.sendgrid-key-for-tests"),
        },
        ses(None),
        ProviderPlan::Resend {
            api_key: secret("re_resend-key-for-tests"),
        },
        ProviderPlan::Mailjet {
            api_key: secret("mailjet-public-for-tests"),
            secret_key: secret("mailjet-secret-for-tests"),
        },
    ]
}

fn ses(session_token: Option<&str>) -> ProviderPlan {
    ProviderPlan::Ses(SesPlan {
        region: "eu-central-1".to_owned(),
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: secret("aws-secret-for-tests"),
        session_token: session_token.map(secret),
        configuration_set: Some("monitoring".to_owned()),
    })
}

fn provider(kind: &str) -> ProviderPlan {
    providers()
        .into_iter()
        .find(|one| one.kind() == kind)
        .unwrap()
}

fn api(provider: ProviderPlan, base_url: &str) -> Api {
    Api::new(ApiPlan {
        name: "provider".to_owned(),
        from: "monitoring@example.org".to_owned(),
        from_name: Some("Überwachung".to_owned()),
        base_url: Url::parse(base_url).unwrap(),
        ca_file: None,
        provider,
    })
    .unwrap()
}

fn test_message(api: &Api) -> Message {
    let identity = Identity {
        probe: "external".to_owned(),
        to: "smoke-test@example.org".to_owned(),
        key: TokenKey::from_bytes(&[7; 16]),
        previous_keys: Vec::new(),
    };
    let occasion = Occasion {
        sent_at: DateTime::from_timestamp(1_795_000_000, 0).unwrap(),
        wait: Duration::from_secs(900),
        keep: false,
        nonce: [1, 2, 3, 4],
    };
    compose(&identity, api.from(), &occasion)
}

/// A server for one request, which it answers with these bytes; what it received.
async fn serve(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&received).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            match stream.read(&mut chunk).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&chunk[..count]),
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(received).unwrap()
    });
    (url, task)
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

async fn attempt(provider: ProviderPlan, answer: String) -> Result<Acceptance, Failure> {
    let (url, _server) = serve(answer).await;
    let api = api(provider, &url);
    api.attempt(&test_message(&api), LIMIT).await
}

/// A request as a person would write it down: fields sorted, JSON laid out, a form one pair a line.
fn laid_out(received: &str) -> String {
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let mut fields: Vec<String> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let name = name.to_ascii_lowercase();
            // Of every connection, or of the port.
            let is_telling =
                !matches!(name.as_str(), "host" | "content-length" | "accept-encoding");
            is_telling.then(|| format!("{name}: {value}"))
        })
        .collect();
    fields.sort();
    let body = match serde_json::from_str::<Value>(body) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
        Err(_) => url::form_urlencoded::parse(body.as_bytes())
            .map(|(name, value)| format!("{name} = {value:?}\n"))
            .collect(),
    };
    format!("{first}\n{}\n\n{}\n", fields.join("\n"), body.trim_end())
}

#[tokio::test]
async fn every_request_is_the_stored_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/senders");
    let mut wrong = Vec::new();
    for provider in providers() {
        let kind = provider.kind();
        let (url, server) = serve(answer(500, "", "")).await;
        let api = api(provider, &url);
        let message = test_message(&api);
        let request = api.request(&message, message.sent_at).await;
        let _ = api.http.send(request, LIMIT).await;
        let mut told = laid_out(&server.await.unwrap());
        told = told.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        // It covers the port of the test's server.
        if let Some((before, _)) = told.split_once("Signature=")
            && let Some((_, after)) = told.split_once("\ncontent-type")
        {
            told = format!("{before}Signature=…\ncontent-type{after}");
        }
        let file = root.join(format!("{kind}.http"));
        if std::env::var_os("MAILPROBE_BLESS").is_some() {
            std::fs::create_dir_all(&root).unwrap();
            std::fs::write(&file, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{kind}\n{told}\nexpected:\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_yes_carries_the_providers_id_wherever_it_stands() {
    for (kind, answer, id) in [
        (
            "mailgun",
            answer(
                200,
                "",
                r#"{"id":"<2026.1@mg.example.org>","message":"Queued. Thank you."}"#,
            ),
            "<2026.1@mg.example.org>",
        ),
        (
            "postmark",
            answer(
                200,
                "",
                r#"{"To":"x","MessageID":"b7bc2f4a-e38e-4336-af7d-e6c392c2f817","ErrorCode":0,"Message":"OK"}"#,
            ),
            "b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
        ),
        (
            "postmark",
            answer(
                200,
                "",
                r#"{"MessageID":"b7bc2f4a-e38e-4336-af7d-e6c392c2f817"}"#,
            ),
            "b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
        ),
        (
            "sendgrid",
            answer(202, "X-Message-Id: 14c5d75ce93.dfd.64b469\r\n", ""),
            "14c5d75ce93.dfd.64b469",
        ),
        (
            "ses",
            answer(200, "", r#"{"MessageId":"0108018f-000000"}"#),
            "0108018f-000000",
        ),
        (
            "resend",
            answer(200, "", r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#),
            "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794",
        ),
        // Beyond 2^53: a floating number would end in 416.
        (
            "mailjet",
            answer(
                200,
                "",
                r#"{"Messages":[{"Status":"success","To":[{"Email":"x","MessageID":1152921504606846417}]}]}"#,
            ),
            "1152921504606846417",
        ),
    ] {
        let acceptance = attempt(provider(kind), answer).await.unwrap();
        assert_eq!(acceptance.message_id.as_deref(), Some(id), "{kind}");
        assert_eq!(acceptance.queue_id, None);
    }
}

#[tokio::test]
async fn a_yes_whose_body_was_cut_off_leaves_open_whether_the_message_was_taken() {
    for kind in ["mailgun", "postmark", "ses", "resend", "mailjet"] {
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"".to_owned();
        let failure = attempt(provider(kind), cut).await.unwrap_err();
        // Only Resend knows a message again that is handed over twice.
        let retry = if kind == "resend" {
            Retry::Soon
        } else {
            Retry::Never
        };
        assert_eq!(
            (failure.taken, failure.retry),
            (Taken::Unknown, retry),
            "{kind}"
        );
        let summary = &failure.cause.summary;
        let says = "began to answer, and the rest was lost (the connection broke off";
        assert!(summary.contains(says), "{summary}");
    }
}

/// What a refusal must be.
struct Expected {
    kind: &'static str,
    status: u16,
    headers: &'static str,
    body: &'static str,
    code: CauseCode,
    retry: Retry,
    /// In the summary or the hint.
    words: &'static str,
}

fn no(
    kind: &'static str,
    status: u16,
    body: &'static str,
    code: CauseCode,
    words: &'static str,
) -> Expected {
    Expected {
        kind,
        status,
        headers: "",
        body,
        code,
        retry: Retry::Never,
        words,
    }
}

async fn assert_refused(expected: &Expected) {
    let Expected {
        kind,
        status,
        headers,
        body,
        code,
        retry,
        words,
    } = expected;
    let failure = attempt(provider(kind), answer(*status, headers, body))
        .await
        .unwrap_err();
    let told = format!("{} {}", failure.cause.summary, failure.cause.hint);
    assert_eq!(
        (failure.cause.code, failure.retry),
        (*code, *retry),
        "{kind} {status} {body}: {told}"
    );
    assert_eq!(failure.status, Some(*status));
    assert!(
        told.starts_with(&format!("{kind} `http://127.0.0.1:")),
        "{told}"
    );
    assert!(told.contains(&format!("HTTP {status}")), "{told}");
    assert!(told.contains(words), "`{words}` is not in {told}");
    assert!(!told.contains("for-tests"), "{told}");
}

use CauseCode::{
    RecipientBlocked, SenderFailed, SenderQuotaExhausted, SenderRateLimited, SenderRejectedMessage,
    SenderUnauthorized,
};

#[tokio::test]
async fn what_every_status_means_at_every_provider() {
    for provider in providers() {
        let kind = provider.kind();
        let soon = |expected| Expected {
            retry: Retry::Soon,
            ..expected
        };
        for expected in [
            no(kind, 301, "", SenderFailed, "set `base_url`"),
            no(
                kind,
                400,
                "{\"message\":\"nope\"}",
                SenderRejectedMessage,
                "refuses the message: HTTP 400 nope",
            ),
            no(
                kind,
                401,
                "Forbidden",
                SenderUnauthorized,
                "comes from variable `PROVIDER_KEY`",
            ),
            no(
                kind,
                403,
                "{\"message\":\"nope\"}",
                SenderUnauthorized,
                "does not allow this account",
            ),
            no(kind, 413, "", SenderRejectedMessage, "refuses the message"),
            soon(no(
                kind,
                429,
                "",
                SenderRateLimited,
                "asks to send less often",
            )),
            Expected {
                retry: Retry::After(Duration::from_secs(7)),
                headers: "Retry-After: 7\r\n",
                ..no(kind, 429, "", SenderRateLimited, "asks to wait 7 s")
            },
            soon(no(kind, 500, "", SenderFailed, "fails")),
            soon(no(kind, 503, "", SenderFailed, "fails")),
        ] {
            assert_refused(&expected).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_repeated_only_where_a_key_makes_that_harmless() {
    for provider in providers() {
        let retry = if provider.kind() == "resend" {
            Retry::Soon
        } else {
            Retry::Never
        };
        for lost in [
            String::new(),
            answer(502, "", "<html>Bad Gateway</html>"),
            answer(504, "", ""),
            answer(408, "", ""),
            answer(200, "", "<html>Welcome to the hotel</html>"),
        ] {
            // SendGrid's 200 is that of its sandbox, which takes nothing.
            if provider.kind() == "sendgrid" && lost.starts_with("HTTP/1.1 200") {
                continue;
            }
            let failure = attempt(provider.clone(), lost.clone()).await.unwrap_err();
            assert_eq!(
                (failure.taken, failure.retry, failure.cause.code),
                (Taken::Unknown, retry, SenderFailed),
                "{} {lost}",
                provider.kind()
            );
        }
    }
}

#[tokio::test]
async fn nothing_listening_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let api = api(provider("mailgun"), &url);
    let failure = api.attempt(&test_message(&api), LIMIT).await.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnreachable);
    assert_eq!((failure.taken, failure.retry), (Taken::No, Retry::Soon));
}

#[tokio::test]
async fn mailguns_own_answers() {
    for expected in [
        no(
            "mailgun",
            200,
            "Mailgun Magnificent API",
            SenderFailed,
            "correct `base_url`",
        ),
        no(
            "mailgun",
            404,
            r#"{"message":"Domain not found: mg.example.org"}"#,
            SenderUnauthorized,
            "does not know the domain `mg.example.org`",
        ),
        no(
            "mailgun",
            404,
            "404 page not found",
            SenderUnauthorized,
            "`region = \"eu\"`",
        ),
        no(
            "mailgun",
            400,
            r#"{"message":"to parameter is not a valid address"}"#,
            SenderRejectedMessage,
            "HTTP 400 to parameter is not",
        ),
    ] {
        assert_refused(&expected).await;
    }
}

#[tokio::test]
async fn postmarks_own_answers() {
    let body = |code: u16| -> &'static str {
        json!({ "ErrorCode": code, "Message": "they say why" })
            .to_string()
            .leak()
    };
    for (status, code, cause, words) in [
        (
            401,
            10,
            SenderUnauthorized,
            "does not accept the server token: HTTP 401 10: they say why",
        ),
        (
            422,
            300,
            SenderRejectedMessage,
            "refuses the message: HTTP 422 300: they say why",
        ),
        (422, 400, SenderRejectedMessage, "confirmed sender"),
        (422, 401, SenderRejectedMessage, "confirmed sender"),
        (422, 402, SenderRejectedMessage, "refuses the message"),
        (422, 405, SenderQuotaExhausted, "no messages left"),
        (422, 406, RecipientBlocked, "suppression list"),
        (422, 412, SenderUnauthorized, "not released the account"),
        (422, 413, SenderUnauthorized, "not released the account"),
        // A no can come with a 200.
        (200, 406, RecipientBlocked, "suppression list"),
        (200, 300, SenderRejectedMessage, "says so with a 200"),
    ] {
        assert_refused(&no("postmark", status, body(code), cause, words)).await;
    }
    assert_refused(&Expected {
        retry: Retry::Soon,
        ..no(
            "postmark",
            503,
            body(100),
            SenderFailed,
            "closed for maintenance",
        )
    })
    .await;
}

#[tokio::test]
async fn sendgrids_own_answers() {
    let error = |text: &str| -> &'static str {
        json!({ "errors": [{ "message": text, "field": null }] })
            .to_string()
            .leak()
    };
    for expected in [
        no("sendgrid", 200, "", SenderRejectedMessage, "sandbox"),
        no(
            "sendgrid",
            401,
            error("Maximum credits exceeded"),
            SenderQuotaExhausted,
            "no credits left",
        ),
        no(
            "sendgrid",
            403,
            error("The from address does not match a verified Sender Identity."),
            SenderRejectedMessage,
            "verified sender",
        ),
        no(
            "sendgrid",
            400,
            error("Does not contain a valid address."),
            SenderRejectedMessage,
            "HTTP 400 Does not contain a valid address.",
        ),
        Expected {
            headers: "X-RateLimit-Reset: 12\r\n",
            retry: Retry::After(Duration::from_secs(12)),
            ..no("sendgrid", 429, "", SenderRateLimited, "asks to wait 12 s")
        },
    ] {
        assert_refused(&expected).await;
    }
}

#[test]
fn sendgrids_reset_can_be_a_time() {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-ratelimit-reset", "1795000030".parse().unwrap());
    let answer = Answer {
        status: 429,
        headers,
        body: Vec::new(),
        cut: None,
    };
    let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    let Reading::Refused(refusal) = sendgrid::read(&answer, now) else {
        panic!()
    };
    assert_eq!(refusal.retry, Retry::After(Duration::from_secs(30)));
}

const SES_REFUSALS: [(u16, &str, CauseCode, &str); 11] = [
    (
        400,
        "MessageRejected",
        SenderRejectedMessage,
        "in eu-central-1, where it counts on its own",
    ),
    (
        400,
        "MailFromDomainNotVerifiedException",
        SenderRejectedMessage,
        "verify `from`",
    ),
    (
        400,
        "AccountSuspendedException",
        SenderUnauthorized,
        "does not let this account send",
    ),
    (
        400,
        "SendingPausedException",
        SenderUnauthorized,
        "does not let this account send",
    ),
    (
        404,
        "NotFoundException",
        SenderRejectedMessage,
        "configuration set",
    ),
    (
        400,
        "BadRequestException",
        SenderRejectedMessage,
        "they say why",
    ),
    (
        400,
        "LimitExceededException",
        SenderRejectedMessage,
        "they say why",
    ),
    (
        403,
        "InvalidSignatureException",
        SenderUnauthorized,
        "clock",
    ),
    (
        403,
        "UnrecognizedClientException",
        SenderUnauthorized,
        "does not know the access key",
    ),
    (
        403,
        "ExpiredTokenException",
        SenderUnauthorized,
        "session_token",
    ),
    (
        403,
        "AccessDeniedException",
        SenderUnauthorized,
        "ses:SendEmail",
    ),
];

#[tokio::test]
async fn the_own_answers_of_ses() {
    let body = r#"{"message":"they say why"}"#;
    for (status, kind, code, words) in SES_REFUSALS {
        let headers: &'static str = format!("x-amzn-ErrorType: {kind}:http://internal/\r\n").leak();
        assert_refused(&Expected {
            headers,
            ..no("ses", status, body, code, words)
        })
        .await;
    }
    let quota = r#"{"__type":"com.amazonaws.ses#TooManyRequestsException","message":"Daily message quota exceeded."}"#;
    assert_refused(&no(
        "ses",
        429,
        quota,
        SenderQuotaExhausted,
        "these 24 hours",
    ))
    .await;
    let rate =
        r#"{"__type":"TooManyRequestsException","message":"Maximum sending rate exceeded."}"#;
    assert_refused(&Expected {
        retry: Retry::Soon,
        ..no(
            "ses",
            429,
            rate,
            SenderRateLimited,
            "TooManyRequestsException: Maximum sending rate exceeded.",
        )
    })
    .await;
}

#[tokio::test]
async fn temporary_credentials_send_their_token_signed() {
    let (url, server) = serve(answer(200, "", r#"{"MessageId":"1"}"#)).await;
    let api = api(ses(Some("session-token-for-tests")), &url);
    api.attempt(&test_message(&api), LIMIT).await.unwrap();
    let received = server.await.unwrap();
    assert!(
        received.contains("x-amz-security-token: session-token-for-tests"),
        "{received}"
    );
    assert!(
        received.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"),
        "{received}"
    );
}

const RESEND_REFUSALS: [(u16, &str, CauseCode, &str); 11] = [
    (
        400,
        "validation_error",
        SenderRejectedMessage,
        "validation_error: they say why",
    ),
    (
        400,
        "invalid_idempotency_key",
        SenderRejectedMessage,
        "invalid_idempotency_key",
    ),
    (
        401,
        "missing_api_key",
        SenderUnauthorized,
        "does not accept the API key",
    ),
    (
        401,
        "restricted_api_key",
        SenderUnauthorized,
        "does not accept the API key",
    ),
    (
        403,
        "invalid_api_key",
        SenderUnauthorized,
        "does not accept the API key",
    ),
    (
        403,
        "validation_error",
        SenderRejectedMessage,
        "verify the domain",
    ),
    (
        409,
        "invalid_idempotent_request",
        SenderRejectedMessage,
        "invalid_idempotent_request",
    ),
    (
        422,
        "invalid_from_address",
        SenderRejectedMessage,
        "invalid_from_address",
    ),
    (
        422,
        "missing_required_field",
        SenderRejectedMessage,
        "missing_required_field",
    ),
    // These come as 429, and no pause of a run helps.
    (
        429,
        "daily_quota_exceeded",
        SenderQuotaExhausted,
        "for today",
    ),
    (
        429,
        "monthly_quota_exceeded",
        SenderQuotaExhausted,
        "for this month",
    ),
];

#[tokio::test]
async fn resends_own_answers() {
    let body = |name: &str| -> &'static str {
        json!({ "statusCode": 400, "name": name, "message": "they say why" })
            .to_string()
            .leak()
    };
    for (status, name, code, words) in RESEND_REFUSALS {
        assert_refused(&no("resend", status, body(name), code, words)).await;
    }
    for (status, name, code, headers, retry) in [
        (
            429,
            "rate_limit_exceeded",
            SenderRateLimited,
            "retry-after: 1\r\n",
            Retry::After(Duration::from_secs(1)),
        ),
        (
            429,
            "rate_limit_exceeded",
            SenderRateLimited,
            "ratelimit-reset: 2\r\n",
            Retry::After(Duration::from_secs(2)),
        ),
        (
            409,
            "concurrent_idempotent_requests",
            SenderFailed,
            "",
            Retry::Soon,
        ),
        (500, "internal_server_error", SenderFailed, "", Retry::Soon),
    ] {
        assert_refused(&Expected {
            headers,
            retry,
            ..no("resend", status, body(name), code, name)
        })
        .await;
    }
}

#[tokio::test]
async fn mailjets_own_answers() {
    let errors = |status: u16, text: &str| -> &'static str {
        json!({ "Messages": [{ "Status": "error", "Errors": [{
            "ErrorCode": "send-0008", "ErrorMessage": text, "StatusCode": status,
        }] }] })
        .to_string()
        .leak()
    };
    for expected in [
        no(
            "mailjet",
            400,
            errors(
                403,
                "\"monitoring@example.org\" is not an authorized sender email address for your account.",
            ),
            SenderRejectedMessage,
            "active sender: HTTP 400 send-0008: ",
        ),
        no(
            "mailjet",
            400,
            errors(400, "\"x\" is not a valid email."),
            SenderRejectedMessage,
            "refuses the message",
        ),
        // The outcome counts, not the status around it.
        no(
            "mailjet",
            200,
            errors(400, "no"),
            SenderRejectedMessage,
            "refuses the message: HTTP 200 send-0008: no",
        ),
        no(
            "mailjet",
            400,
            errors(401, "no"),
            SenderUnauthorized,
            "does not allow",
        ),
        no(
            "mailjet",
            401,
            r#"{"StatusCode":401,"ErrorMessage":"API key authentication/authorization failure."}"#,
            SenderUnauthorized,
            "HTTP 401 API key authentication",
        ),
        no(
            "mailjet",
            403,
            r#"{"StatusCode":403,"ErrorMessage":"Operation not allowed"}"#,
            SenderUnauthorized,
            "new accounts",
        ),
    ] {
        assert_refused(&expected).await;
    }
}

async fn account(kind: &str, answer: String) -> (Result<Account, Cause>, String) {
    let (url, server) = serve(answer).await;
    let outcome = api(provider(kind), &url).account(LIMIT).await;
    (outcome, server.await.unwrap())
}

#[tokio::test]
async fn an_account_that_may_send_is_good() {
    for (kind, body, asked, words) in [
        (
            "postmark",
            r#"{"ID":1,"Name":"Monitoring","DeliveryType":"Live"}"#,
            "GET /server ",
            "server `Monitoring`",
        ),
        (
            "sendgrid",
            r#"{"scopes":["alerts.read","mail.send"]}"#,
            "GET /v3/scopes ",
            "may send",
        ),
        (
            "mailjet",
            r#"{"Count":2,"Data":[{"Email":"x@y","Status":"Inactive"},{"Email":"*@Example.org","Status":"Active"}]}"#,
            "GET /v3/REST/sender?Limit=1000 ",
            "active sender",
        ),
    ] {
        let (outcome, received) = account(kind, answer(200, "", body)).await;
        let Ok(Account::Good(what)) = outcome else {
            panic!("{kind}: {outcome:?}")
        };
        assert!(what.contains(words), "{what}");
        assert!(received.starts_with(asked), "{received}");
        assert!(!received.contains("e2e-probe"), "{received}");
    }
}

#[tokio::test]
async fn an_account_from_which_no_mail_would_come_is_named() {
    for (kind, body, words) in [
        (
            "postmark",
            r#"{"Name":"Try","DeliveryType":"Sandbox"}"#,
            "a sandbox",
        ),
        (
            "sendgrid",
            r#"{"scopes":["mail.batch.read"]}"#,
            "may not send",
        ),
        (
            "mailjet",
            r#"{"Data":[{"Email":"monitoring@example.org","Status":"Inactive"}]}"#,
            "does not know `monitoring@example.org`",
        ),
        ("mailjet", r#"{"Data":[]}"#, "does not know"),
    ] {
        let (outcome, _) = account(kind, answer(200, "", body)).await;
        let Ok(Account::Useless { what, .. }) = outcome else {
            panic!("{kind}: {outcome:?}")
        };
        assert!(what.contains(words), "{what}");
    }
}

#[tokio::test]
async fn an_account_whose_key_is_refused_is_a_cause() {
    for kind in ["postmark", "sendgrid", "mailjet"] {
        let (outcome, _) = account(kind, answer(401, "", "{\"message\":\"no\"}")).await;
        let cause = outcome.unwrap_err();
        assert_eq!(cause.code, SenderUnauthorized);
        assert!(
            cause.hint.contains("variable `PROVIDER_KEY`"),
            "{}",
            cause.hint
        );
        let (outcome, _) = account(kind, answer(200, "", "<html>")).await;
        assert_eq!(outcome.unwrap_err().code, SenderFailed);
    }
    for kind in ["mailgun", "ses", "resend"] {
        let api = api(provider(kind), "http://127.0.0.1:1");
        assert_eq!(api.account(LIMIT).await, Ok(Account::Unasked));
    }
}

#[tokio::test]
async fn a_question_that_is_refused_is_not_told_as_a_message_that_is() {
    for kind in ["postmark", "sendgrid", "mailjet"] {
        let (outcome, _) = account(kind, answer(422, "", "{\"message\":\"no\"}")).await;
        let cause = outcome.unwrap_err();
        assert_eq!(cause.code, SenderFailed);
        assert!(
            cause.summary.contains("refuses the question: HTTP 422"),
            "{}",
            cause.summary
        );
        let nobody = api(provider(kind), "http://127.0.0.1:1");
        let cause = nobody.account(LIMIT).await.unwrap_err();
        assert!(
            cause.summary.starts_with("cannot ask "),
            "{}",
            cause.summary
        );
    }
}
