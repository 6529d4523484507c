//! Good and bad configs (`fixtures/config`), each bad one with the exact text that it gets.

use super::plan::{
    JunkFolder, MailboxAuth, Plan, SecretSource, SenderPlan, SinkPlan, SmtpAuth, TlsMode,
};
use super::*;
use crate::net::proxy_protocol::Version;
use proptest::prelude::*;
use std::time::Duration;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/config")
        .join(kind);
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|one| one == "toml"))
        .collect();
    found.sort();
    found
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "BREVO_API_KEY" => "xkeysib-0123456789abcdef",
        "EMAIL_MONITOR_IMAP_PASSWORD" => "correct horse battery staple",
        "UPTIME_KUMA_PUSH_URL" => {
            "https://kuma.example.org/api/push/AbCdEfGh0123/?status=up&msg=OK&ping="
        }
        "MAILPROBE_TOKEN_KEY" => "0123456789abcdef0123456789abcdef\n",
        "SUBMISSION_PASSWORD" => "hunter2-submission",
        "SHORT" => "hunter2-secret",
        "NOT_A_PUSH_URL" => "https://kuma.example.org/dashboard/very-secret-token",
        "KEY_WITH_A_SPACE" => "xkeysib very secret",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(path: &Path) -> Result<Plan, ConfigError> {
    load(path, &[], &variable)
}

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    root.join(name)
}

fn good(name: &str) -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good");
    read(&root.join(name)).unwrap()
}

