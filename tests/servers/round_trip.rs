//! The round trip through real servers: Postfix, Dovecot and Pushgateway.

use crate::common::Site;

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_run_is_delivered_and_reported_everywhere() {
    let site = Site::start();
    let outcome = site.run();
    let report = outcome.assert("delivered", None, 0);
    assert_eq!(outcome.warnings(), Vec::<String>::new(), "{outcome:#?}");
    assert_eq!(report["folder"], "INBOX");
    assert_eq!(
        report["token_found_in"],
        serde_json::json!(["header", "subject", "body"])
    );
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
    assert_eq!(
        site.gateway.of_probe("email_roundtrip_success", ""),
        Some("1".to_owned())
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn ten_runs_one_after_the_other_are_delivered_and_leave_nothing_behind() {
    let site = Site::start();
    for _ in 0..10 {
        let outcome = site.run();
        outcome.assert("delivered", None, 0);
        assert_eq!(outcome.warnings(), Vec::<String>::new(), "{outcome:#?}");
    }
    assert_eq!(site.dovecot.messages("INBOX"), Vec::<String>::new());
    assert_eq!(site.kuma.requests().len(), 10);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn starttls_is_as_good_as_tls_from_the_start() {
    let mut site = Site::start();
    let port = site.dovecot.imap_port;
    site.with(|settings| {
        settings.imap_port = Some(port);
        settings.imap_tls = "starttls".to_owned();
    });
    site.run().assert("delivered", None, 0);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn keep_leaves_the_message_where_it_is() {
    let site = Site::start();
    let outcome = site.see(&["run", "--keep", "--output", "json"]);
    let report = outcome.assert("delivered", None, 0);
    let left = site.dovecot.messages("INBOX");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0].contains(report["run"].as_str().unwrap()),
        "{left:?}"
    );
    // Nor does a later run take it.
    site.run().assert("delivered", None, 0);
    assert_eq!(site.dovecot.messages("INBOX"), left);
}
