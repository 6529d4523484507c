//! Checks against scripted servers; the real ones are in `tests/servers/listeners.rs`.

use super::*;
use crate::demo::ca::Authority;
use crate::net::proxy_protocol::{ProxyProtocol, Version};
use crate::probe::listener::{Fault, Protocol, Step};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a server does with one connection, in order; then it closes.
#[derive(Clone, Copy)]
enum Do {
    /// Writes this.
    Say(&'static str),
    /// Reads a line, which has to begin so.
    Hear(&'static str),
    /// Goes on in TLS.
    Tls,
    /// Says nothing until the client goes; time flies.
    Stall,
    /// Says `x` without end.
    Babble,
}
use Do::*;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

const EHLO: Do = Say("250-mail.example.org\r\n250-STARTTLS\r\n250 8BITMIME\r\n");
const EHLO_IN_TLS: Do = Say("250-mail.example.org\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n");
/// Up to the end of the first EHLO.
const OPEN: [Do; 3] = [Say("220 mail.example.org ESMTP\r\n"), Hear("EHLO ["), EHLO];
const SECURE: [Do; 5] = [
    Hear("STARTTLS"),
    Say("220 2.0.0 Ready\r\n"),
    Tls,
    Hear("EHLO ["),
    EHLO_IN_TLS,
];
const BYE: [Do; 2] = [Hear("QUIT"), Say("221 2.0.0 Bye\r\n")];

fn script(parts: &[&[Do]]) -> Vec<Do> {
    parts.concat()
}

/// Follows a script, one for each connection in turn.
async fn follow(mut stream: Box<dyn Io>, script: Vec<Do>, acceptor: TlsAcceptor) {
    for step in script {
        match step {
            Say(text) => drop(stream.write_all(text.as_bytes()).await),
            Hear(start) => {
                let mut line = Vec::new();
                let mut reader = BufReader::with_capacity(1, &mut stream);
                let _ = reader.read_until(b'\n', &mut line).await;
                let line = String::from_utf8_lossy(&line).into_owned();
                assert!(line.starts_with(start), "heard {line:?}, not {start:?}");
            }
            Tls => match acceptor.accept(stream).await {
                Ok(secured) => stream = Box::new(secured),
                // The client did not like the certificate.
                Err(_) => return,
            },
            Stall => {
                tokio::time::pause();
                let mut byte = Vec::new();
                let _ = BufReader::new(&mut stream).read_until(0, &mut byte).await;
            }
            Babble => while stream.write_all(&[b'x'; 4096]).await.is_ok() {},
        }
    }
    let _ = stream.shutdown().await;
}

struct Setting {
    protocol: Protocol,
    name: &'static str,
    proxy: Option<Version>,
    relay_check: bool,
}

const SUBMISSION: Setting = Setting {
    protocol: Protocol::Submission,
    name: "mail.example.org",
    proxy: None,
    relay_check: false,
};

async fn checked(setting: Setting, opposite: Opposite, scripts: Vec<Vec<Do>>) -> ListenerCheck {
    let authority = Authority::new().unwrap();
    let ca_file = NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), authority.pem()).unwrap();
    let acceptor = authority.acceptor(&["mail.example.org"]).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = ListenerPlan {
        name: "port".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: server.local_addr().unwrap().port(),
        protocol: setting.protocol,
        proxy: setting.proxy.map(|version| ProxyProtocol {
            version,
            source: Some("192.0.2.1:4242".parse().unwrap()),
        }),
        tls_server_name: setting.name.to_owned(),
        ca_file: Some(ca_file.path().to_owned()),
        relay_check: setting.relay_check,
        opposite_check: false,
    };
    if scripts.is_empty() {
        drop(server);
        return check_one(&plan, opposite).await;
    }
    let serving = tokio::spawn(async move {
        for script in scripts {
            let (tcp, _) = server.accept().await.unwrap();
            follow(Box::new(tcp), script, acceptor.clone()).await;
        }
    });
    let check = check_one(&plan, opposite).await;
    // What a script did not hear as expected is a panic there.
    serving.await.unwrap();
    check
}

async fn once(setting: Setting, parts: &[&[Do]]) -> ListenerCheck {
    checked(setting, Opposite::AsConfigured, vec![script(parts)]).await
}

#[track_caller]
fn assert_fault(check: &ListenerCheck, fault: Fault, words: &str) {
    assert_eq!(check.fault, Some(fault), "{check:#?}");
    let error = check.error.as_deref().unwrap_or_default();
    assert!(error.contains(words), "{error}");
    assert!(!check.ok && check.hint.is_some(), "{check:#?}");
}

#[tokio::test]
async fn a_port_that_does_all_right_is_ok_with_each_step_timed() {
    let check = once(SUBMISSION, &[&OPEN, &SECURE, &BYE]).await;
    assert!(check.ok, "{check:#?}");
    let steps: Vec<Step> = check.stages.iter().map(|time| time.name).collect();
    assert_eq!(
        steps,
        [
            Step::Connect,
            Step::Greeting,
            Step::Capabilities,
            Step::Starttls,
            Step::Tls,
            Step::Quit
        ]
    );
    let certificate = check.certificate.unwrap();
    assert_eq!(certificate.names, ["mail.example.org"]);
    assert!(
        certificate.valid && certificate.days_left > 0,
        "{certificate:?}"
    );
}

