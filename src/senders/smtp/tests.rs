//! Every class of reply, and of none, at every step.

use super::script::{Do, HELLO, serve};
use super::*;
use crate::config::plan::{SecretPlan, SecretSource, SmtpAuth, SmtpLogin};
use crate::demo::ca::Authority;
use crate::net::proxy_protocol::{ProxyProtocol, Version};
use crate::probe::compose::{Occasion, compose};
use crate::probe::message::{Recognition, recognise};
use crate::probe::send::{Retry, Taken};
use crate::probe::token::{Identity, Keyring, TokenKey};
use crate::probe::verdict::CauseCode;
use crate::secret::Secret;
use std::net::SocketAddr;

const PASSWORD: &str = "smtp-tests hunter2 password";
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

fn identity() -> Identity {
    Identity {
        probe: "internal".to_owned(),
        to: "smoke-test@example.org".to_owned(),
        key: TokenKey::from_bytes(&[7; 16]),
        previous_keys: Vec::new(),
    }
}

fn test_message() -> Message {
    let from = Author {
        address: "monitoring@example.org".to_owned(),
        name: Some("Überwachung".to_owned()),
    };
    let occasion = Occasion {
        sent_at: DateTime::from_timestamp(1_795_000_000, 0).unwrap(),
        wait: Duration::from_secs(900),
        keep: false,
        nonce: [1, 2, 3, 4],
    };
    compose(&identity(), from, &occasion)
}

fn message_id() -> String {
    format!("<{}@example.org>", test_message().idempotency_key)
}

fn plan(server: SocketAddr) -> SmtpPlan {
    SmtpPlan {
        name: "inside".to_owned(),
        host: server.ip().to_string(),
        port: server.port(),
        tls: TlsMode::None,
        tls_server_name: "mail.example.org".to_owned(),
        ca_file: None,
        login: None,
        from: "monitoring@example.org".to_owned(),
        from_name: None,
        helo: Some("probe.example.org".to_owned()),
        proxy: None,
    }
}

fn login(auth: SmtpAuth) -> Option<SmtpLogin> {
    Some(SmtpLogin {
        username: "monitoring@example.org".to_owned(),
        password: SecretPlan {
            value: Secret::new(PASSWORD),
            source: SecretSource::Variable("SUBMISSION_PASSWORD".to_owned()),
        },
        auth,
    })
}

/// Hands a message to a server that follows a script; what came of it, and what the server heard.
async fn hand_over(
    script: Vec<Do>,
    limit: Duration,
    change: impl FnOnce(&mut SmtpPlan),
) -> (Result<Acceptance, Failure>, Vec<String>) {
    let (address, server) = serve(script, None).await;
    let mut plan = plan(address);
    change(&mut plan);
    let outcome = Smtp::new(plan)
        .unwrap()
        .attempt(&test_message(), limit)
        .await;
    (outcome, server.await.unwrap())
}

/// The same over TLS, with a certificate for this name.
async fn hand_over_with_tls(
    script: Vec<Do>,
    certificate_name: &str,
    change: impl FnOnce(&mut SmtpPlan),
) -> (Result<Acceptance, Failure>, Vec<String>) {
    let authority = Authority::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let acceptor = authority.acceptor(&[certificate_name]).unwrap();
    let (address, server) = serve(script, Some(acceptor)).await;
    let mut plan = plan(address);
    plan.tls = TlsMode::StartTls;
    plan.ca_file = Some(ca_file);
    change(&mut plan);
    let outcome = Smtp::new(plan)
        .unwrap()
        .attempt(&test_message(), LONG)
        .await;
    (outcome, server.await.unwrap())
}

