//! `mailprobe find`: where one message is, in text and JSON, with the exit codes it promises.

use crate::world::{Stage, run};
use mailprobe::demo::Fault;
use serde_json::Value;

/// A run against this world; its token.
fn sent(stage: &Stage, more: &[&str]) -> String {
    let config = stage.config();
    let mut arguments = vec!["run", "--output", "json", "--no-push", "--config"];
    arguments.push(config.to_str().unwrap());
    arguments.extend(more);
    run(&arguments).report()["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_that_was_kept_is_found_where_it_should_be() {
    let stage = Stage::new(None);
    let token = sent(&stage, &["--keep"]);
    let config = stage.config();
    let config = config.to_str().unwrap();
    let ran = run(&["find", "--config", config, &token]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for said in [
        format!("{token} of probe `demo` to `smoke-test@example.org`, sent at "),
        "  folder `INBOX`: UID 1, stored at ".to_owned(),
        "the message itself\n".to_owned(),
        "  folder `Junk`: nothing\n".to_owned(),
        "  provider: accepted at ".to_owned(),
        "  provider: delivered at ".to_owned(),
        "queued as ".to_owned(),
        "\nthe message is in `INBOX`, stored at ".to_owned(),
    ] {
        assert!(ran.stdout.contains(&said), "{said:?} in {}", ran.stdout);
    }
    // The whole Subject, as a mail program shows it, will do as well.
    let subject = format!("[E2E Monitor] {token}");
    let ran = run(&["find", "--output", "json", "--config", config, &subject]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["token"], token.as_str());
    assert_eq!(found["in_order"], true);
    assert_eq!(found["places"][0]["folder"], "INBOX");
    assert_eq!(found["places"][0]["kind"], "expected");
    assert_eq!(found["places"][0]["quotes"], Value::Null);
    let events = found["events"].as_array().unwrap();
    assert!(
        events.iter().any(|one| one["event"] == "delivered"),
        "{found:#}"
    );
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn a_message_that_is_not_where_it_should_be_is_a_finding() {
    for (fault, more, words) in [
        (
            Fault::Junked,
            vec!["--keep"],
            "the message is in `Junk`, stored at ",
        ),
        (
            Fault::SieveDiscard,
            vec![],
            "is not in `INBOX`, `Junk`; the provider says delivered at ",
        ),
        (
            Fault::DiskFull,
            vec![],
            "off: 452 4.3.1 Insufficient system storage",
        ),
    ] {
        let stage = Stage::new(Some(fault));
        let token = sent(&stage, &more);
        let config = stage.config();
        let ran = run(&["find", "--config", config.to_str().unwrap(), &token]);
        assert_eq!(ran.code, Some(1), "{fault:?}: {ran:#?}");
        assert!(ran.stdout.contains(words), "{words:?} in {}", ran.stdout);
        assert!(ran.stdout.contains("\nhint: "), "{}", ran.stdout);
    }
}

#[test]
fn what_is_no_token_of_ours_is_wrong_usage() {
    let stage = Stage::new(None);
    let config = stage.config();
    let config = config.to_str().unwrap();
    let foreign = "e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4";
    for (token, said) in [
        (
            foreign,
            format!("error: `{foreign}` is no token of a probe in {config}\n"),
        ),
        (
            "nonsense",
            "has no token in it; a whole token looks like e2e-probe-".to_owned(),
        ),
        // Its end was not copied.
        (
            &foreign[..40],
            "has no token in it; a whole token looks like e2e-probe-".to_owned(),
        ),
    ] {
        let ran = run(&["find", "--config", config, token]);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(&said), "{said} in {}", ran.stderr);
    }
    assert!(stage.world().brevo().state().requests.is_empty());
}

#[test]
fn a_mailbox_that_lets_nobody_in_is_a_finding_with_its_own_words() {
    let stage = Stage::new(None);
    let token = sent(&stage, &["--keep"]);
    std::fs::write(stage.directory().join("imap-password"), "rotated").unwrap();
    let config = stage.config();
    let ran = run(&["find", "--config", config.to_str().unwrap(), &token]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.stdout
            .contains("the mailbox cannot be searched: cannot log in"),
        "{}",
        ran.stdout
    );
}
