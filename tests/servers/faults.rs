//! Each fault, played on the real servers: verdict, cause and exit code, the sentence that a person reads, what the
//! sinks hear, and that no secret shows anywhere.

use crate::common::dovecot::USER;
use crate::common::tap::Tap;
use crate::common::{KUMA_TOKEN, Outcome, SECRETS, Settings, Site, closed_port};
use mailprobe::demo::brevo::{Behaviour, error};
use mailprobe::demo::http::Response;
use std::net::TcpListener;
use std::time::Duration;

/// A site whose gateway is listened in on.
struct Stage {
    site: Site,
    tap: Tap,
    /// What in a text stands for something that differs from run to run.
    names: Vec<(String, &'static str)>,
}

impl Stage {
    fn new() -> Self {
        let site = Site::start();
        let tap = Tap::before(site.gateway.port);
        Self {
            tap,
            names: Vec::new(),
            site,
        }
        .with(|_| ())
    }

    /// A port with a name in the texts.
    fn port(&mut self, port: u16, name: &'static str) -> u16 {
        self.names.push((format!("127.0.0.1:{port}"), name));
        port
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let tap = self.tap.port;
        self.site.with(|settings| {
            settings.gateway_port = Some(tap);
            change(settings);
        });
        self
    }

    /// Runs the probe as a person does, and compares all that is told of it.
    #[track_caller]
    fn shows(&self, code: i32, expected: &str) -> Outcome {
        let (outcome, told) = self.play(code);
        assert_eq!(told, expected, "{outcome:#?}");
        outcome
    }

    /// The same, where what follows the sentence and the cause is the business of other tests.
    #[track_caller]
    fn begins(&self, code: i32, expected: &str) -> Outcome {
        let (outcome, told) = self.play(code);
        let begin: Vec<_> = told.lines().take(expected.lines().count()).collect();
        assert_eq!(begin.join("\n"), expected, "{outcome:#?}");
        outcome
    }

    fn play(&self, code: i32) -> (Outcome, String) {
        let outcome = self.site.see(&["run", "--push", "--log-level", "trace"]);
        let told = self.without_particulars(&verdict_of(&outcome));
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        self.assert_that_no_secret_shows(&outcome);
        self.assert_that_sinks_heard(&outcome);
        (outcome, told)
    }

    fn without_particulars(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let site = &self.site;
        let usual = [
            (site.brevo_port, "BREVO"),
            (site.dovecot.imaps_port, "IMAP"),
            (self.tap.port, "GATEWAY"),
            (site.kuma_port, "KUMA"),
        ];
        for (port, name) in usual {
            text = text.replace(&format!("127.0.0.1:{port}"), name);
        }
        for (value, name) in &self.names {
            text = text.replace(value, name);
        }
        let lines: Vec<_> = text.lines().map(without_figures).collect();
        lines.join("\n")
    }

    /// Neither in what the program prints, at its most talkative, nor in what it sends to the sinks.
    fn assert_that_no_secret_shows(&self, outcome: &Outcome) {
        let settings = &self.site.settings;
        let texts = [
            ("stdout", &outcome.stdout),
            ("stderr", &outcome.stderr),
            ("gateway", &self.tap.sent()),
            ("gateway's metrics", &self.site.gateway.metrics()),
            // Its own token is the address that it is called at.
            ("kuma", &self.site.kuma_text().replace(KUMA_TOKEN, "")),
        ];
        for (place, text) in texts {
            for secret in SECRETS
                .iter()
                .copied()
                .chain([settings.password.as_str(), settings.api_key.as_str()])
            {
                assert!(!text.contains(secret), "{place} shows {secret}:\n{text}");
            }
        }
        // It is a log, not silence, that shows no secret.
        assert!(outcome.stderr.contains("TRACE"), "{outcome:#?}");
        if outcome.stdout.contains("logged in") || outcome.stdout.contains("cannot log in") {
            let log_in = format!("log in as {USER} by Plain with <secret>");
            assert!(outcome.stderr.contains(&log_in), "{outcome:#?}");
        }
    }

