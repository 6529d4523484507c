//! Every message of the corpus against the reading beside it, and the rules of trust and time one by one.

use super::*;
use crate::probe::path::Pattern;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How many messages and Received fields the corpus has at least, and how many messages real servers wrote.
const MESSAGES: usize = 120;
const RECEIVED_FIELDS: usize = 200;
const RECORDED: usize = 30;

/// The reading of a message, as its `.json` has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default)]
    path: Patterns,
    arrival: Value,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Patterns {
    mx: Vec<String>,
    backup_mx: Vec<String>,
    border: Vec<String>,
    authserv_ids: Vec<String>,
}

impl Patterns {
    fn plan(&self) -> PathPlan {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        PathPlan {
            mx: patterns(&self.mx),
            backup_mx: patterns(&self.backup_mx),
            border: patterns(&self.border),
            authserv_ids: patterns(&self.authserv_ids),
        }
    }
}

fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|kind| kind.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|kind| std::fs::read_dir(kind).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|one| one == "eml"))
        .collect();
    found.sort();
    found
}

fn told(raw: &[u8], path: &PathPlan) -> Value {
    let read = read(raw, path, None);
    let codes: Vec<_> = read.warnings.iter().map(|one| one.code).collect();
    json!({
        "date": read.date.map(rfc3339),
        "hops": read.hops,
        "authentication": read.authentication,
        "spam": read.spam,
        "signatures": read.signatures,
        "warnings": codes,
    })
}

#[test]
fn every_message_is_read_as_its_json_says_with_either_line_end() {
    let (mut recorded, mut received) = (0, 0);
    let mut wrong = Vec::new();
    let corpus = corpus();
    for file in &corpus {
        let raw = std::fs::read(file).unwrap();
        let fields = header::fields(&raw);
        received += fields.iter().filter(|field| field.is("Received")).count();
        let json: Value =
            serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        // Messages of other kinds say whose they are, and are read elsewhere.
        if json.get("recognition").is_some() {
            continue;
        }
        recorded += usize::from(file.parent().unwrap().ends_with("recorded"));
        let expected: Expected = serde_json::from_value(json).unwrap();
        let plan = expected.path.plan();
        let lf: Vec<u8> = raw.iter().copied().filter(|byte| *byte != b'\r').collect();
        let crlf = String::from_utf8_lossy(&lf).replace('\n', "\r\n");
        let crlf = if lf.is_ascii() {
            crlf.into_bytes()
        } else {
            raw.clone()
        };
        for variant in [&raw, &lf, &crlf] {
            let read = told(variant, &plan);
            if read != expected.arrival {
                wrong.push(format!(
                    "{}\n  read     {read}\n  expected {}",
                    file.display(),
                    expected.arrival
                ));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(corpus.len() >= MESSAGES, "only {} messages", corpus.len());
    assert!(
        received >= RECEIVED_FIELDS,
        "only {received} Received fields"
    );
    assert!(recorded >= RECORDED, "only {recorded} recorded messages");
}

/// A message that this address handed to our border at 22:40:00.
fn taken_from(address: &str) -> (String, PathPlan) {
    let path = PathPlan {
        border: vec![Pattern::new("mail.example.org")],
        ..PathPlan::default()
    };
    let field = format!(
        "Received: from mx1.example.net (mx1.example.net [{address}])\n\tby mail.example.org (Postfix) with ESMTPS id 1;\n\tMon, 23 Nov 2026 22:40:00 +0000\n\n"
    );
    (field, path)
}

#[test]
fn carrier_grade_nat_is_private_from_its_first_address_to_its_last() {
    for (address, is_private) in [
        ("100.63.255.255", false),
        ("100.64.0.0", true),
        ("100.127.0.1", true),
        ("100.127.255.255", true),
        ("100.128.0.0", false),
    ] {
        let (raw, path) = taken_from(address);
        let codes: Vec<_> = read(raw.as_bytes(), &path, None)
            .warnings
            .into_iter()
            .map(|one| one.code)
            .collect();
        let expected = is_private.then_some(CauseCode::ProxyHeaderLost);
        assert_eq!(codes, Vec::from_iter(expected), "{address}");
    }
}

#[test]
fn a_border_that_took_a_message_before_it_was_sent_has_another_clock() {
    let (raw, path) = taken_from("198.51.100.9");
    let warnings = |sent_at: &str| {
        let sent_at = sent_at.parse().unwrap();
        read(raw.as_bytes(), &path, Some(sent_at)).warnings
    };
    // Stamps have no parts of seconds, and two of them are rounding.
    assert_eq!(warnings("2026-11-23T22:40:02Z"), []);
    let told = warnings("2026-11-23T22:40:30Z");
    let [one] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(one.code, CauseCode::ClockSkew);
    assert!(
        one.summary.contains("`mail.example.org`")
            && one.summary.contains("30 s before it was sent")
    );
    assert_eq!(
        one.evidence,
        ["sent 2026-11-23T22:40:30.000Z, taken by `mail.example.org` 2026-11-23T22:40:00.000Z"]
    );
    // Without a border nothing says whose clock it is.
    let nowhere = PathPlan::default();
    let sent_at = "2026-11-23T22:40:30Z".parse().unwrap();
    assert_eq!(read(raw.as_bytes(), &nowhere, Some(sent_at)).warnings, []);
}

#[test]
fn what_is_kept_of_hostile_fields_is_bounded() {
    let (border, mut path) = taken_from("198.51.100.9");
    path.authserv_ids.push(Pattern::new("*"));
    let long = "x".repeat(10_000);
    let forged = format!("Authentication-Results: {long}; spf=pass\n").repeat(20);
    let signed = format!("DKIM-Signature: d={long}; s={long}\n");
    let hop = "Received: by elsewhere.example.net; Mon, 23 Nov 2026 22:39:00 +0000\n";
    let raw = format!("{}\n{hop}{forged}{signed}\n", border.trim_end());
    let read = read(raw.as_bytes(), &path, None);
    assert_eq!(read.claims.len(), 20);
    assert_eq!(read.claims[0].statement.authserv_id.len(), 255);
    assert_eq!(
        read.signatures[0].domain.as_ref().unwrap().len(),
        LONGEST_TAG
    );
    assert_eq!(
        read.signatures[0].selector.as_ref().unwrap().len(),
        LONGEST_TAG
    );
    assert_eq!(
        read.warnings[0].code,
        CauseCode::AuthenticationResultsForged
    );
    assert_eq!(read.warnings[0].evidence.len(), MOST_EVIDENCE);
}