/// A session up to a step; what comes then is the test's.
fn until(step: Step) -> Vec<Do> {
    let whole = [
        (Step::Greeting, Do::Say("220 mail.example.org ESMTP\r\n")),
        (
            Step::Ehlo,
            Do::On("EHLO probe.example.org", "250 mail.example.org\r\n"),
        ),
        (
            Step::Mail,
            Do::On("MAIL FROM:<monitoring@example.org>", "250 2.1.0 Ok\r\n"),
        ),
        (
            Step::Rcpt,
            Do::On("RCPT TO:<smoke-test@example.org>", "250 2.1.5 Ok\r\n"),
        ),
        (Step::Data, Do::On("DATA", "354 go on\r\n")),
        (
            Step::EndOfData,
            Do::Message("250 2.0.0 Ok: queued as 4F2A0000001\r\n"),
        ),
    ];
    whole
        .into_iter()
        .take_while(|(one, _)| *one != step)
        .map(|(_, what)| what)
        .collect()
}

/// What a client says at a step.
fn said_at(step: Step) -> &'static str {
    match step {
        Step::Ehlo => "EHLO",
        Step::Mail => "MAIL",
        Step::Rcpt => "RCPT",
        _ => "DATA",
    }
}

/// A session in which the server answers with this at that step.
fn answers(step: Step, reply: &'static str) -> Vec<Do> {
    let mut script = until(step);
    script.push(match step {
        Step::Greeting => Do::Say(reply),
        Step::EndOfData => Do::Message(reply),
        step => Do::On(said_at(step), reply),
    });
    script
}

const STEPS: [Step; 6] = [
    Step::Greeting,
    Step::Ehlo,
    Step::Mail,
    Step::Rcpt,
    Step::Data,
    Step::EndOfData,
];

#[tokio::test]
async fn a_yes_carries_our_message_id_and_the_servers_queue_id() {
    let (outcome, heard) = hand_over(
        answers(Step::EndOfData, "250 2.0.0 Ok: queued as 4F2A0000001\r\n"),
        LONG,
        |_| (),
    )
    .await;
    assert_eq!(
        outcome.unwrap(),
        Acceptance {
            message_id: Some(message_id()),
            queue_id: Some("4F2A0000001".to_owned()),
            status: 250,
        }
    );
    let commands: Vec<&str> = heard.iter().take(4).map(String::as_str).collect();
    assert_eq!(
        commands,
        [
            "EHLO probe.example.org",
            "MAIL FROM:<monitoring@example.org>",
            "RCPT TO:<smoke-test@example.org>",
            "DATA",
        ]
    );
    assert_eq!(heard.last().unwrap(), "QUIT");
}

#[tokio::test]
async fn the_message_that_the_server_gets_is_ours_and_complete() {
    let (_, heard) = hand_over(answers(Step::EndOfData, "250 Ok\r\n"), LONG, |_| ()).await;
    let end = heard.iter().position(|line| line == ".").unwrap();
    let raw = heard[4..end].join("\r\n");
    let Recognition::Ours(ours) = recognise(raw.as_bytes(), &Keyring::new(vec![identity()])) else {
        panic!("{raw}")
    };
    assert!(ours.deletable);
    for line in [
        "From: =?utf-8?b?w5xiZXJ3YWNodW5n?= <monitoring@example.org>",
        "To: smoke-test@example.org",
        "Date: Wed, 18 Nov 2026 11:06:40 +0000",
        &format!("Message-ID: {}", message_id()),
        "MIME-Version: 1.0",
        "X-Auto-Response-Suppress: All",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Type: text/html; charset=utf-8",
    ] {
        assert!(
            heard.iter().any(|one| one == line),
            "{line} is not in\n{raw}"
        );
    }
    assert!(
        heard
            .iter()
            .any(|line| *line == format!("Subject: {}", test_message().subject))
    );
    assert!(
        heard
            .iter()
            .all(|line| line.len() <= 998 && line.is_ascii())
    );
    assert!(heard[end - 1].ends_with("--"), "{raw}");
}