    /// Each sink that took the report was told the verdict that was printed.
    fn assert_that_sinks_heard(&self, outcome: &Outcome) {
        let block = verdict_of(outcome);
        let sentence = block.lines().next().unwrap();
        let sentence = sentence.strip_prefix("external: ").unwrap();
        let verdict: String = sentence
            .chars()
            .take_while(char::is_ascii_lowercase)
            .collect();
        let cause = block
            .lines()
            .find_map(|line| line.strip_prefix("  cause: "))
            .unwrap_or("none");
        if !outcome.stdout.contains("pushgateway http://") {
            panic!("the gateway was not tried: {outcome:#?}");
        }
        let took = |sink: &str| {
            outcome
                .stdout
                .lines()
                .any(|line| line.contains(sink) && line.ends_with(": ok"))
        };
        if took("pushgateway") {
            let gauge = |name, label: String| self.site.gateway.of_probe(name, &label);
            let one = Some("1".to_owned());
            assert_eq!(
                gauge("mailprobe_verdict", format!("verdict=\"{verdict}\"")),
                one
            );
            assert_eq!(gauge("mailprobe_cause", format!("cause=\"{cause}\"")), one);
            let success = if verdict == "delivered" { "1" } else { "0" };
            let told = gauge("email_roundtrip_success", String::new());
            assert_eq!(told.as_deref(), Some(success));
        }
        if took("uptime_kuma") {
            let requests = self.site.kuma.requests();
            let last = requests.last().unwrap();
            let status = if verdict == "delivered" { "up" } else { "down" };
            assert_eq!(last.query("status"), Some(status));
            let sentence = sentence.replace("undetermined: ", "BLIND: ");
            assert_eq!(last.query("msg"), Some(sentence.as_str()));
        }
    }
}

/// The last thing that a person reads, without the run's handles.
fn verdict_of(outcome: &Outcome) -> String {
    let lines: Vec<_> = outcome
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("external: "))
        .filter(|line| !line.starts_with("  run: "))
        .collect();
    lines.join("\n")
}

