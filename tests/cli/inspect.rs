//! `mailprobe inspect`: what people see of one message, and the exit code.

use mailprobe::probe::token::{Identity, TokenKey};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/messages")
        .join(name)
}

/// Runs it where no config is found, unless one is named, and no secret is at hand.
fn inspect(arguments: &[&str], stdin: &[u8]) -> Output {
    inspect_with_secrets(arguments, stdin, &[])
}

fn inspect_with_secrets(arguments: &[&str], stdin: &[u8], secrets: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailprobe"))
        .arg("inspect")
        .args(arguments)
        .env_clear()
        .envs(secrets.iter().copied())
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn config(path: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let good = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/smallest.toml"),
    )
    .unwrap();
    write!(file, "{good}\n[path]\n{path}\n").unwrap();
    file
}

#[test]
fn a_message_without_a_config_is_explained_and_a_failure_that_it_claims_is_a_finding() {
    let file = fixture("recorded/rspamd-dmarc-reject.eml");
    let output = inspect(&[file.to_str().unwrap()], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "hops, oldest first",
        "relay.example.net (mx1.example.net [198.51.100.9]) -> mail.example.org ESMTP id ",
        "as the message claims",
        "  spf    fail ",
        "action: add header",
        "     3.50  VIOLATED_DIRECT_SPF",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn with_a_config_hops_have_roles_and_a_failed_check_is_a_finding() {
    let config = config("border = [\"mail.example.org\"]\nauthserv_ids = [\"mail.example.org\"]");
    let file = fixture("recorded/rspamd-spf-fail.eml");
    let config = config.path().to_str().unwrap();
    let output = inspect(&["--config", config, file.to_str().unwrap()], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "  border     ",
        "  inside     ",
        "as mail.example.org saw it",
        "  spf    fail ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn json_is_one_object_and_stdin_is_a_file_too() {
    let raw = std::fs::read(fixture("paths/proxy-header-lost-ten.eml")).unwrap();
    let config = config("border = [\"mail.example.org\"]");
    let config = config.path().to_str().unwrap();
    let output = inspect(&["--config", config, "--output", "json", "-"], &raw);
    assert_eq!(output.status.code(), Some(1));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["hops"][0]["role"], "border");
    assert_eq!(read["hops"][0]["from"]["address"], "10.1.2.3");
    assert_eq!(read["warnings"][0]["code"], "proxy_header_lost");
    assert_eq!(read["token"], serde_json::Value::Null);
}

/// A message of the probe of `smallest.toml`, its token signed with a key derived from this API key.
fn message_signed_with(api_key: &str) -> String {
    let identity = Identity {
        probe: "external".to_owned(),
        to: "smoke-test@example.org".to_owned(),
        key: TokenKey::derived_from(api_key),
        previous_keys: Vec::new(),
    };
    let sent_at = "2026-11-23T22:40:08Z".parse().unwrap();
    let token = identity.mint(sent_at, Duration::from_secs(900), false, [1, 2, 3, 4]);
    format!(
        "From: monitoring@example.org\nSubject: [E2E Monitor] {token}\nX-Mailprobe-Token: {token}\n\n"
    )
}

#[test]
fn a_token_is_verified_where_the_keys_are_at_hand_and_one_of_another_key_is_a_finding() {
    let config = config("");
    let config = config.path().to_str().unwrap();
    let secrets = [
        ("BREVO_API_KEY", "xkeysib-one"),
        ("EMAIL_MONITOR_IMAP_PASSWORD", "hunter2"),
    ];
    for (signed_with, secrets, code, expected, verified) in [
        (
            "xkeysib-one",
            &secrets[..],
            0,
            " of probe `external`, sent 2026-11-23T22:40:08.000Z, verified",
            serde_json::json!(true),
        ),
        (
            "xkeysib-two",
            &secrets[..],
            1,
            ", which does not verify: another key, another recipient, or forged",
            serde_json::json!(false),
        ),
        (
            "xkeysib-one",
            &[],
            0,
            ", not verified: the keys are not at hand",
            serde_json::Value::Null,
        ),
    ] {
        let message = message_signed_with(signed_with);
        let output = inspect_with_secrets(&["--config", config, "-"], message.as_bytes(), secrets);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(
            text.contains("token: e2e-probe-") && text.contains(expected),
            "{text}"
        );
        let arguments = ["--config", config, "--output", "json", "-"];
        let output = inspect_with_secrets(&arguments, message.as_bytes(), secrets);
        let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read["token"]["verified"], verified, "{read}");
    }
}

#[test]
fn what_is_no_message_or_no_file_is_wrong_usage() {
    for (arguments, stdin, error) in [
        (vec!["-"], "not a message\n", "error: stdin is no message"),
        (
            vec!["-"],
            "",
            "error: stdin is empty\nhint: save the message with its header",
        ),
        (
            vec!["/nowhere.eml"],
            "",
            "cannot read `/nowhere.eml`: No such file",
        ),
        (
            vec!["--config", "/nowhere.toml", "-"],
            "From: a@b\n\n",
            "/nowhere.toml",
        ),
    ] {
        let output = inspect(&arguments, stdin.as_bytes());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.starts_with("error: ") && told.contains(error),
            "{told}"
        );
        assert!(output.stdout.is_empty());
    }
}