#[tokio::test]
async fn a_4xx_at_any_step_asks_to_come_again_in_minutes() {
    for step in STEPS {
        let reply = "450-4.7.1 Greylisted,\r\n450 4.7.1 come again\r\n";
        let (outcome, heard) = hand_over(answers(step, reply), LONG, |_| ()).await;
        let failure = outcome.unwrap_err();
        assert_eq!(
            (failure.taken, failure.retry),
            (Taken::No, Retry::Later),
            "{step:?}"
        );
        assert_eq!(failure.cause.code, CauseCode::Deferred);
        assert_eq!(failure.status, Some(450));
        let summary = &failure.cause.summary;
        assert!(summary.starts_with("smtp `127.0.0.1:"), "{summary}");
        assert!(
            summary.ends_with("450-4.7.1 Greylisted, 450 4.7.1 come again"),
            "{summary}"
        );
        assert!(
            heard.len() < 2 || heard.last().unwrap() == "QUIT",
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn a_5xx_is_final_and_means_at_each_step_what_it_means_there() {
    for (step, reply, code) in [
        (
            Step::Greeting,
            "554 5.7.1 no service for 192.0.2.1\r\n",
            CauseCode::SenderUnauthorized,
        ),
        (
            Step::Ehlo,
            "550 5.7.1 bad name\r\n",
            CauseCode::SenderUnauthorized,
        ),
        (
            Step::Mail,
            "530 5.7.0 Must issue a STARTTLS command first\r\n",
            CauseCode::SenderUnauthorized,
        ),
        (
            Step::Mail,
            "553 5.1.8 Sender address rejected: Domain not found\r\n",
            CauseCode::SenderRejectedMessage,
        ),
        (
            Step::Rcpt,
            "550 5.1.1 <smoke-test@example.org>: User unknown\r\n",
            CauseCode::HardBounced,
        ),
        (
            Step::Rcpt,
            "554 5.7.1 <smoke-test@example.org>: Relay access denied\r\n",
            CauseCode::SenderUnauthorized,
        ),
        (
            Step::Rcpt,
            "550 5.7.1 Service unavailable; client blocked\r\n",
            CauseCode::SenderRejectedMessage,
        ),
        (
            Step::Rcpt,
            "552 5.2.2 mailbox full\r\n",
            CauseCode::MailboxOverQuota,
        ),
        (
            Step::Rcpt,
            "452 4.2.2 mailbox full\r\n",
            CauseCode::MailboxOverQuota,
        ),
        (
            Step::Rcpt,
            "450 4.7.1 Error: too much mail from 192.0.2.1\r\n",
            CauseCode::SenderRateLimited,
        ),
        (
            Step::Data,
            "554 5.5.1 Error: no valid recipients\r\n",
            CauseCode::SenderRejectedMessage,
        ),
        (
            Step::EndOfData,
            "554 5.7.1 Spam message rejected\r\n",
            CauseCode::SenderRejectedMessage,
        ),
    ] {
        let (outcome, _) = hand_over(answers(step, reply), LONG, |_| ()).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.cause.code, code, "{reply}");
        assert_eq!(failure.taken, Taken::No);
        let is_final = reply.starts_with('5');
        assert_eq!(
            failure.retry,
            if is_final { Retry::Never } else { Retry::Later }
        );
        let reply = reply.trim_end();
        assert!(
            failure.cause.summary.ends_with(reply),
            "{}",
            failure.cause.summary
        );
        let evidence = failure.cause.evidence.join("\n");
        assert!(evidence.ends_with(reply), "{evidence}");
    }
}

#[tokio::test]
async fn a_connection_cut_before_the_dot_is_tried_again_and_after_it_the_mailbox_decides() {
    for step in STEPS {
        let mut script = until(step);
        script.push(match step {
            Step::Greeting => Do::Close,
            Step::EndOfData => Do::Message(""),
            step => Do::On(said_at(step), ""),
        });
        script.push(Do::Close);
        let (outcome, _) = hand_over(script, LONG, |_| ()).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.cause.code, CauseCode::SenderFailed, "{step:?}");
        let expected = if step == Step::EndOfData {
            (Taken::Unknown, Retry::Never)
        } else {
            (Taken::No, Retry::Soon)
        };
        assert_eq!((failure.taken, failure.retry), expected, "{step:?}");
        assert!(
            failure
                .cause
                .summary
                .ends_with("the server closed the connection"),
            "{}",
            failure.cause.summary
        );
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_reply_says_what_came() {
    let script = vec![Do::Say("220-mail.example.org\r\n220 ES"), Do::Close];
    let (outcome, _) = hand_over(script, LONG, |_| ()).await;
    let summary = outcome.unwrap_err().cause.summary;
    assert!(
        summary.ends_with("closed the connection behind `220-mail.example.org 220 ES`"),
        "{summary}"
    );
}

#[tokio::test]
async fn silence_is_named_with_its_step_and_after_the_dot_the_mailbox_decides() {
    for (step, name) in [
        (Step::Greeting, "at the greeting"),
        (Step::Ehlo, "at EHLO"),
        (Step::Mail, "at MAIL FROM"),
        (Step::Rcpt, "at RCPT TO"),
        (Step::Data, "at DATA"),
        (Step::EndOfData, "has the message, and did not answer"),
    ] {
        let (outcome, _) = hand_over(until(step), SHORT, |_| ()).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.cause.code, CauseCode::SenderFailed, "{step:?}");
        assert!(
            failure.cause.summary.contains(name),
            "{}",
            failure.cause.summary
        );
        let is_uncertain = step == Step::EndOfData;
        assert_eq!(failure.taken == Taken::Unknown, is_uncertain, "{step:?}");
    }
}

#[tokio::test]
async fn servers_that_babble_are_cut_short() {
    let line: &'static str = "x".repeat(1 << 16).leak();
    for (script, words) in [
        (
            vec![Do::Flood("220-welcome\r\n")],
            "at the greeting: an answer of more than 16384 bytes",
        ),
        // 10 MB and more, if they were read.
        (vec![Do::Flood(line)], "a line of more than 2000 bytes"),
        (
            vec![Do::Say("HTTP/1.1 400 Bad Request\r\n\r\n")],
            "`HTTP/1.1 400 Bad Request`",
        ),
        (
            vec![Do::Say("250 hello\r\n")],
            "does not belong here: 250 hello",
        ),
        (
            vec![Do::Say("220 a\r\n250 b\r\n250 c\r\n")],
            "talks without being asked: 250 b 250 c",
        ),
        (vec![Do::Say("220-a\r\n250 b\r\n")], "`220-a 250 b`"),
        (
            answers(Step::Data, "250 so what\r\n"),
            "does not belong here: 250 so what",
        ),
        (
            answers(Step::Mail, "354 go on\r\n"),
            "does not belong here: 354 go on",
        ),
    ] {
        let (outcome, heard) = hand_over(script, LONG, |_| ()).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.cause.code, CauseCode::SenderFailed);
        assert_eq!((failure.taken, failure.retry), (Taken::No, Retry::Never));
        assert!(
            failure.cause.summary.contains(words),
            "{}",
            failure.cause.summary
        );
        assert!(!heard.contains(&".".to_owned()), "{heard:?}");
    }
}

#[tokio::test]
async fn a_reply_in_another_charset_or_with_bare_line_feeds_is_understood() {
    let latin1: &'static [u8] = b"550 5.1.1 Empf\xe4nger unbekannt\r\n";
    let (client, mut server) = tokio::io::duplex(1000);
    tokio::io::AsyncWriteExt::write_all(&mut server, latin1)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut server, b"250 bare\n")
        .await
        .unwrap();
    let mut wire = super::wire::Wire::new(Box::new(client), ([127, 0, 0, 1], 25).into());
    wire.go_live();
    let mut bytes = [0; 100];
    for expected in ["550 5.1.1 Empf?nger unbekannt\r\n", "250 bare\r\n"] {
        let count = tokio::io::AsyncReadExt::read(&mut wire, &mut bytes)
            .await
            .unwrap();
        assert_eq!(std::str::from_utf8(&bytes[..count]), Ok(expected));
    }
}