/// A line without its seconds, times and ids.
fn without_figures(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut kept = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_unit = |next: &&str| next.trim_end_matches([')', ',', ';', ':']) == "s";
        if word.parse::<f64>().is_ok() && words.get(index + 1).is_some_and(is_unit) {
            kept.push("N");
        } else if word.contains("@smtp-relay.mailin.fr>") {
            kept.push("ID");
        } else if word.starts_with("20") && word.ends_with('Z') {
            kept.push("TIME");
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// A port that takes connections, and never says a word.
fn mute() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Short enough for a test that waits for it.
fn soon(settings: &mut Settings) {
    settings.late_after = "2s".to_owned();
    settings.timeout = "4s".to_owned();
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn with_nothing_wrong_the_message_is_delivered() {
    Stage::new().shows(0, "external: delivered in N s (or up to N s sooner)");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_wrong_imap_password_is_named() {
    let stage =
        Stage::new().with(|settings| settings.password = "rotated-in-one-place-only".to_owned());
    let outcome = stage.shows(
        3,
        "external: undetermined: cannot log in to imap `IMAP` as `spam@example.org`: NO [AUTHENTICATIONFAILED] Authentication failed.
  cause: mailbox_login_refused
  hint: the password comes from variable `EMAIL_MONITOR_IMAP_PASSWORD`; was it changed on the server?",
    );
    // Repeated log-ins get an address banned.
    let refusals = stage
        .site
        .dovecot
        .log()
        .matches("auth failed, 1 attempts")
        .count();
    assert_eq!(refusals, 1, "{outcome:#?}");
    assert_eq!(stage.site.brevo.state().requests, [], "a message was spent");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_certificate_for_another_name_is_named() {
    let stage =
        Stage::new().with(|settings| settings.tls_server_name = "imap.example.org".to_owned());
    stage.shows(
        3,
        "external: undetermined: cannot secure the connection to imap `IMAP`: the certificate is for mail.example.org, not for `imap.example.org`
  cause: mailbox_tls_invalid
  evidence: names in the certificate: mail.example.org
  evidence: valid from 1975-01-01 00:00 UTC until 4096-01-01 00:00 UTC
  evidence: issuer: CN=mailprobe demo CA
  evidence: name expected: imap.example.org
  hint: set `tls_server_name` to the name that the certificate carries, or install a certificate for the name expected",
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_certificate_of_an_authority_that_nobody_trusts_is_named() {
    let mut stage = Stage::new();
    let own = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let dovecot = &mut stage.site.dovecot;
    dovecot.set_certificate(&own.cert.pem(), &own.signing_key.serialize_pem());
    dovecot.restart();
    stage.shows(3, "external: undetermined: cannot secure the connection to imap `IMAP`: the certificate is signed by an authority that is not trusted
  cause: mailbox_tls_invalid
  evidence: names in the certificate: mail.example.org
  evidence: valid from 1975-01-01 00:00 UTC until 4096-01-01 00:00 UTC
  evidence: issuer: CN=rcgen self signed cert
  evidence: name expected: mail.example.org
  hint: set `ca_file` to the CA that signed it, or have the server send its intermediate certificates");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_certificate_that_has_run_out_is_named() {
    let mut stage = Stage::new();
    let (authority, certificate, key) = run_out();
    std::fs::write(stage.site.path().join("old-ca.pem"), authority).unwrap();
    stage.site.dovecot.set_certificate(&certificate, &key);
    stage.site.dovecot.restart();
    let ca_file = stage.site.path().join("old-ca.pem");
    let stage = stage.with(|settings| settings.ca_file = Some(ca_file));
    stage.shows(3, "external: undetermined: cannot secure the connection to imap `IMAP`: the certificate expired on 2024-03-31 00:00 UTC
  cause: mailbox_tls_invalid
  evidence: names in the certificate: mail.example.org
  evidence: valid from 2024-01-01 00:00 UTC until 2024-03-31 00:00 UTC
  evidence: issuer: CN=rcgen self signed cert
  evidence: name expected: mail.example.org
  hint: renew the certificate, and reload the server");
}

/// An authority, and a certificate of its that was valid in 2024; PEM.
fn run_out() -> (String, String, String) {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(["mail.example.org".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2024, 3, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_server_that_is_down_is_named() {
    let mut stage = Stage::new().with(soon);
    stage.site.dovecot.stop();
    stage.shows(
        3,
        "external: undetermined: cannot connect to imap `IMAP`: Connection refused (os error 111)
  cause: mailbox_unreachable
  hint: is the IMAP server up, and reachable from here on that port? this says nothing about mail delivery",
    );
    assert_eq!(stage.site.brevo.state().requests, [], "a message was spent");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn an_imap_server_that_hangs_is_named() {
    let (_mute, port) = mute();
    let mut stage = Stage::new();
    stage.port(port, "HANGS");
    let stage = stage.with(|settings| {
        soon(settings);
        settings.imap_port = Some(port);
    });
    stage.shows(
        3,
        "external: undetermined: cannot secure the connection to imap `HANGS`: no answer within N s
  cause: mailbox_unreachable
  hint: is the IMAP server up, and reachable from here on that port? this says nothing about mail delivery",
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_folder_that_is_not_there_is_named() {
    let stage = Stage::new().with(|settings| settings.folders = "[\"Probes\"]".to_owned());
    stage.shows(
        3,
        "external: undetermined: cannot open folder `Probes` of `spam@example.org` on imap `IMAP`: there is no such folder
  cause: mailbox_folder_missing
  evidence: folders: Junk, Trash, INBOX
  hint: create the folder, or correct `folders` and `junk` of `[mailbox.spam]`",
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_revoked_key_is_named() {
    let stage =
        Stage::new().with(|settings| settings.api_key = "xkeysib-revoked-yesterday".to_owned());
    stage.shows(1, "external: refused: brevo `https://BREVO/v3` does not accept the API key: HTTP 401 unauthorized: Key not found
  cause: sender_unauthorized
  evidence: HTTP 401 unauthorized: Key not found
  hint: the key comes from variable `BREVO_API_KEY`: was it revoked, did it expire, or is it an SMTP key? make a new one at Brevo under SMTP & API
  warning: cannot tell whether brevo `https://BREVO/v3` blocks the recipient: brevo `https://BREVO/v3` does not accept the API key: HTTP 401 unauthorized: Key not found (sender_unauthorized)
    evidence: HTTP 401 unauthorized: Key not found
    hint: the key comes from variable `BREVO_API_KEY`: was it revoked, did it expire, or is it an SMTP key? make a new one at Brevo under SMTP & API");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_used_up_quota_is_named() {
    let stage = Stage::new();
    stage.site.brevo.state().credits = 0;
    stage.shows(
        1,
        "external: refused: brevo `https://BREVO/v3` has no credits left for this account: HTTP 400 not_enough_credits: You do not have enough credits
  cause: sender_quota_exhausted
  evidence: HTTP 400 not_enough_credits: You do not have enough credits
  hint: the free plan's 300 messages a day are shared with all other mail of the account, and come back at midnight; buy credits, or probe less often",
    );
}

fn rate_limited(reset: &str) -> Behaviour {
    let answer = error(429, "too_many_requests", "rate limit exceeded");
    Behaviour::Answer(answer.with_header("x-sib-ratelimit-reset", reset))
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_rate_limit_is_waited_out() {
    let stage = Stage::new();
    stage.site.brevo.state().next.push_back(rate_limited("1"));
    let outcome = stage.shows(0, "external: delivered in N s (or up to N s sooner)
  warning: brevo `https://BREVO/v3` asks to wait N s: HTTP 429 too_many_requests: rate limit exceeded (sender_rate_limited)
    evidence: HTTP 429 too_many_requests: rate limit exceeded
    hint: what else sends with this account's key? the limit is for all of it");
    assert!(outcome.seconds > 1.0, "{outcome:#?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_rate_limit_beyond_the_timeout_is_named() {
    let stage = Stage::new();
    stage
        .site
        .brevo
        .state()
        .next
        .push_back(rate_limited("3600"));
    let outcome = stage.shows(1, "external: refused: brevo `https://BREVO/v3` asks to wait N s: HTTP 429 too_many_requests: rate limit exceeded
  cause: sender_rate_limited
  evidence: HTTP 429 too_many_requests: rate limit exceeded
  hint: what else sends with this account's key? the limit is for all of it");
    assert!(
        outcome.seconds < 5.0,
        "waited for what cannot come in time: {outcome:#?}"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_brevo_that_is_down_is_named() {
    let stage = Stage::new();
    let page = "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>";
    stage.site.brevo.state().then = Some(Behaviour::Answer(Response::text(503, page)));
    stage.shows(1, "external: refused: brevo `https://BREVO/v3` fails: HTTP 503 <html><body><h1>503 Service Temporarily Unavailable</h1></body></html>
  cause: sender_failed
  evidence: HTTP 503 <html><body><h1>503 Service Temporarily Unavailable</h1></body></html>
  hint: see https://status.brevo.com; nothing is wrong with the way to the mailbox");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_brevo_that_is_down_for_a_moment_is_tried_again() {
    let stage = Stage::new();
    let answer = error(500, "internal_error", "try again");
    stage
        .site
        .brevo
        .state()
        .next
        .push_back(Behaviour::Answer(answer));
    stage.shows(
        0,
        "external: delivered in N s (or up to N s sooner)
  warning: brevo `https://BREVO/v3` fails: HTTP 500 internal_error: try again (sender_failed)
    evidence: HTTP 500 internal_error: try again
    hint: see https://status.brevo.com; nothing is wrong with the way to the mailbox",
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn brevo_takes_the_message_and_the_answer_is_lost() {
    let stage = Stage::new();
    stage.site.brevo.state().then = Some(Behaviour::TakeAndAnswer(Response::Bytes(Vec::new())));
    stage.shows(0, "external: delivered in N s (or up to N s sooner)
  warning: cannot hand the message to brevo `https://BREVO/v3`: the connection broke off: connection closed before message completed (sender_failed)
    hint: the mailbox decides whether the message was taken; see https://status.brevo.com");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn brevo_takes_the_message_and_a_proxy_answers_504() {
    let stage = Stage::new();
    let answer = Response::text(504, "<html>504 Gateway Time-out</html>");
    stage
        .site
        .brevo
        .state()
        .next
        .push_back(Behaviour::TakeAndAnswer(answer));
    stage.shows(0, "external: delivered in N s (or up to N s sooner)
  warning: brevo `https://BREVO/v3` fails: HTTP 504 <html>504 Gateway Time-out</html> (sender_failed)
    evidence: HTTP 504 <html>504 Gateway Time-out</html>
    hint: see https://status.brevo.com; nothing is wrong with the way to the mailbox");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_brevo_that_cannot_be_reached_is_named() {
    let mut stage = Stage::new();
    let port = closed_port();
    stage.port(port, "CLOSED");
    stage
        .with(|settings| settings.brevo_port = Some(port))
        .shows(1, "external: refused: cannot hand the message to brevo `https://CLOSED/v3`: no connection: tcp connect error: Connection refused (os error 111)
  cause: sender_unreachable
  hint: does this machine get out: name resolution, firewall, HTTPS_PROXY? is `base_url` right?
  warning: cannot tell whether brevo `https://CLOSED/v3` blocks the recipient: cannot ask brevo `https://CLOSED/v3`: no connection: tcp connect error: Connection refused (os error 111) (sender_unreachable)
    hint: does this machine get out: name resolution, firewall, HTTPS_PROXY? is `base_url` right?");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn brevo_hangs() {
    let (_mute, port) = mute();
    let mut stage = Stage::new();
    stage.port(port, "HANGS");
    let stage = stage.with(|settings| {
        settings.timeout = "7s".to_owned();
        settings.late_after = "5s".to_owned();
        settings.brevo_port = Some(port);
    });
    stage.shows(1, "external: refused: cannot hand the message to brevo `https://HANGS/v3`: no answer within N s; whether the message was taken is unknown, and it is not in `INBOX`, `Junk`
  cause: sender_failed
  evidence: the message did not arrive
  evidence: cannot ask brevo `https://HANGS/v3`: no answer within N s
  hint: the mailbox decides whether the message was taken; see https://status.brevo.com
  warning: cannot tell whether brevo `https://HANGS/v3` blocks the recipient: cannot ask brevo `https://HANGS/v3`: no answer within N s (sender_failed)
    hint: see https://status.brevo.com");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn neither_side_can_be_reached() {
    let mut stage = Stage::new().with(soon);
    let port = closed_port();
    stage.port(port, "CLOSED");
    let mut stage = stage.with(|settings| {
        soon(settings);
        settings.brevo_port = Some(port);
    });
    stage.site.dovecot.stop();
    stage.shows(3, "external: undetermined: cannot connect to imap `IMAP`: Connection refused (os error 111)
  cause: mailbox_unreachable
  hint: is the IMAP server up, and reachable from here on that port? this says nothing about mail delivery");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_gateway_that_is_down_is_named() {
    let mut stage = Stage::new();
    let port = closed_port();
    stage.port(port, "CLOSED");
    let stage = stage.with(|settings| settings.gateway_port = Some(port));
    stage.shows(
        0,
        "external: delivered in N s (or up to N s sooner)
  warning: pushgateway http://CLOSED did not take the report: no connection: tcp connect error: Connection refused (os error 111) (sink_failed)
    evidence: 3 attempts in N s
    hint: is it up, and does this machine get there: name resolution, network policy, NO_PROXY?",
    );
    assert_eq!(stage.site.kuma.requests().len(), 1);
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn no_sink_takes_the_report() {
    let mut stage = Stage::new();
    let port = closed_port();
    stage.port(port, "CLOSED");
    let stage = stage.with(|settings| {
        settings.gateway_port = Some(port);
        settings.kuma = false;
    });
    stage.shows(
        4,
        "external: delivered in N s (or up to N s sooner)
  warning: pushgateway http://CLOSED did not take the report: no connection: tcp connect error: Connection refused (os error 111) (sink_failed)
    evidence: 3 attempts in N s
    hint: is it up, and does this machine get there: name resolution, network policy, NO_PROXY?",
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_gateway_refuses_because_of_a_group_that_an_old_script_left() {
    let stage = Stage::new();
    let old = "# TYPE email_roundtrip_success counter\nemail_roundtrip_success 1\n";
    let gateway = &stage.site.gateway;
    let answer = gateway.request("POST", "/metrics/job/email-roundtrip-monitor", old);
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let (outcome, told) = stage.play(0);
    // Which of the two groups Pushgateway complains of depends on the order in which it meets them.
    let of_group = |probe: &str, kind: &str, wanted: &str| {
        format!(
            "{{ label:<name:\"instance\" value:\"\" > label:<name:\"job\" value:\"email-roundtrip-monitor\" > {probe}{kind}:<value:1 > }} is not a {wanted}"
        )
    };
    let probe = "label:<name:\"probe\" value:\"external\" > ";
    let complaints = [
        of_group(probe, "gauge", "COUNTER"),
        of_group("", "counter", "GAUGE"),
    ];
    let expected = complaints.map(|complaint| format!(r#"external: delivered in N s (or up to N s sooner)
  warning: pushgateway http://GATEWAY did not take the report: HTTP 400 pushed metrics are invalid or inconsistent with existing metrics: collected metric "email_roundtrip_success" {complaint} (sink_failed)
    evidence: 1 attempts in N s
    hint: `email_roundtrip_success` of this group is COUNTER, not GAUGE, which keeps every push of ours out: curl -X DELETE 'http://GATEWAY/metrics/job/email-roundtrip-monitor'"#));
    assert!(expected.contains(&told), "{told}\n{outcome:#?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_gateway_hangs() {
    let (_mute, port) = mute();
    let mut stage = Stage::new();
    stage.port(port, "HANGS");
    let stage = stage.with(|settings| settings.gateway_port = Some(port));
    let outcome = stage.shows(
        0,
        "external: delivered in N s (or up to N s sooner)
  warning: pushgateway http://HANGS did not take the report: no answer within N s (sink_failed)
    evidence: 3 attempts in N s
    hint: is it overloaded, or is something in between?",
    );
    assert!(outcome.seconds < 42.0, "{outcome:#?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_never_comes_is_missing() {
    let stage = Stage::new().with(soon);
    stage.site.brevo.state().hold = Duration::from_secs(3600);
    stage.begins(1, "external: missing: brevo `https://BREVO/v3` has had the message for `smoke-test@example.org` for N s and has not tried to deliver it, as far as its event log tells
  cause: held_at_provider");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_comes_late_is_late() {
    let stage = Stage::new().with(|settings| settings.late_after = "1s".to_owned());
    stage.site.brevo.state().hold = Duration::from_millis(3500);
    stage.begins(1, "external: late: the message for `smoke-test@example.org` arrived after N s, later than `late_after` of N s: N s of it before `mail.example.org` took it
  cause: delayed_on_the_way");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_message_that_is_filed_as_spam_is_junked() {
    let stage = Stage::new().with(|settings| settings.to = "junk@example.org".to_owned());
    stage.begins(
        1,
        "external: junked: the message for `junk@example.org` was filed as spam, into `Junk`
  cause: filtered_as_spam",
    );
    assert_eq!(stage.site.dovecot.messages("Junk"), Vec::<String>::new());
}