/// The exit code for a message with these fields and its Authentication-Results, with this `[path]` or no config at all.
fn code_of(results: &str, path: Option<&str>) -> Option<i32> {
    let raw = format!("Authentication-Results: {results}\r\nFrom: a@example.net\r\n\r\n");
    let config = path.map(config);
    let mut arguments = vec!["-"];
    if let Some(config) = &config {
        arguments.extend(["--config", config.path().to_str().unwrap()]);
    }
    inspect(&arguments, raw.as_bytes()).status.code()
}

#[test]
fn what_a_message_claims_is_a_finding_only_where_nothing_says_whom_to_believe() {
    for (results, code) in [
        ("mx.example.org; spf=fail smtp.mailfrom=example.net", 1),
        ("mx.example.org; spf=softfail smtp.mailfrom=example.net", 1),
        ("mx.example.org; dkim=permerror header.d=example.net", 1),
        ("mx.example.org; dmarc=fail header.from=example.net", 1),
        (
            "mx.example.org; spf=pass; dkim=pass header.d=example.net; dmarc=pass",
            0,
        ),
        ("mx.example.org; spf=none; dkim=none; dmarc=none", 0),
        // One good signature is enough.
        (
            "mx.example.org; dkim=fail header.d=example.com; dkim=pass header.d=example.net",
            0,
        ),
    ] {
        assert_eq!(code_of(results, None), Some(code), "{results}");
        assert_eq!(code_of(results, Some("")), Some(code), "{results}");
        let ours = "mx = [\"mail.example.org\"]\nauthserv_ids = [\"mail.example.org\"]";
        let raw = format!(
            "Received: from a (b [192.0.2.1]) by mail.example.org; Mon, 23 Nov 2026 22:40:08 +0000\r\nAuthentication-Results: {results}\r\nFrom: a@example.net\r\n\r\n"
        );
        let config = config(ours);
        let arguments = ["--config", config.path().to_str().unwrap(), "-"];
        let output = inspect(&arguments, raw.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{results}: {output:?}");
    }
}

#[test]
fn a_header_that_is_not_read_whole_is_said_so_and_a_finding() {
    let top = "From: a@example.net\r\nReceived: from a (b [192.0.2.1]) by c; Mon, 23 Nov 2026 22:40:08 +0000\r\n";
    let long = format!(
        "{top}{}\r\nbody\r\n",
        "X-Filler: yes, a lot of it\r\n".repeat(1999)
    );
    let output = inspect(&["-"], long.as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("\nwarning: the header is longer than the 256 KiB or 2000 fields that are read; what stands below is not in this\n"),
        "{text}"
    );
    for (raw, cut) in [(long, true), (format!("{top}\r\n"), false)] {
        let output = inspect(&["--output", "json", "-"], raw.as_bytes());
        let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read["header_is_cut"], cut);
        assert_eq!(output.status.code(), Some(i32::from(cut)));
    }
}

#[test]
fn what_a_stranger_wrote_does_not_steer_the_terminal() {
    // An escape, the same in one character (C1), a delete, an override of direction.
    let raw = "Received: from \u{1b}[31mred\u{9b}32m\u{7f}\u{202e} (a [192.0.2.1]) by x; 1 Jan 2026 00:00:00 +0000\nDKIM-Signature: d=\u{2066}x\u{200f}; s=\u{85}\nFrom: a@b\n\n";
    for format in ["text", "json"] {
        let output = inspect(&["--output", format, "-"], raw.as_bytes());
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        let acts =
            |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200f}".contains(c));
        assert!(!text.contains(acts), "{text:?}");
        for written in ["\\u001b[31mred\\u009b32m\\u007f\\u202e", "\\u2066x\\u200f"] {
            assert!(text.contains(written), "{written} in {text}");
        }
    }
}