#[tokio::test]
async fn nothing_listening_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = plan(listener.local_addr().unwrap());
    drop(listener);
    let failure = Smtp::new(plan)
        .unwrap()
        .attempt(&test_message(), LONG)
        .await
        .unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnreachable);
    assert_eq!((failure.taken, failure.retry), (Taken::No, Retry::Soon));
    assert!(
        failure.cause.summary.contains("Connection refused"),
        "{}",
        failure.cause.summary
    );
}

const OFFER_TLS: Do = Do::On(
    "EHLO ",
    "250-mail.example.org\r\n250-starttls\r\n250 AUTH LOGIN PLAIN\r\n",
);

/// A submission up to the log-in, STARTTLS included.
fn submission(offer: &'static str) -> Vec<Do> {
    vec![
        Do::Say("220 mail.example.org ESMTP\r\n"),
        OFFER_TLS,
        Do::On("STARTTLS", "220 2.0.0 Ready to start TLS\r\n"),
        Do::Tls,
        Do::On("EHLO ", offer),
    ]
}

fn and_then(mut script: Vec<Do>, more: impl IntoIterator<Item = Do>) -> Vec<Do> {
    script.extend(more);
    script
}

fn transaction() -> Vec<Do> {
    until(Step::Tls).into_iter().skip(2).collect()
}

