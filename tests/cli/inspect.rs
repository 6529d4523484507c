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
fn a_message_without_a_config_is_explained_and_its_results_are_claims() {
    let file = fixture("recorded/rspamd-dmarc-reject.eml");
    let output = inspect(&[file.to_str().unwrap()], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
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
        (vec!["-"], "not a message\n", "is no message"),
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

#[test]
fn what_a_stranger_wrote_does_not_steer_the_terminal() {
    let raw = b"Received: from \x1b[31mred (a [192.0.2.1]) by x; 1 Jan 2026 00:00:00 +0000\nFrom: a@b\n\n";
    let output = inspect(&["-"], raw);
    assert_eq!(output.status.code(), Some(0));
    assert!(!output.stdout.contains(&0x1b));
}