#[test]
fn every_bad_config_gets_exactly_its_message_and_no_secret_is_in_it() {
    let bad = fixtures("bad");
    assert!(bad.len() >= 30, "only {} fixtures", bad.len());
    let mut wrong = Vec::new();
    for path in bad {
        let error = read(&path)
            .expect_err(&format!("{} is good", path.display()))
            .to_string();
        let directory = format!("{}/", path.parent().unwrap().display());
        let told = error.replace(&directory, "") + "\n";
        for secret in [
            "hunter2",
            "very secret",
            "very-secret",
            "xkeysib",
            "battery",
        ] {
            assert!(!told.contains(secret), "{}: {told}", path.display());
        }
        let file = path.with_extension("txt");
        if std::env::var_os("MAILPROBE_BLESS").is_some() {
            std::fs::write(&file, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if told != expected {
            wrong.push(format!(
                "{}\n  told:     {told}  expected: {expected}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_good_config_is_read() {
    let good = fixtures("good");
    assert!(good.len() >= 4, "only {} fixtures", good.len());
    for path in good {
        if let Err(error) = read(&path) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn the_smallest_config_gets_every_default() {
    let plan = good("smallest.toml");
    let [probe] = plan.probes.as_slice() else {
        panic!()
    };
    assert_eq!(probe.schedule.to_string(), "*/20 * * * * (UTC)");
    assert_eq!(probe.late_after, Duration::from_secs(300));
    assert_eq!(probe.timeout, Duration::from_secs(900));
    assert_eq!(probe.accept, []);
    let SenderPlan::Brevo(brevo) = probe.sender.as_ref() else {
        panic!()
    };
    assert_eq!(brevo.base_url.as_str(), "https://api.brevo.com/v3");
    assert!(brevo.unblock_recipient);
    let mailbox = &probe.mailbox;
    assert_eq!(
        (mailbox.port, mailbox.tls, mailbox.auth),
        (993, TlsMode::Implicit, MailboxAuth::Auto)
    );
    assert_eq!(mailbox.tls_server_name, "imap.example.org");
    assert_eq!(mailbox.folders, ["INBOX"]);
    assert_eq!(mailbox.junk, JunkFolder::Auto);
    assert!(plan.sinks.is_empty());
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn what_the_whole_config_says_is_in_the_plan() {
    let plan = good("whole.toml");
    let names: Vec<&str> = plan
        .probes
        .iter()
        .map(|probe| probe.name.as_str())
        .collect();
    assert_eq!(names, ["external", "second"]);
    let [external, second] = plan.probes.as_slice() else {
        panic!()
    };
    assert!(std::sync::Arc::ptr_eq(&external.sender, &second.sender));
    assert_eq!(
        external.schedule.to_string(),
        "*/20 * * * * (Europe/Berlin)"
    );
    assert_eq!(external.mailbox.port, 143);
    assert_eq!(external.mailbox.tls_server_name, "mail.example.org");
    assert_eq!(external.mailbox.junk, JunkFolder::Named("Spam".to_owned()));
    let [SinkPlan::Pushgateway(gateway), SinkPlan::UptimeKuma(kuma)] =
        plan.sinks.iter().map(AsRef::as_ref).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    assert_eq!(
        gateway.url.as_str(),
        "http://gateway.monitoring:9091/prefix"
    );
    assert_eq!(gateway.labels["site"], "home");
    assert_eq!(kuma.probe, "external");
    assert_eq!(
        kuma.push_url.value.expose(),
        "https://kuma.example.org/api/push/AbCdEfGh0123"
    );
    assert!(plan.keyring.identity("second").is_some());
    assert!(plan.path.is_border("mailserver-0"));
    assert!(plan.path.is_backup_mx("mx2.example.org"));
    assert!(plan.path.is_authserv("mail.example.org"));
}

#[test]
fn an_smtp_sender_gets_its_port_from_tls_and_every_key_into_the_plan() {
    let plan = good("both-ways.toml");
    let SenderPlan::Smtp(smtp) = plan.probes[1].sender.as_ref() else {
        panic!()
    };
    assert_eq!((smtp.port, smtp.tls), (4587, TlsMode::StartTls));
    assert_eq!(smtp.tls_server_name, "mail.example.org");
    let login = smtp.login.as_ref().unwrap();
    assert_eq!(login.auth, SmtpAuth::Login);
    assert_eq!(login.password.value.expose(), "hunter2-submission");
    assert_eq!(smtp.from_name.as_deref(), Some("Monitoring"));
    assert_eq!(smtp.helo.as_deref(), Some("probe.example.org"));
    let proxy = smtp.proxy.unwrap();
    assert_eq!(proxy.version, Version::V2);
    assert_eq!(proxy.source, Some("192.0.2.1:4242".parse().unwrap()));
    for (tls, port) in [("implicit", 465), ("starttls", 587), ("none", 25)] {
        let text = std::fs::read_to_string(fixture("good/smtp-relay.toml")).unwrap();
        let text = text.replace("\"none\"", &format!("\"{tls}\""));
        let plan = load_text(&text).unwrap();
        let SenderPlan::Smtp(smtp) = plan.probes[0].sender.as_ref() else {
            panic!()
        };
        assert_eq!(smtp.port, port);
        assert!(smtp.login.is_none() && smtp.proxy.is_none());
    }
}

#[test]
fn every_provider_gets_its_keys_and_its_address() {
    let plan = good("providers.toml");
    let found: Vec<(&str, &str)> = plan
        .probes
        .iter()
        .map(|probe| match probe.sender.as_ref() {
            SenderPlan::Api(api) => (api.provider.kind(), api.base_url.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            ("mailgun", "https://api.eu.mailgun.net/"),
            ("postmark", "https://api.postmarkapp.com/"),
            ("sendgrid", "https://api.eu.sendgrid.com/"),
            ("ses", "https://email.eu-central-1.amazonaws.com/"),
            ("resend", "https://api.resend.com/"),
            ("mailjet", "https://api.us.mailjet.com/"),
        ]
    );
    // A key to sign tokens with comes from the account's.
    assert!(
        plan.probes
            .iter()
            .all(|probe| plan.keyring.identity(&probe.name).is_some())
    );
}

#[test]
fn a_token_key_is_demanded_only_for_senders_that_are_used() {
    let text = std::fs::read_to_string(fixture("good/both-ways.toml")).unwrap();
    let text = text.replace("token_key = { env = \"MAILPROBE_TOKEN_KEY\" }", "");
    // One that is whole without a secret, so that its plan is there whoever asks.
    let relay =
        "[sender.relay]\ntype = \"smtp\"\nhost = \"mx.example.org\"\nfrom = \"a@example.org\"\n";
    let text = format!("{text}\n{relay}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, &["external".to_owned()], &variable).unwrap();
    let error = load(&path, &["internal".to_owned()], &variable).unwrap_err();
    assert!(
        error.to_string().contains("`token_key` is missing"),
        "{error}"
    );
}

#[test]
fn what_should_not_be_so_is_a_warning_with_its_line_and_without_the_secret() {
    let plan = good("careless.toml");
    let warnings: Vec<&str> = plan
        .warnings
        .iter()
        .map(|one| one.rsplit_once("careless.toml:").unwrap().1)
        .collect();
    assert_eq!(
        warnings,
        [
            "13: sender `brevo`: `api_key` stands in the file; { env = … } or { file = … } keeps it out of backups and version control",
            "24: sink `pushgateway` of line 24: the password goes over the network in clear: the URL begins with http://",
            "30: [serve]: `listen` is not loopback and there is no `token`: every POST is refused; set `token` to have runs and reloads asked for",
        ]
    );
}

#[test]
fn only_the_secrets_of_the_selected_probes_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good");
    let path = root.join("whole.toml");
    let without_kuma = |name: &str| variable(name).filter(|_| name != "UPTIME_KUMA_PUSH_URL");
    let plan = load(&path, &["second".to_owned()], &without_kuma).unwrap();
    assert_eq!(plan.probes.len(), 1);
    assert_eq!(plan.sinks.len(), 1);
    let error = load(&path, &["external".to_owned()], &without_kuma)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("comes from variable `UPTIME_KUMA_PUSH_URL`, which is not set"),
        "{error}"
    );
}

#[test]
fn an_unknown_probe_is_named_beside_those_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good");
    let error = load(
        &root.join("whole.toml"),
        &["extrenal".to_owned()],
        &variable,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.ends_with("there is no probe `extrenal`; there are: external, second"),
        "{error}"
    );
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_line_break() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "xkeysib-from-a-file\n").unwrap();
    let smallest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/smallest.toml");
    let text = std::fs::read_to_string(smallest).unwrap();
    let file = format!(
        "{{ file = \"{}\" }}",
        directory.path().join("key").display()
    );
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text.replace("{ env = \"BREVO_API_KEY\" }", &file)).unwrap();
    let plan = read(&path).unwrap();
    let SenderPlan::Brevo(brevo) = plan.probes[0].sender.as_ref() else {
        panic!()
    };
    assert_eq!(brevo.api_key.value.expose(), "xkeysib-from-a-file");
    std::fs::remove_file(directory.path().join("key")).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("which cannot be read: No such file"),
        "{error}"
    );
}

#[test]
fn the_config_is_looked_for_in_order() {
    let none = |_: &str| None;
    let from_variable =
        |name: &str| (name == "MAILPROBE_CONFIG").then(|| "/from/variable".to_owned());
    assert_eq!(
        find(Some(Path::new("/named")), &from_variable),
        Ok("/named".into())
    );
    assert_eq!(find(None, &from_variable), Ok("/from/variable".into()));
    let error = find(None, &none).unwrap_err().to_string();
    assert!(
        error.starts_with("error: no config found: looked for `mailprobe.toml` and `/etc/"),
        "{error}"
    );
}

fn whole() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/whole.toml");
    std::fs::read_to_string(path).unwrap()
}

fn load_text(text: &str) -> Result<Plan, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_config_is_read_or_refused_with_file_and_line(
        line in 0_usize..80, replacement in "[ -~]{0,30}|[a-z_]{1,10} = (\\{\\}|\\[\\]|1|\"\"|true)|\\[\\[?[a-z.]{1,10}\\]?\\]",
    ) {
        let whole = whole();
        let mut lines: Vec<&str> = whole.lines().collect();
        let count = lines.len();
        lines[line % count] = &replacement;
        if let Err(error) = load_text(&lines.join("\n")) {
            let told = error.to_string();
            prop_assert!(told.lines().all(|line| line.starts_with("error: ") && line.contains("mailprobe.toml:")), "{told}");
            prop_assert!(!told.contains("battery"), "{told}");
        }
    }

    #[test]
    fn every_prefix_of_a_config_is_read_or_refused(end in 0_usize..3000) {
        let whole = whole();
        let _ = load_text(whole.get(..end.min(whole.len())).unwrap_or_default());
    }
}

#[test]
fn a_config_is_read_without_its_secrets_and_says_where_they_come_from() {
    for path in fixtures("good") {
        if let Err(error) = load_without_secrets(&path) {
            panic!("{}: {error}", path.display());
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    let smallest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/smallest.toml");
    let text = std::fs::read_to_string(smallest)
        .unwrap()
        .replace("{ env = \"BREVO_API_KEY\" }", "{ file = \"/nowhere/key\" }")
        .replace("host     =", "ca_file = \"/nowhere/ca.pem\"\nhost     =");
    std::fs::write(&path, text).unwrap();
    let plan = load_without_secrets(&path).unwrap();
    assert_eq!(
        plan.secrets,
        [
            SecretSource::Variable("EMAIL_MONITOR_IMAP_PASSWORD".to_owned()),
            SecretSource::File("/nowhere/key".into()),
        ]
    );
    assert_eq!(plan.files, [PathBuf::from("/nowhere/ca.pem")]);
    assert!(read(&path).is_err());
}

#[test]
fn the_schedulers_settings_are_read_and_have_their_defaults() {
    let serve = good("serve.toml").serve;
    assert_eq!(serve.listen.to_string(), "[::1]:9797");
    assert_eq!(serve.state_dir, Some("/var/lib/mailprobe".into()));
    assert_eq!(serve.listener_interval, Duration::from_secs(300));
    assert_eq!(serve.min_interval, Duration::from_secs(30));
    let default = good("smallest.toml").serve;
    assert_eq!(default.listen.to_string(), "127.0.0.1:9797");
    assert_eq!((default.state_dir, default.token), (None, None));
    assert_eq!(default.listener_interval, Duration::from_secs(1200));
    assert_eq!(default.min_interval, Duration::from_secs(60));
}

#[test]
fn the_token_of_the_scheduler_is_read_by_the_scheduler_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good");
    let path = root.join("serve.toml");
    assert_eq!(load(&path, &[], &variable).unwrap().serve.token, None);
    let token = load_to_serve(&path, &variable).unwrap().serve.token;
    assert_eq!(token.unwrap().value.expose().len(), 32);
    let short = |name: &str| match name {
        "MAILPROBE_TOKEN_KEY" => Some("hunter2".to_owned()),
        name => variable(name),
    };
    let error = load_to_serve(&path, &short).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "serve.toml:21: [serve]: `token` has 7 bytes, expected 16 or more; `openssl rand -hex 16` makes one"
        ),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_secrets_of_the_scheduler_is_told_beside_all_else() {
    let text = std::fs::read_to_string(fixture("good/serve.toml")).unwrap();
    let text = text
        .replace("MAILPROBE_TOKEN_KEY", "NOT_SET")
        .replace("to ", "too ");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text).unwrap();
    let told = load_to_serve(&path, &variable).unwrap_err().to_string();
    for part in [
        "there is no key `too`",
        "`to` is missing",
        "[serve]: `token` comes from variable `NOT_SET`, which is not set",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_fault_of_one_probe_has_no_secret_read_that_another_alone_needs() {
    let text = std::fs::read_to_string(fixture("bad/secrets-beside-others.toml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text).unwrap();
    let told = load(&path, &["external".to_owned()], &variable)
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("`api_key` comes from variable `NOT_SET`"),
        "{told}"
    );
    assert!(!told.contains("NOT_SET_EITHER"), "{told}");
}

/// The part of the README under a heading, up to the next.
fn readme(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap();
    rest.split("\n##").next().unwrap().to_owned()
}

/// The names in the first cells of the tables in a part of the README.
fn documented_keys(part: &str) -> std::collections::BTreeSet<String> {
    let cells = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells
        .flat_map(|cell| cell.split(['`', ',']).map(|name| name.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .collect()
}

/// A config with one sender, as a section of the file.
fn with_sender(name: &str, section: &str) -> String {
    format!(
        "token_key = {{ env = \"MAILPROBE_TOKEN_KEY\" }}\n\n\
         [[probe]]\nname = \"one\"\nsender = \"{name}\"\nmailbox = \"spam\"\nto = \"a@example.org\"\n\n\
         {section}\n[mailbox.spam]\ntype = \"imap\"\nhost = \"imap.example.org\"\nusername = \"spam\"\n\
         password = {{ env = \"EMAIL_MONITOR_IMAP_PASSWORD\" }}\n"
    )
}

#[test]
fn the_readme_has_every_key_of_every_sender_and_an_example_that_is_read() {
    let shared = documented_keys(&readme("### Keys of all six providers"));
    for kind in [
        "smtp", "mailgun", "postmark", "sendgrid", "ses", "resend", "mailjet",
    ] {
        let part = readme(&format!("### `{kind}`"));
        let mut documented = documented_keys(&part);
        documented.insert("type".to_owned());
        if kind != "smtp" {
            documented.extend(shared.clone());
            let (_, example) = part.split_once("```toml\n").unwrap();
            let example = example.split("```").next().unwrap();
            // Each names a variable of its own, which no test knows.
            let example = example
                .lines()
                .map(|line| match line.split_once("{ env = ") {
                    Some((key, _)) => format!("{key}{{ env = \"SUBMISSION_PASSWORD\" }}\n"),
                    None => format!("{line}\n"),
                })
                .collect::<String>();
            if let Err(error) = load_text(&with_sender(kind, &example)) {
                panic!("{kind}: {error}");
            }
        }
        let section = format!("[sender.x]\ntype = \"{kind}\"\nno_such_key = 1\n");
        let told = load_text(&with_sender("x", &section))
            .unwrap_err()
            .to_string();
        let (_, known) = told.split_once("`no_such_key`; there are: ").unwrap();
        let known = known.lines().next().unwrap();
        let known = known.split(", ").map(str::to_owned).collect();
        assert_eq!(documented, known, "{kind}");
    }
}