#[tokio::test]
async fn submission_with_starttls_says_ehlo_again_and_logs_in_by_plain() {
    let script = and_then(
        submission("250-mail.example.org\r\n250 AUTH PLAIN LOGIN\r\n"),
        and_then(
            vec![Do::On("AUTH PLAIN ", "235 2.7.0 in\r\n")],
            transaction(),
        ),
    );
    let (outcome, heard) = hand_over_with_tls(script, "mail.example.org", |plan| {
        plan.login = login(SmtpAuth::Auto)
    })
    .await;
    assert_eq!(outcome.unwrap().queue_id.as_deref(), Some("4F2A0000001"));
    let sent = heard
        .iter()
        .find_map(|line| line.strip_prefix("AUTH PLAIN "))
        .unwrap();
    let response = data_encoding::BASE64.decode(sent.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(response).unwrap(),
        format!("\0monitoring@example.org\0{PASSWORD}")
    );
}

#[tokio::test]
async fn implicit_tls_comes_before_the_greeting_and_behind_a_proxy_header() {
    let script = and_then(vec![Do::Bytes(28), Do::Tls], until(Step::Tls));
    let (outcome, heard) = hand_over_with_tls(script, "mail.example.org", |plan| {
        plan.tls = TlsMode::Implicit;
        plan.proxy = Some(ProxyProtocol {
            version: Version::V2,
            source: Some("192.0.2.1:4242".parse().unwrap()),
        });
    })
    .await;
    outcome.unwrap();
    assert!(heard[0].starts_with("\r\n\r\n\0\r\nQUIT\n"), "{heard:?}");
}

#[tokio::test]
async fn a_proxy_header_of_version_1_is_the_first_line() {
    let mut script = vec![Do::On("PROXY TCP4 192.0.2.1 127.0.0.1 4242 ", "")];
    script.extend(until(Step::Tls));
    let (outcome, _) = hand_over(script, LONG, |plan| {
        plan.proxy = Some(ProxyProtocol {
            version: Version::V1,
            source: Some("192.0.2.1:4242".parse().unwrap()),
        });
    })
    .await;
    outcome.unwrap();
}

