//! Real shapes of messages, each with the expected reading beside it (`fixtures/messages`), and what no message may do.

use super::*;
use crate::probe::token::{Identity, TokenKey};
use proptest::prelude::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The token that the fixtures carry where it says `TOKEN`, and a live one of another key where it says `FORGED`.
fn tokens() -> (Keyring, String, String) {
    let identity = |key: u8| Identity {
        probe: "external".to_owned(),
        to: "smoke-test@example.org".to_owned(),
        key: TokenKey::from_bytes(&[key; 16]),
        previous_keys: Vec::new(),
    };
    let mint = |key: u8| {
        let sent_at = chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        identity(key).mint(
            sent_at,
            std::time::Duration::from_secs(900),
            false,
            [1, 2, 3, 4],
        )
    };
    (Keyring::new(vec![identity(7)]), mint(7), mint(8))
}

/// How a fixture is to be read.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Expected {
    recognition: String,
    deletable: Option<bool>,
    reason: Option<String>,
    token_found_in: Vec<String>,
}

fn expected(path: &Path) -> Expected {
    let json = std::fs::read_to_string(path.with_extension("json")).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The messages that say whose they are; the others are about their way (`arrival_tests.rs`).
fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|kind| kind.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|kind| std::fs::read_dir(kind).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|one| one == "eml"))
        .filter(|path| {
            let json = std::fs::read_to_string(path.with_extension("json")).unwrap();
            json.contains("\"recognition\"")
        })
        .collect();
    found.sort();
    assert!(found.len() >= 15, "only {} fixtures", found.len());
    found
}

fn fill(raw: &[u8], token: &str, forged: &str) -> Vec<u8> {
    // Quoted-printable breaks a long token: the two halves are placeholders of their own.
    let (head, tail) = token.split_at(30);
    let mut out = raw.to_vec();
    for (placeholder, value) in [
        ("%TOKEN_UPPER%", token.to_ascii_uppercase().as_str()),
        ("%TOKEN_HEAD%", head),
        ("%TOKEN_TAIL%", tail),
        ("%TOKEN%", token),
        ("%FORGED%", forged),
    ] {
        let text = placeholder.as_bytes();
        while let Some(at) = out.windows(text.len()).position(|window| window == text) {
            out.splice(at..at + text.len(), value.bytes());
        }
    }
    out
}

fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in raw {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

fn read(raw: &[u8], keyring: &Keyring, token: &str) -> Expected {
    let token_found_in = token_places(raw, token)
        .into_iter()
        .map(|place| {
            serde_json::to_value(place)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let (recognition, deletable, reason) = match recognise(raw, keyring) {
        Recognition::Ours(ours) => {
            assert_eq!(ours.claims.token, token);
            ("ours", Some(ours.deletable), None)
        }
        Recognition::Quoted {
            token: quoted,
            reason,
        } => {
            assert_eq!(quoted, token);
            ("quoted", None, Some(reason.to_owned()))
        }
        Recognition::Foreign => ("foreign", None, None),
    };
    Expected {
        recognition: recognition.to_owned(),
        deletable,
        reason,
        token_found_in,
    }
}

#[test]
fn every_fixture_is_read_as_its_json_says_with_either_line_end() {
    let (keyring, token, forged) = tokens();
    for path in fixtures() {
        let expected = expected(&path);
        let raw = fill(&std::fs::read(&path).unwrap(), &token, &forged);
        assert_eq!(read(&raw, &keyring, &token), expected, "{}", path.display());
        assert_eq!(
            read(&with_crlf(&raw), &keyring, &token),
            expected,
            "{} with CRLF",
            path.display()
        );
    }
}

#[test]
fn no_prefix_of_a_fixture_panics_or_becomes_deletable_before_its_header_ends() {
    let (keyring, token, forged) = tokens();
    for path in fixtures() {
        let raw = fill(&std::fs::read(&path).unwrap(), &token, &forged);
        let whole = recognise(&raw, &keyring);
        // Of a large one every few: the reading of each begins at its start.
        for end in (0..raw.len()).filter(|end| *end < 8000 || end % 97 == 0) {
            let prefix = &raw[..end];
            let _ = token_places(prefix, &token);
            if let Recognition::Ours(_) = recognise(prefix, &keyring) {
                // Fields that disqualify may be cut off; a message that shows ours in full is never invented.
                assert_ne!(
                    whole,
                    Recognition::Foreign,
                    "{} up to {end}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn a_header_of_100_kilobytes_is_read() {
    let (keyring, token, _) = tokens();
    let mut raw = String::new();
    for number in 0..1500 {
        raw.push_str(&format!("ARC-Seal: i={number}; {}\r\n", "x".repeat(60)));
    }
    raw.push_str(&format!(
        "{TOKEN_FIELD}: {token}\r\nSubject: {SUBJECT_PREFIX}{token}\r\n\r\n"
    ));
    assert!(matches!(
        recognise(raw.as_bytes(), &keyring),
        Recognition::Ours(Ours {
            deletable: true,
            ..
        })
    ));
}

/// Lines that make up mail, with tokens among them.
fn mail_like() -> impl Strategy<Value = Vec<u8>> {
    let (_, token, forged) = tokens();
    let line = prop_oneof![
        Just(format!("{TOKEN_FIELD}: {token}")),
        Just(format!("{TOKEN_FIELD}: {forged}")),
        Just(format!("Subject: {SUBJECT_PREFIX}{token}")),
        Just(format!("Subject: Re: {SUBJECT_PREFIX}{token}")),
        Just("Subject: =?utf-8?Q?[E2E_Monitor]?=".to_owned()),
        Just(format!(" {token}")),
        Just("In-Reply-To: <a@b>".to_owned()),
        Just("Content-Type: multipart/mixed; boundary=b".to_owned()),
        Just("--b".to_owned()),
        Just(String::new()),
        "[ -~]{0,30}",
        "[A-Za-z-]{1,12}: [ -~é]{0,40}",
    ];
    (
        prop::collection::vec(line, 0..20),
        prop::sample::select(vec!["\r\n", "\n", "\r"]),
    )
        .prop_map(|(lines, end)| lines.join(end).into_bytes())
}

/// Found by the fuzzer: fields that nobody asks for are not to be parsed, since that may overflow.
#[test]
fn an_absurd_zone_in_received_does_not_keep_a_message_from_being_ours() {
    let (keyring, token, _) = tokens();
    let raw = format!(
        "Received: by a; 23 Nov 2026 22:40:01 -9223372036854775808\nSubject: {SUBJECT_PREFIX}{token}\n{TOKEN_FIELD}: {token}\n\n"
    );
    assert!(matches!(
        recognise(raw.as_bytes(), &keyring),
        Recognition::Ours(Ours {
            deletable: true,
            ..
        })
    ));
}

proptest! {
    #[test]
    fn mail_like_text_never_panics_and_only_both_marks_are_deletable(raw in mail_like()) {
        let (keyring, token, _) = tokens();
        let _ = token_places(&raw, &token);
        if let Recognition::Ours(Ours { deletable: true, .. }) = recognise(&raw, &keyring) {
            let text = String::from_utf8_lossy(&raw);
            prop_assert!(text.matches(&token).count() >= 2);
            prop_assert!(!text.contains("In-Reply-To: <a@b>\r\n\r\n"));
        }
    }

    #[test]
    fn bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..400)) {
        let (keyring, token, _) = tokens();
        prop_assert_eq!(recognise(&raw, &keyring), Recognition::Foreign);
        let _ = token_places(&raw, &token);
    }
}
