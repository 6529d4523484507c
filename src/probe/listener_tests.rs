//! Openings as they were measured at Postfix 3.7 and Dovecot 2.3, and what they mean.

use super::*;

const SMTPD: &str = "421 4.3.0 mail.example.org Server local error";
const POSTSCREEN: &str = "421 4.3.2 No system resources";

type Row = (
    Opening<'static>,
    Option<&'static str>,
    Protocol,
    Fault,
    &'static str,
);

const MEASURED: [Row; 15] = [
    (
        Opening::Said(SMTPD),
        Some("v2"),
        Protocol::Submission,
        Fault::HeaderRefused,
        "Postfix smtpd",
    ),
    (
        Opening::Said(POSTSCREEN),
        Some("v2"),
        Protocol::Smtp,
        Fault::HeaderRefused,
        "Postfix postscreen",
    ),
    (
        Opening::Said(SMTPD),
        None,
        Protocol::Smtps,
        Fault::HeaderDemanded,
        "Postfix smtpd",
    ),
    (
        Opening::Said(POSTSCREEN),
        None,
        Protocol::Smtp,
        Fault::HeaderDemanded,
        "Postfix postscreen",
    ),
    (
        Opening::Said("421 4.3.2 All server ports are busy"),
        Some("v2"),
        Protocol::Smtp,
        Fault::TurnedAway,
        "All server ports",
    ),
    (
        Opening::Said("554 5.7.1 listed"),
        None,
        Protocol::Smtp,
        Fault::TurnedAway,
        "554 5.7.1 listed",
    ),
    (
        Opening::Reset,
        Some("v2"),
        Protocol::Imaps,
        Fault::HeaderRefused,
        "resets the connection without a word, which is how Dovecot",
    ),
    (
        Opening::Closed,
        Some("v1"),
        Protocol::Pop3s,
        Fault::HeaderRefused,
        "closes the connection without a word, which is how Dovecot",
    ),
    (
        Opening::Reset,
        None,
        Protocol::Imaps,
        Fault::Broken,
        "`haproxy = yes`",
    ),
    (
        Opening::Closed,
        None,
        Protocol::Smtp,
        Fault::Broken,
        "without a greeting",
    ),
    (
        Opening::Closed,
        Some("v2"),
        Protocol::Smtps,
        Fault::HeaderRefused,
        "after the PROXY header (v2)",
    ),
    (
        Opening::Tls,
        Some("v2"),
        Protocol::Smtps,
        Fault::HeaderNotExpected,
        "answers in TLS",
    ),
    (
        Opening::Tls,
        None,
        Protocol::Smtp,
        Fault::Broken,
        "not in smtp",
    ),
    (
        Opening::Silent(Duration::from_secs(15)),
        None,
        Protocol::Imap,
        Fault::Silent,
        "for 15 s",
    ),
    (
        Opening::Silent(Duration::from_secs(15)),
        Some("v2"),
        Protocol::Imap,
        Fault::Silent,
        "after the PROXY header",
    ),
];

#[test]
fn every_measured_opening_is_told_apart() {
    for (opening, header, protocol, fault, words) in MEASURED {
        let trouble = judge_opening(opening, header, protocol);
        assert_eq!(trouble.fault, fault, "{opening:?} {header:?} {protocol:?}");
        assert!(trouble.error.contains(words), "{trouble:?}");
        assert!(!trouble.hint.is_empty(), "{trouble:?}");
    }
}

fn a_check(error: Option<&str>) -> ListenerCheck {
    ListenerCheck {
        listener: "smtp-proxy".to_owned(),
        ok: error.is_none(),
        stages: vec![
            StepTime::new(Step::Connect, Duration::from_millis(2)),
            StepTime::new(Step::Greeting, Duration::from_millis(40)),
            StepTime::new(Step::Quit, Duration::from_secs(1)),
        ],
        certificate: None,
        error: error.map(str::to_owned),
        hint: None,
        endpoint: "smtp 10.0.20.1:2525 behind PROXY v2".to_owned(),
        fault: None,
    }
}

#[test]
fn the_handshake_ends_where_the_server_is_ready_and_is_unknown_where_it_never_was() {
    assert_eq!(a_check(None).handshake_seconds(), Some(0.042));
    assert_eq!(a_check(Some("says nothing")).handshake_seconds(), None);
}

#[test]
fn a_check_is_one_json_object_with_the_promised_keys() {
    let json = serde_json::to_value(a_check(Some("says nothing"))).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["certificate", "error", "hint", "listener", "ok", "stages"]
    );
    assert_eq!(json["stages"][1]["name"], "greeting");
    assert_eq!(
        a_check(Some("says nothing")).sentence(),
        "listener `smtp-proxy` (smtp 10.0.20.1:2525 behind PROXY v2): says nothing"
    );
}