#[tokio::test]
async fn a_port_that_wants_a_proxy_header_or_takes_none_is_named_in_the_hint() {
    let proxy = Some(ProxyProtocol {
        version: Version::V1,
        source: None,
    });
    for (script, proxy, words) in [
        (
            vec![Do::Say("421 4.3.0 Server local error\r\n")],
            None,
            "then set `proxy_protocol` in `[sender.inside]`",
        ),
        (
            vec![Do::Say("421 4.3.2 No system resources\r\n")],
            proxy,
            "is it the right version",
        ),
        (
            vec![Do::Close],
            None,
            "does this port want a PROXY header first?",
        ),
        (
            vec![
                Do::Say("220 mail.example.org\r\n"),
                Do::On("PROXY", "500 5.5.2 Error: bad syntax\r\n"),
            ],
            proxy,
            "set `proxy_protocol = \"none\"`",
        ),
    ] {
        let (outcome, _) = hand_over(script, LONG, |plan| plan.proxy = proxy).await;
        let hint = outcome.unwrap_err().cause.hint;
        assert!(hint.contains(words), "{hint}");
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_said_in_clear() {
    let (outcome, heard) = hand_over(HELLO.into(), LONG, |plan| {
        plan.tls = TlsMode::StartTls;
        plan.login = login(SmtpAuth::Auto);
    })
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderTlsInvalid);
    assert_eq!(failure.retry, Retry::Never);
    assert!(
        failure.cause.summary.contains("does not offer STARTTLS"),
        "{}",
        failure.cause.summary
    );
    assert_eq!(heard, ["EHLO probe.example.org"]);
}

#[tokio::test]
async fn what_is_injected_behind_the_answer_to_starttls_ends_the_session() {
    let script = vec![
        HELLO.into_iter().next().unwrap(),
        OFFER_TLS,
        Do::On(
            "STARTTLS",
            "220 2.0.0 Ready\r\n250-mail.example.org\r\n250 AUTH PLAIN\r\n",
        ),
        Do::Tls,
    ];
    let (outcome, heard) = hand_over_with_tls(script, "mail.example.org", |plan| {
        plan.login = login(SmtpAuth::Auto)
    })
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderTlsInvalid);
    assert_eq!(failure.retry, Retry::Never);
    assert!(
        failure.cause.summary.contains("more in clear"),
        "{}",
        failure.cause.summary
    );
    assert_eq!(heard.last().unwrap(), "STARTTLS");
}

#[tokio::test]
async fn what_was_offered_before_tls_does_not_count_after_it() {
    let (outcome, heard) = hand_over_with_tls(
        submission("250 mail.example.org\r\n"),
        "mail.example.org",
        |plan| plan.login = login(SmtpAuth::Auto),
    )
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnauthorized);
    assert!(
        failure.cause.summary.ends_with("does not offer to log in"),
        "{}",
        failure.cause.summary
    );
    assert!(
        !heard.iter().any(|line| line.starts_with("AUTH")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_ends_the_session_with_both_names() {
    let (outcome, heard) = hand_over_with_tls(submission(""), "other.example.net", |plan| {
        plan.login = login(SmtpAuth::Auto)
    })
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderTlsInvalid);
    assert_eq!(failure.retry, Retry::Never);
    assert!(
        failure
            .cause
            .summary
            .ends_with("the certificate is for other.example.net, not for `mail.example.org`"),
        "{}",
        failure.cause.summary
    );
    assert!(
        failure.cause.hint.contains("tls_server_name"),
        "{}",
        failure.cause.hint
    );
    assert_eq!(failure.cause.evidence.len(), 4);
    assert_eq!(heard.last().unwrap(), "STARTTLS");
}

#[tokio::test]
async fn a_port_that_begins_in_clear_is_named_where_tls_is_expected_from_the_first_byte() {
    let (outcome, _) = hand_over(
        vec![Do::Say("220 mail.example.org ESMTP Postfix\r\n")],
        LONG,
        |plan| plan.tls = TlsMode::Implicit,
    )
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderTlsInvalid);
    assert!(
        failure.cause.hint.contains("tls = \"starttls\""),
        "{}",
        failure.cause.hint
    );
}

