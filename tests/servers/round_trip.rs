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