#[tokio::test]
async fn postscreens_teaser_is_waited_out() {
    let teaser = [Say("220-mail.example.org ESMTP\r\n")];
    let check = once(SUBMISSION, &[&teaser, &OPEN, &SECURE, &BYE]).await;
    assert!(check.ok, "{check:#?}");
    let denied = [Say("521 5.7.1 Blocked by a list\r\n")];
    let check = once(SUBMISSION, &[&teaser, &denied]).await;
    assert_fault(&check, Fault::TurnedAway, "521 5.7.1 Blocked by a list");
}

#[tokio::test]
async fn auth_before_tls_starttls_left_out_refused_or_injected_into_are_told_apart() {
    let greeted: &[Do] = &[Say("220 mail\r\n"), Hear("EHLO")];
    let in_clear = once(SUBMISSION, &[greeted, &[EHLO_IN_TLS]]).await;
    assert_fault(&in_clear, Fault::AuthInClear, "AUTH before TLS");
    let stripped = once(SUBMISSION, &[greeted, &[Say("250 mail\r\n")]]).await;
    assert_fault(&stripped, Fault::NoStarttls, "does not offer STARTTLS");
    let refused = [Hear("STARTTLS"), Say("454 4.7.0 TLS not available\r\n")];
    let refused = once(SUBMISSION, &[&OPEN, &refused]).await;
    assert_fault(&refused, Fault::NoStarttls, "454 4.7.0 TLS not available");
    let injected = [
        Hear("STARTTLS"),
        Say("220 2.0.0 Ready\r\n250 AUTH PLAIN\r\n"),
    ];
    let injected = once(SUBMISSION, &[&OPEN, &injected]).await;
    assert_fault(&injected, Fault::Injection, "clear text behind its answer");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_named_and_its_end_recorded() {
    let setting = Setting {
        name: "imap.example.org",
        ..SUBMISSION
    };
    let check = once(setting, &[&OPEN, &SECURE]).await;
    assert_fault(
        &check,
        Fault::Certificate,
        "is for mail.example.org, not for `imap.example.org`",
    );
    let certificate = check.certificate.unwrap();
    assert!(
        !certificate.valid && certificate.days_left > 0,
        "{certificate:?}"
    );
}

#[tokio::test]
async fn relaying_is_tried_up_to_the_recipient_and_never_further() {
    let strict = || Setting {
        protocol: Protocol::Smtp,
        relay_check: true,
        ..SUBMISSION
    };
    let rcpt = [
        Hear("MAIL FROM:<>"),
        Say("250 2.1.0 Ok\r\n"),
        Hear("RCPT TO:<mailprobe-relay-check@example.com>"),
    ];
    let refused = [Say("554 5.7.1 Relay access denied\r\n")];
    let check = once(strict(), &[&OPEN, &SECURE, &rcpt, &refused, &BYE]).await;
    assert!(check.ok, "{check:#?}");
    let taken = [Say("250 2.1.5 Ok\r\n")];
    let check = once(strict(), &[&OPEN, &SECURE, &rcpt, &taken]).await;
    assert_fault(&check, Fault::OpenRelay, "`250 2.1.5 Ok`");
}

#[tokio::test]
async fn submission_without_a_way_to_log_in_is_no_submission() {
    let secure = [
        Hear("STARTTLS"),
        Say("220 go\r\n"),
        Tls,
        Hear("EHLO"),
        Say("250 mail\r\n"),
    ];
    let check = once(SUBMISSION, &[&OPEN, &secure]).await;
    assert_fault(&check, Fault::NoAuth, "no way to log in");
    let mx = Setting {
        protocol: Protocol::Smtp,
        ..SUBMISSION
    };
    assert!(once(mx, &[&OPEN, &secure, &BYE]).await.ok);
}

#[tokio::test]
async fn a_server_that_babbles_or_cuts_off_is_no_mail_server() {
    let babbling = once(SUBMISSION, &[&[Babble]]).await;
    assert_fault(&babbling, Fault::Broken, "longer than 8192 bytes");
    let cut = once(SUBMISSION, &[]).await;
    assert_fault(&cut, Fault::Broken, "without a greeting");
    let cut_later = once(SUBMISSION, &[&[Say("220 mail\r\n"), Hear("EHLO")]]).await;
    assert_fault(&cut_later, Fault::Broken, "does not answer EHLO");
    let other = once(SUBMISSION, &[&[Say("SSH-2.0-OpenSSH_9.2\r\n")]]).await;
    assert_fault(
        &other,
        Fault::Broken,
        "`SSH-2.0-OpenSSH_9.2`, which is not submission",
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_on() {
    let silent = once(SUBMISSION, &[&[Stall]]).await;
    assert_fault(&silent, Fault::Silent, "says nothing for 15 s");
}

#[tokio::test]
async fn nothing_listening_is_unreachable() {
    let check = checked(SUBMISSION, Opposite::All, Vec::new()).await;
    assert_fault(&check, Fault::Unreachable, "refused");
}

#[tokio::test]
async fn imap_and_pop3_inside_tls_are_spoken() {
    let imaps = Setting {
        protocol: Protocol::Imaps,
        ..SUBMISSION
    };
    let dialogue = [
        Tls,
        Say("* OK Dovecot ready.\r\n"),
        Hear("m1 CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nm1 OK done\r\n"),
        Hear("m1 LOGOUT"),
        Say("* BYE\r\nm1 OK\r\n"),
    ];
    let check = once(imaps, &[&dialogue]).await;
    assert!(check.ok, "{check:#?}");
    let pop3s = Setting {
        protocol: Protocol::Pop3s,
        ..SUBMISSION
    };
    let dialogue = [
        Tls,
        Say("+OK Dovecot ready.\r\n"),
        Hear("CAPA"),
        Say("+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n"),
        Hear("QUIT"),
        Say("+OK Logging out.\r\n"),
    ];
    let check = once(pop3s, &[&dialogue]).await;
    assert!(check.ok, "{check:#?}");
}

#[tokio::test]
async fn a_stock_port_that_believes_a_header_is_found_out_and_one_that_does_not_is_not() {
    let good = script(&[&OPEN, &SECURE, &BYE]);
    let believing = script(&[&[Hear("PROXY TCP4 192.0.2.1 127.0.0.1 4242 ")], &OPEN]);
    let check = checked(SUBMISSION, Opposite::All, vec![good.clone(), believing]).await;
    assert_fault(
        &check,
        Fault::HeaderBelieved,
        "takes a PROXY header from anybody",
    );
    let stock = script(&[&[
        Say("220 mail\r\n"),
        Hear("PROXY TCP4"),
        Say("500 5.5.2 Error: command not recognized\r\n"),
        Hear("EHLO"),
    ]]);
    let check = checked(SUBMISSION, Opposite::All, vec![good, stock]).await;
    assert!(check.ok, "{check:#?}");
    assert!(check.stages.iter().any(|time| time.name == Step::Opposite));
}

#[tokio::test]
async fn a_port_behind_a_header_is_spoken_to_with_it_and_must_refuse_to_do_without() {
    let behind = || Setting {
        proxy: Some(Version::V1),
        ..SUBMISSION
    };
    let header = [Hear("PROXY TCP4 192.0.2.1 127.0.0.1 4242 ")];
    let greeted: &[Do] = &[Say("220 mail\r\n"), Hear("EHLO [192.0.2.1]"), EHLO];
    let good = script(&[&header, greeted, &SECURE, &BYE]);
    let lax = script(&[&[Hear("EHLO"), Say("220 mail\r\n")]]);
    let check = checked(behind(), Opposite::All, vec![good.clone(), lax]).await;
    assert_fault(
        &check,
        Fault::HeaderNotDemanded,
        "sends no PROXY header: `220 mail`",
    );
    let strict = script(&[&[Hear("EHLO"), Say("421 4.3.0 mail Server local error\r\n")]]);
    let check = checked(behind(), Opposite::All, vec![good, strict]).await;
    assert!(check.ok, "{check:#?}");
    let refusing = script(&[&header, &[Say("421 4.3.2 No system resources\r\n")]]);
    let check = checked(behind(), Opposite::AsConfigured, vec![refusing]).await;
    assert_fault(&check, Fault::HeaderRefused, "Postfix postscreen");
    let stock = script(&[&[
        Say("220 mail\r\n"),
        Hear("PROXY"),
        Say("500 5.5.2 Error: command not recognized\r\n"),
        Hear("EHLO"),
    ]]);
    let check = checked(behind(), Opposite::AsConfigured, vec![stock]).await;
    assert_fault(
        &check,
        Fault::HeaderNotExpected,
        "reads it as commands: `500 5.5.2",
    );
}

#[tokio::test]
async fn dovecots_silence_is_explained_by_asking_the_other_way() {
    let imaps = |proxy| Setting {
        protocol: Protocol::Imaps,
        proxy,
        ..SUBMISSION
    };
    let without = script(&[&[Tls, Say("* OK Dovecot ready.\r\n")]]);
    let check = checked(
        imaps(Some(Version::V2)),
        Opposite::All,
        vec![Vec::new(), without],
    )
    .await;
    assert_fault(
        &check,
        Fault::HeaderNotExpected,
        "without it the port says `* OK Dovecot ready.`",
    );
    let check = checked(
        imaps(Some(Version::V2)),
        Opposite::AsConfigured,
        vec![Vec::new()],
    )
    .await;
    assert_fault(&check, Fault::HeaderRefused, "which is how Dovecot says so");
}