#[tokio::test]
async fn a_certificate_is_remembered_for_its_end() {
    let authority = Authority::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let acceptor = authority.acceptor(&["mail.example.org"]).unwrap();
    let script = and_then(vec![Do::Tls], until(Step::Mail));
    let (address, _server) = serve(script, Some(acceptor)).await;
    let smtp = Smtp::new(SmtpPlan {
        tls: TlsMode::Implicit,
        ca_file: Some(ca_file),
        ..plan(address)
    })
    .unwrap();
    assert_eq!(smtp.certificate_expiry(), None);
    smtp.log_in(LONG).await.unwrap();
    assert!(smtp.certificate_expiry().is_some());
}

/// A session on a loopback port without TLS that logs in.
async fn log_in(
    auth: SmtpAuth,
    offer: &'static str,
    script: Vec<Do>,
) -> (Result<Acceptance, Failure>, Vec<String>) {
    let begin = vec![
        Do::Say("220 mail.example.org ESMTP\r\n"),
        Do::On("EHLO ", offer),
    ];
    hand_over(and_then(begin, script), LONG, |plan| {
        plan.login = login(auth)
    })
    .await
}

#[tokio::test]
async fn auth_login_answers_prompts_by_their_order_whatever_they_say() {
    let offer = "250-mail.example.org\r\n250-AUTH=LOGIN\r\n250 AUTH LOGIN\r\n";
    for auth in [SmtpAuth::Auto, SmtpAuth::Login] {
        let script = and_then(
            vec![
                Do::On("AUTH LOGIN", "334 QmVudXR6ZXI=\r\n"),
                Do::On("bW9uaXRvcmluZ0BleGFtcGxlLm9yZw==", "334 \r\n"),
                Do::On("c210cC10ZXN0cyBodW50ZXIyIHBhc3N3b3Jk", "235 in\r\n"),
            ],
            transaction(),
        );
        let (outcome, _) = log_in(auth, offer, script).await;
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_refused_log_in_names_the_user_the_reply_and_where_the_password_came_from() {
    for (reply, code, retry) in [
        (
            "535 5.7.8 Error: authentication failed\r\n",
            CauseCode::SenderUnauthorized,
            Retry::Never,
        ),
        (
            "454 4.7.0 Temporary authentication failure\r\n",
            CauseCode::Deferred,
            Retry::Later,
        ),
    ] {
        let script = vec![Do::On("AUTH PLAIN", reply)];
        let (outcome, _) = log_in(SmtpAuth::Plain, "250-x\r\n250 AUTH PLAIN\r\n", script).await;
        let failure = outcome.unwrap_err();
        assert_eq!((failure.cause.code, failure.retry), (code, retry));
        let summary = &failure.cause.summary;
        assert!(
            summary.contains("log in `monitoring@example.org`"),
            "{summary}"
        );
        assert!(summary.ends_with(reply.trim_end()), "{summary}");
        if retry == Retry::Never {
            let hint = &failure.cause.hint;
            assert!(hint.contains("variable `SUBMISSION_PASSWORD`"), "{hint}");
        }
    }
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_not_tried() {
    let (outcome, heard) = log_in(
        SmtpAuth::XOauth2,
        "250-x\r\n250 AUTH PLAIN LOGIN\r\n",
        Vec::new(),
    )
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnauthorized);
    assert!(
        failure.cause.summary.ends_with("it offers PLAIN, LOGIN"),
        "{}",
        failure.cause.summary
    );
    assert_eq!(heard, ["EHLO probe.example.org"]);
}

#[tokio::test]
async fn a_refused_access_token_is_told_with_the_reason_in_the_challenge() {
    let script = vec![
        Do::On(
            "AUTH XOAUTH2 dXNlcj1tb25pdG9yaW5nQGV4YW1wbGUub3JnAWF1dGg9QmVhcmVyIH",
            "334 eyJzdGF0dXMiOiI0MDAifQ==\r\n",
        ),
        Do::On("", "535 5.7.8 Username and Password not accepted\r\n"),
    ];
    let (outcome, heard) = log_in(SmtpAuth::XOauth2, "250-x\r\n250 AUTH XOAUTH2\r\n", script).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.cause.code, CauseCode::SenderUnauthorized);
    assert_eq!(
        failure.cause.evidence.last().unwrap(),
        "{\"status\":\"400\"}"
    );
    assert_eq!(heard[2], "");
}

#[tokio::test]
async fn an_access_token_in_a_file_is_read_again_at_each_log_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    for token in ["first-access-token", "second-access-token"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let script = and_then(vec![Do::On("AUTH XOAUTH2 ", "235 in\r\n")], transaction());
        let begin = vec![
            Do::Say("220 x\r\n"),
            Do::On("EHLO ", "250-x\r\n250 AUTH XOAUTH2\r\n"),
        ];
        let (outcome, heard) = hand_over(and_then(begin, script), LONG, |plan| {
            plan.login = Some(SmtpLogin {
                username: "me".to_owned(),
                password: SecretPlan {
                    value: Secret::new("read-at-the-start"),
                    source: SecretSource::File(file.clone()),
                },
                auth: SmtpAuth::XOauth2,
            });
        })
        .await;
        outcome.unwrap();
        let sent = heard
            .iter()
            .find_map(|line| line.strip_prefix("AUTH XOAUTH2 "))
            .unwrap();
        let sent = data_encoding::BASE64.decode(sent.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            format!("user=me\x01auth=Bearer {token}\x01\x01")
        );
    }
}

#[tokio::test]
async fn a_server_that_echoes_the_password_does_not_get_it_into_the_report() {
    let script = vec![Do::On(
        "AUTH PLAIN",
        "535 no smtp-tests hunter2 password AG1vbml0b3JpbmdAZXhhbXBsZS5vcmcAc210cC10ZXN0cyBodW50ZXIyIHBhc3N3b3Jk\r\n",
    )];
    let (outcome, _) = log_in(SmtpAuth::Plain, "250-x\r\n250 AUTH PLAIN\r\n", script).await;
    let cause = outcome.unwrap_err().cause;
    let told = format!("{cause:?}");
    assert!(told.contains("535 no <secret> <secret>"), "{told}");
    assert!(
        !told.contains("hunter2") && !told.contains("c210cC10"),
        "{told}"
    );
}

#[test]
fn the_queue_id_is_found_in_the_replies_of_known_servers() {
    for (reply, id) in [
        ("250 2.0.0 Ok: queued as 4F2A0000001", Some("4F2A0000001")),
        (
            "250 2.0.0 Message queued with id 3d2f9a1c0.",
            Some("3d2f9a1c0"),
        ),
        ("250 OK id=1rXyZa-0001Ab-2C", Some("1rXyZa-0001Ab-2C")),
        (
            "250 2.6.0 <x@y> [InternalId=12345, Hostname=EX.example.net] Queued mail for delivery",
            Some("12345"),
        ),
        ("250 Message Queued (5B1C2D3E-0000)", Some("5B1C2D3E-0000")),
        (
            "250 2.0.0 OK  1700000000 d9443c01a7336-29f - gsmtp",
            Some("d9443c01a7336-29f"),
        ),
        (
            "250 2.0.0 3BJ9x01234 Message accepted for delivery",
            Some("3BJ9x01234"),
        ),
        (
            "250 2.0.0 7c2a9f: Message accepted for delivery",
            Some("7c2a9f"),
        ),
        ("250 Ok", None),
        ("250 queued as ", None),
    ] {
        assert_eq!(queue_id(reply).as_deref(), id, "{reply}");
    }
}

#[tokio::test]
async fn without_a_configured_name_ehlo_says_the_hosts_name_or_its_address() {
    let (_, heard) = hand_over(HELLO.into(), SHORT, |plan| plan.helo = None).await;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected = [
        format!("EHLO {}", own.trim()),
        "EHLO [127.0.0.1]".to_owned(),
    ];
    assert!(expected.contains(&heard[0]), "{heard:?}");
}
