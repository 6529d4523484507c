//! `mailprobe generate`, and the files in `deploy/` that are its output.

use crate::world::run;
use mailprobe::config::load_without_secrets;
use mailprobe::generate;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn generated(arguments: &[&str]) -> String {
    printed_for(&root().join("deploy/mailprobe.toml"), arguments)
}

/// What is printed for another config than the example.
#[track_caller]
pub fn printed_for(config: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["generate"];
    all.extend(arguments);
    all.extend(["--config", config.to_str().unwrap()]);
    let ran = run(&all);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{all:?}");
    ran.stdout
}

/// The example with what a scheduler in a cluster needs, as `overlays/serve/kustomization.yaml` says it.
fn serving() -> (TempDir, PathBuf) {
    let overlay = root().join("deploy/kubernetes/overlays/serve/kustomization.yaml");
    let overlay = std::fs::read_to_string(overlay).unwrap();
    let settings = overlay.lines().filter_map(|line| line.strip_prefix("#   "));
    let settings: String = settings.map(|line| format!("{line}\n")).collect();
    assert!(settings.starts_with("[serve]\nlisten = "), "{settings}");
    config_of(&format!("{}{settings}", generate::EXAMPLE_CONFIG))
}

pub fn config_of(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn the_files_for_deployment_are_what_is_generated_for_the_example() {
    let files: &[(&str, &[&str])] = &[
        ("mailprobe.toml", &["config"]),
        ("mailprobe.schema.json", &["schema"]),
        ("prometheus/mailprobe.rules.yml", &["prometheus-rules"]),
        (
            "prometheus/mailprobe-old-names.rules.yml",
            &["prometheus-rules", "--old-names"],
        ),
        (
            "prometheus/alertmanager-inhibitions.yml",
            &["alertmanager-inhibitions"],
        ),
        ("kubernetes/base/mailprobe.yaml", &["kubernetes"]),
        ("grafana/mailprobe.json", &["grafana-dashboard"]),
        (
            "kubernetes/components/prometheus-operator/rules.yaml",
            &["prometheus-rules", "--operator"],
        ),
    ];
    let (_directory, serving) = serving();
    let served = &["kubernetes", "--serve"][..];
    let generated = files
        .iter()
        .map(|(name, arguments)| (*name, *arguments, generated(arguments)));
    let all = generated.chain([(
        "kubernetes/overlays/serve/mailprobe.yaml",
        served,
        printed_for(&serving, served),
    )]);
    let mut wrong = Vec::new();
    for (name, arguments, text) in all {
        let path = root().join("deploy").join(name);
        if std::env::var_os("MAILPROBE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!(
                "deploy/{name} is not what `mailprobe generate {}` prints",
                arguments.join(" ")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nMAILPROBE_BLESS=1 writes them",
        wrong.join("\n")
    );
}

#[test]
fn the_example_config_is_good_as_it_is_and_with_every_setting_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    let example = generated(&["config"]);
    std::fs::write(&path, &example).unwrap();
    load_without_secrets(&path).unwrap_or_else(|error| panic!("{error}"));
    let whole: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(whole, example);
    std::fs::write(&path, &whole).unwrap();
    load_without_secrets(&path).unwrap_or_else(|error| panic!("{error}\n{whole}"));
}

#[test]
fn what_the_config_does_not_name_is_asked_for_as_the_config_asks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.toml");
    let ran = run(&[
        "generate",
        "prometheus-rules",
        "--config",
        path.to_str().unwrap(),
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.starts_with("error: cannot read the config"),
        "{}",
        ran.stderr
    );
    let ran = run(&["generate", "man", "nonsense"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.stderr,
        "error: there is no command `nonsense`; there are: run, serve, check, find, demo, inspect, generate\n"
    );
}

/// The types of sender that the README explains, and not the example.
const APIS: [&str; 6] = [
    "mailgun", "postmark", "sendgrid", "ses", "resend", "mailjet",
];
const API: &str = "its type alone";

/// A config in which one section has a key that no section has.
fn with_unknown_key(section: &str) -> String {
    let parts = [
        ("file", "", ""),
        (
            "probe",
            "[[probe]]",
            "name = 'p'\nsender = 's'\nmailbox = 'm'\nto = 'a@example.org'",
        ),
        (
            "brevo",
            "[sender.s]",
            "type = 'brevo'\napi_key = 'x'\nfrom = 'a@example.org'",
        ),
        (
            "smtp",
            "[sender.t]",
            "type = 'smtp'\nhost = 'h'\nfrom = 'a@example.org'",
        ),
        ("mailgun", "[sender.t]", API),
        ("postmark", "[sender.t]", API),
        ("sendgrid", "[sender.t]", API),
        ("ses", "[sender.t]", API),
        ("resend", "[sender.t]", API),
        ("mailjet", "[sender.t]", API),
        (
            "imap",
            "[mailbox.m]",
            "type = 'imap'\nhost = 'h'\nusername = 'u'\npassword = 'x'",
        ),
        ("path", "[path]", ""),
        (
            "listener",
            "[[listener]]",
            "name = 'l'\nhost = 'h'\nprotocol = 'smtp'",
        ),
        ("dns", "[dns]", ""),
        (
            "pushgateway",
            "[[sink]]",
            "type = 'pushgateway'\nurl = 'http://g'",
        ),
        (
            "uptime_kuma",
            "[[sink]]",
            "type = 'uptime_kuma'\npush_url = 'http://k/api/push/t'",
        ),
        ("serve", "[serve]", ""),
    ];
    let is_needed = |name: &str| ["file", "probe", "brevo", "imap"].contains(&name);
    let mut text = String::new();
    for (name, head, body) in parts {
        if is_needed(name) || name == section {
            let unknown = if name == section {
                "no_such_key = 1"
            } else {
                ""
            };
            let body = if body == API {
                format!("type = '{name}'")
            } else {
                body.to_owned()
            };
            text.push_str(&format!("{head}\n{body}\n{unknown}\n"));
        }
    }
    text
}

#[test]
fn the_schema_has_the_keys_that_the_program_reads_and_no_others() {
    let schema: Value = serde_json::from_str(&generated(&["schema"])).unwrap();
    let example = generated(&["config"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    let sections = [
        "dns",
        "file",
        "probe",
        "brevo",
        "smtp",
        "imap",
        "path",
        "listener",
        "pushgateway",
        "uptime_kuma",
        "serve",
    ];
    let mut wrong = Vec::new();
    for section in sections.into_iter().chain(APIS) {
        std::fs::write(&path, with_unknown_key(section)).unwrap();
        let error = load_without_secrets(&path).unwrap_err().to_string();
        let read: BTreeSet<&str> = error
            .split("there is no key `no_such_key`; there are: ")
            .nth(1)
            .unwrap_or_else(|| panic!("{section}: {error}"))
            .lines()
            .next()
            .unwrap()
            .split(", ")
            .collect();
        let place = if section == "file" {
            "/properties".to_owned()
        } else {
            format!("/$defs/{section}/properties")
        };
        let known: BTreeSet<&str> = schema
            .pointer(&place)
            .and_then(Value::as_object)
            .unwrap_or_else(|| panic!("no {place}"))
            .keys()
            .map(String::as_str)
            .collect();
        if read != known {
            wrong.push(format!(
                "{section}: the program reads {read:?}, the schema has {known:?}"
            ));
        }
        for key in read.into_iter().filter(|_| !APIS.contains(&section)) {
            let is_there = example.lines().any(|line| {
                let line = line.trim_start_matches(['#', '[', ' ']);
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
            });
            if !is_there {
                wrong.push(format!(
                    "{section}: `{key}` is not in src/generate/example.toml"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "src/generate/schema.json and src/generate/example.toml follow the config:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_metric_that_a_rule_asks_for_is_one_that_is_reported() {
    let mut code = std::fs::read_to_string(root().join("src/metrics.rs")).unwrap();
    for part in std::fs::read_dir(root().join("src/metrics"))
        .into_iter()
        .flatten()
    {
        code += &std::fs::read_to_string(part.unwrap().path()).unwrap();
    }
    let mut asked = 0;
    for text in [
        generated(&["prometheus-rules"]),
        generated(&["grafana-dashboard"]),
    ] {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let is_metric = mailprobe::metrics::PREFIXES
                .iter()
                .any(|prefix| word.starts_with(prefix));
            if is_metric && word != "mailprobe_" {
                asked += 1;
                assert!(
                    code.contains(&format!("\"{word}\"")),
                    "nothing reports {word}"
                );
            }
        }
    }
    assert!(asked > 20);
}

#[test]
fn completions_and_pages_of_the_manual_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = generated(&["completions", shell]);
        assert!(script.contains("prometheus-rules"), "{shell}");
    }
    assert!(generated(&["man"]).contains(".TH mailprobe 1"));
    assert!(generated(&["man", "run"]).contains("exit\\-zero\\-when\\-reported"));
}

/// Whether this is a line `1. …`.
fn is_step(line: &str) -> bool {
    line.split_once(". ")
        .is_some_and(|(number, _)| number.parse::<u8>().is_ok())
}

#[test]
fn every_alert_has_its_place_in_the_runbook() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rules = generated(&["prometheus-rules"]);
    let mut alerts = 0;
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        alerts += 1;
        let heading = format!("\n### {alert}\n");
        let place = readme.split(&heading).nth(1);
        let place = place.unwrap_or_else(|| panic!("README.md has no section {alert}"));
        let own = place.split("\n#").next().unwrap();
        let meaning = own.lines().find(|line| !line.is_empty()).unwrap();
        assert!(!meaning.starts_with("1. "), "{alert}: what it means");
        let steps: Vec<&str> = own.lines().filter(|line| is_step(line)).collect();
        let with_commands = steps.iter().filter(|step| step.contains('`')).count();
        assert_eq!((steps.len(), with_commands), (3, 3), "{alert}: {steps:#?}");
        assert!(
            rules.contains(&format!("README.md#{}\"", alert.to_lowercase())),
            "{alert}"
        );
    }
    assert_eq!(alerts, 13);
}

#[test]
fn every_alert_says_what_it_is_where_to_read_on_and_the_cause_where_a_run_stands_behind_it() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let sections: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_lowercase)
        .collect();
    // No run, or none in which something went wrong.
    let without_cause = [
        "MailProbeNeverRan",
        "EmailRoundtripNeverRun",
        "RecipientWasBlocked",
        "SenderQuotaLow",
        "CertificateExpiring",
        "MailListenerDown",
    ];
    for config in ["listeners.toml", "both-ways.toml"] {
        for old_names in [&[][..], &["--old-names"]] {
            let mut arguments = vec!["prometheus-rules", "--runbook", "https://example.org/mail"];
            arguments.extend(old_names);
            let config = root().join("fixtures/config/good").join(config);
            let rules = printed_for(&config, &arguments);
            let mut alerts = 0;
            for rule in rules.split("- alert: ").skip(1) {
                let (alert, rest) = rule.split_once('\n').unwrap();
                alerts += 1;
                let annotation = |name: &str| {
                    let text = rest.split(&format!(" {name}: ")).nth(1);
                    let text = text.unwrap_or_else(|| panic!("{alert} has no {name}"));
                    text.lines().next().unwrap().replace('\\', "")
                };
                assert!(annotation("summary").len() > 20, "{alert}");
                let tells_cause = annotation("description").contains("label \"cause\"");
                assert_eq!(tells_cause, !without_cause.contains(&alert), "{alert}");
                let address = annotation("runbook_url");
                let section = address.trim_matches('"').split_once('#').unwrap();
                assert_eq!(section.0, "https://example.org/mail");
                assert!(sections.contains(section.1), "{alert}: no {}", section.1);
            }
            assert!(alerts > 13, "{alerts}");
        }
    }
}

#[test]
fn the_deadlines_of_the_job_and_of_the_unit_agree_with_the_config() {
    let plan = load_without_secrets(&root().join("deploy/mailprobe.toml")).unwrap();
    let timeout = plan.probes[0].timeout.as_secs();
    let schedule = &plan.probes[0].schedule;
    assert_eq!(schedule.crontab(), "*/20 * * * *");
    let manifests = generated(&["kubernetes"]);
    assert!(manifests.contains(&format!("activeDeadlineSeconds: {}\n", timeout + 150)));
    assert!(manifests.contains("schedule: \"*/20 * * * *\"\n"));
    let deploy = |name: &str| std::fs::read_to_string(root().join("deploy").join(name)).unwrap();
    let unit = deploy("systemd/mailprobe-run.service");
    assert!(unit.contains(&format!("\nTimeoutStartSec={}\n", timeout + 150)));
    // Without a zone it would be the machine's.
    let calendar = format!("\nOnCalendar=*:0/20 {}\n", schedule.zone());
    assert!(deploy("systemd/mailprobe-run.timer").contains(&calendar));

    // For another timeout the README has the unit told what the Job is told.
    let longer = generate::EXAMPLE_CONFIG.replace("timeout = \"15m\"", "timeout = \"30m\"");
    let (_directory, path) = config_of(&longer);
    let manifests = printed_for(&path, &["kubernetes"]);
    let (_, deadline) = manifests.split_once("activeDeadlineSeconds: ").unwrap();
    let (deadline, _) = deadline.split_once('\n').unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("`timeout = \"30m\"`"));
    assert!(readme.contains(&format!("\nTimeoutStartSec={deadline}\n")));
}

/// What requests and limits say in these manifests: processor, memory, and the most memory.
fn resources(manifests: &str) -> Vec<u64> {
    let (_, requests) = manifests.split_once(" requests:\n").unwrap();
    let lines = requests.lines().map(|line| line.trim().replace('"', ""));
    lines
        .filter_map(|line| {
            let figure = line.strip_prefix("cpu: ").or(line.strip_prefix("memory: "));
            let figure = figure?.trim_end_matches(['m', 'M', 'i']);
            Some(figure.parse().unwrap())
        })
        .take(3)
        .collect()
}

#[test]
fn the_cluster_is_asked_for_what_the_readme_says_that_a_run_was_measured_to_take() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let figure = |name: &str| -> f64 {
        let (_, row) = readme
            .split_once(&format!("| a run of a second: {name} | "))
            .unwrap();
        row.split(' ').next().unwrap().parse().unwrap()
    };
    let [processor, memory, most] = resources(&generated(&["kubernetes"]))[..] else {
        panic!("no requests and limits");
    };
    // Thousandths of a processor, and milliseconds within a second.
    let (asked, measured) = (processor as f64, figure("processor time"));
    assert!(
        (measured..2.0 * measured).contains(&asked),
        "{asked}m for {measured} ms"
    );
    let (asked, measured) = (memory as f64, figure("peak memory"));
    assert!(
        (measured..1.5 * measured).contains(&asked),
        "{asked}Mi for {measured} MiB"
    );
    assert!(most >= 2 * memory, "{most}");
    let overlay = "deploy/kubernetes/overlays/serve/mailprobe.yaml";
    let overlay = std::fs::read_to_string(root().join(overlay)).unwrap();
    assert_eq!(resources(&overlay), [processor, memory, most]);
}

/// `PROTOCOL PORT` of what the network policy in these manifests lets out.
fn let_out(manifests: &str) -> Vec<String> {
    let (_, egress) = manifests.split_once("\n  egress:\n").unwrap();
    let words: Vec<&str> = egress.split_whitespace().collect();
    words
        .windows(4)
        .filter(|four| four[0] == "protocol:")
        .map(|four| format!("{} {}", four[1], four[3]))
        .collect()
}

#[test]
fn the_network_policy_lets_out_to_the_ports_of_the_config_and_to_no_others() {
    assert_eq!(
        let_out(&generated(&["kubernetes"])),
        [
            "UDP 53", "TCP 53", "TCP 80", "TCP 443", "TCP 993", "TCP 3001", "TCP 9091"
        ]
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailprobe.toml");
    let config = r#"
token_key = { env = "KEY" }
[[probe]]
name = "inside"
sender = "s"
mailbox = "m"
to = "a@example.org"
[sender.s]
type = "smtp"
host = "mail.example.org"
port = 2587
from = "b@example.org"
[mailbox.m]
type = "imap"
host = "mail.example.org"
port = 10993
username = "a@example.org"
password = { env = "PASSWORD" }
[[listener]]
name = "proxied"
host = "mail.example.org"
port = 2525
protocol = "smtp"
[dns]
resolver = "192.0.2.1:5353"
[[sink]]
type = "pushgateway"
url = "https://gateway.example.org:8443"
"#;
    std::fs::write(&path, config).unwrap();
    let ran = run(&["generate", "kubernetes", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        let_out(&ran.stdout),
        [
            "UDP 53",
            "UDP 5353",
            "TCP 53",
            "TCP 2525",
            "TCP 2587",
            "TCP 5353",
            "TCP 8443",
            "TCP 10993"
        ]
    );
}

#[test]
fn a_config_that_does_not_fit_into_one_job_or_into_a_config_map_says_so() {
    let fixture = |name: &str| root().join("fixtures/config/good").join(name);
    let kubernetes = |name: &str| {
        let path = fixture(name);
        let ran = run(&["generate", "kubernetes", "--config", path.to_str().unwrap()]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        ran.stderr
    };
    let several = kubernetes("whole.toml");
    assert!(
        several.contains("the probes have several schedules")
            && several.contains("`mailprobe generate kubernetes --serve`"),
        "{several}"
    );
    let literal = kubernetes("careless.toml");
    assert!(literal.contains("a secret stands in the file"), "{literal}");
}

#[test]
fn each_secret_of_the_same_name_has_a_key_of_its_own_that_the_output_explains() {
    let (_directory, path) = config_of(&with_files(""));
    let manifests = printed_for(&path, &["kubernetes"]);
    let comment = "\
# Yours to make: the Secret `mailprobe`, with these keys.
#   UPTIME_KUMA_PUSH_URL: variable UPTIME_KUMA_PUSH_URL
#   token-key: /etc/mailprobe/secrets/token-key
#   brevo-password: /run/secrets/brevo/password
#   imap-password: /run/secrets/imap/password
# Yours to make: the ConfigMap `mailprobe-files`, with these keys.
#   ca.pem: /etc/ssl/inside/ca.pem
";
    assert!(manifests.starts_with(comment), "{manifests}");
}

#[test]
fn the_secrets_from_vault_have_every_key_that_the_scheduler_asks_for() {
    let deploy = root().join("deploy/kubernetes");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
    let manifests = read("overlays/serve/mailprobe.yaml");
    let mut asked: Vec<&str> = manifests
        .lines()
        .filter_map(|line| line.strip_prefix("#   ")?.split_once(": variable "))
        .map(|(key, _)| key)
        .collect();
    asked.sort_unstable();
    assert!(asked.contains(&"MAILPROBE_API_TOKEN"), "{asked:?}");
    for form in ["json-map", "base64-json"] {
        let secret = read(&format!(
            "components/external-secrets/{form}/external-secret.yaml"
        ));
        let (_, data) = secret.split_once("\n      data:\n").unwrap();
        let (data, _) = data.split_once("\n  data:\n").unwrap();
        let mut made: Vec<&str> = data
            .lines()
            .filter_map(|line| Some(line.trim().split_once(": ")?.0))
            .collect();
        made.sort_unstable();
        assert_eq!(made, asked, "{form}");
    }
}

/// The example with files in several directories, one of them below the config's.
fn with_files(settings: &str) -> String {
    let config = generate::EXAMPLE_CONFIG
        .replace(
            "#token_key = { env = \"MAILPROBE_TOKEN_KEY\" }",
            "token_key = { file = \"/etc/mailprobe/secrets/token-key\" }",
        )
        .replace(
            "{ env = \"BREVO_API_KEY\" }",
            "{ file = \"/run/secrets/brevo/password\" }",
        )
        .replace(
            "{ env = \"EMAIL_MONITOR_IMAP_PASSWORD\" }",
            "{ file = \"/run/secrets/imap/password\" }\nca_file = \"/etc/ssl/inside/ca.pem\"",
        );
    format!("{config}{settings}")
}

/// Each directory that a container has mounted, with what is mounted there, in words without their indent.
fn mounted(manifests: &str) -> Vec<(String, String)> {
    let (_, mounts) = manifests.split_once(" volumeMounts:\n").unwrap();
    let (mounts, volumes) = mounts.split_once(" volumes:\n").unwrap();
    let (volumes, _) = volumes.split_once("---\n").unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let volumes = words(volumes);
    let volumes: Vec<&str> = volumes.split("- name: ").skip(1).collect();
    let mounts = words(mounts);
    let mounts: Vec<&str> = mounts.split("- name: ").skip(1).collect();
    assert_eq!(mounts.len(), volumes.len(), "{manifests}");
    let found = mounts.iter().map(|mount| {
        let (name, path) = mount.split_once(" mountPath: ").unwrap();
        let volume = volumes
            .iter()
            .find_map(|volume| volume.strip_prefix(name)?.strip_prefix(' '));
        (path.trim().to_owned(), volume.unwrap().trim().to_owned())
    });
    found.collect()
}

#[test]
fn files_are_mounted_by_whole_directories_so_that_a_renewed_secret_reaches_the_pod() {
    let serve = "[serve]\nlisten = \"0.0.0.0:9000\"\nstate_dir = \"/var/lib/history\"\n";
    let (_directory, path) = config_of(&with_files(serve));
    let job = printed_for(&path, &["kubernetes"]);
    let scheduler = printed_for(&path, &["kubernetes", "--serve"]);
    let read_only = |path: &str| format!("{path} readOnly: true");
    let files = [
        (
            read_only("/etc/mailprobe"),
            "projected: sources: \
             - configMap: name: mailprobe items: - key: mailprobe.toml path: mailprobe.toml \
             - secret: name: mailprobe items: - key: token-key path: secrets/token-key",
        ),
        (
            read_only("/etc/ssl/inside"),
            "projected: sources: - configMap: name: mailprobe-files items: - key: ca.pem path: ca.pem",
        ),
        (
            read_only("/run/secrets/brevo"),
            "projected: sources: - secret: name: mailprobe items: - key: brevo-password path: password",
        ),
        (
            read_only("/run/secrets/imap"),
            "projected: sources: - secret: name: mailprobe items: - key: imap-password path: password",
        ),
    ];
    let files: Vec<_> = files
        .into_iter()
        .map(|(path, volume)| (path, volume.to_owned()))
        .collect();
    assert_eq!(mounted(&job), files);
    let history = ("/var/lib/history".to_owned(), "emptyDir: {}".to_owned());
    assert_eq!(mounted(&scheduler), [files, vec![history]].concat());
    for manifests in [job, scheduler] {
        assert!(!manifests.contains("subPath"), "{manifests}");
    }
}

/// Where nothing is a variable, and nothing comes in: what could leave lists empty.
const SECRETS_IN_FILES: &str = r#"
[[probe]]
name = "p"
sender = "s"
mailbox = "m"
to = "a@example.org"
schedule = "SCHEDULE"
[sender.s]
type = "brevo"
api_key = { file = "/run/secrets/brevo" }
from = "b@example.org"
[mailbox.m]
type = "imap"
host = "mail.example.org"
username = "a@example.org"
password = { file = "/run/secrets/imap" }
[serve]
listen = "0.0.0.0:9797"
"#;

#[test]
fn no_object_has_an_empty_list_which_terraform_would_take_for_a_fault_of_the_cluster() {
    let config = SECRETS_IN_FILES.replace("SCHEDULE", "*/20 * * * *");
    let (_directory, path) = config_of(&config);
    for arguments in [&["kubernetes"][..], &["kubernetes", "--serve"]] {
        let manifests = printed_for(&path, arguments);
        assert!(manifests.contains("kind: NetworkPolicy\n"), "{manifests}");
        assert!(!manifests.contains("[]"), "{manifests}");
    }
    // Nothing comes in to a job: the policy is about what comes in, and lets in nothing.
    let manifests = printed_for(&path, &["kubernetes"]);
    assert!(manifests.contains("    - Ingress\n"), "{manifests}");
    assert!(!manifests.contains("ingress:"), "{manifests}");
    let (_directory, serving) = serving();
    for manifests in [
        generated(&["kubernetes"]),
        printed_for(&serving, &["kubernetes", "--serve"]),
    ] {
        // The example's own, in the ConfigMap, are comments.
        let lines = manifests.lines().map(str::trim);
        let empty: Vec<&str> = lines
            .filter(|line| line.contains("[]") && !line.starts_with('#'))
            .collect();
        assert_eq!(empty, Vec::<&str>::new());
    }
}

#[test]
fn the_job_runs_when_the_config_says_also_where_kubernetes_reads_crontabs_otherwise() {
    let with = |schedule: &str| config_of(&SECRETS_IN_FILES.replace("SCHEDULE", schedule));
    let (_directory, path) = with("0 6 * * 5-7\"\ntimezone = \"Europe/Berlin");
    let manifests = printed_for(&path, &["kubernetes"]);
    let expected = "  schedule: \"0 6 * * 0,5,6\"\n  timeZone: Europe/Berlin\n";
    assert!(manifests.contains(expected), "{manifests}");

    let (_directory, path) = with("0 6 */2 * 5");
    let all = ["generate", "kubernetes", "--config", path.to_str().unwrap()];
    let ran = run(&all);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    let said = "`schedule = \"0 6 */2 * 5\"` asks for days of the month that are also such weekdays, and a CronJob \
                would run on either\nhint: make one of the two fields `*`, or have";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    // The scheduler is ours.
    printed_for(&path, &["kubernetes", "--serve"]);
}

#[test]
fn the_pods_run_the_image_that_is_named_or_the_one_of_this_version() {
    let (_directory, serving) = serving();
    let image = "registry.example.org:5000/mailprobe@sha256:5ae1";
    for arguments in [&["kubernetes"][..], &["kubernetes", "--serve"]] {
        let manifests = printed_for(&serving, arguments);
        // With a version, the cluster takes the image that a node has already; `latest` it would always pull.
        let own = concat!(" image: \"mailprobe:", env!("CARGO_PKG_VERSION"), "\"\n");
        assert_eq!(manifests.matches(own).count(), 1, "{manifests}");
        let named = printed_for(&serving, &[arguments, &["--image", image]].concat());
        let there = format!(" image: \"{image}\"\n");
        assert_eq!(named, manifests.replace(own, &there));
    }
    let ran = run(&["generate", "kubernetes", "--image", ""]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
}

#[test]
fn the_deployment_has_port_and_history_of_the_config_and_another_config_makes_another_pod() {
    let printed = |settings: &str| {
        let (_directory, path) = config_of(&format!(
            "{}[serve]\ntoken = {{ env = \"API\" }}\n{settings}",
            generate::EXAMPLE_CONFIG
        ));
        printed_for(&path, &["kubernetes", "--serve"])
    };
    let count = |text: &str, part: &str| text.matches(part).count();
    let plain = printed("listen = \"0.0.0.0:9000\"\n");
    assert_eq!(count(&plain, "containerPort: 9000\n"), 1, "{plain}");
    // The Service's, and the way in through the network policy.
    assert_eq!(count(&plain, " port: 9000\n"), 2, "{plain}");
    assert_eq!(count(&plain, "kind: CronJob"), 0);
    assert_eq!(count(&plain, "key: API\n"), 1, "{plain}");
    assert_eq!(count(&plain, "emptyDir"), 0, "{plain}");
    let history = printed("listen = \"0.0.0.0:9000\"\nstate_dir = \"/var/lib/history\"\n");
    assert_eq!(count(&history, "mountPath: /var/lib/history\n"), 1);
    assert_eq!(count(&history, "emptyDir: {}\n"), 1, "{history}");
    let checksum = |text: &str| {
        let (_, rest) = text.split_once("checksum/config: ").unwrap();
        rest.split_once('\n')
            .unwrap()
            .0
            .trim_matches('"')
            .to_owned()
    };
    assert_eq!(checksum(&plain).len(), 64);
    assert_ne!(checksum(&plain), checksum(&history));
}

#[test]
fn a_config_that_a_pod_cannot_use_says_so() {
    let refused = |config: &str, arguments: &[&str]| {
        let (_directory, path) = config_of(config);
        let mut all = vec!["generate", "kubernetes", "--config", path.to_str().unwrap()];
        all.extend(arguments);
        let ran = run(&all);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{config}");
        ran.stderr
    };
    let example = generate::EXAMPLE_CONFIG;
    let relative = example
        .replace(
            "{ env = \"BREVO_API_KEY\" }",
            "{ file = \"secrets/rel\" }\nca_file = \"ca.pem\"",
        )
        .replace("#[serve]", "[serve]\nstate_dir = \"history\"");
    let said = refused(&relative, &[]);
    assert!(said.contains("pod: `secrets/rel`, `ca.pem`\n"), "{said}");
    assert!(said.contains("hint: write the whole path"), "{said}");
    let said = refused(&relative, &["--serve"]);
    assert!(
        said.contains("pod: `secrets/rel`, `ca.pem`, `history`\n"),
        "{said}"
    );
    // A mount would hide what the cluster has there, or lie within another, which is read-only.
    for unmountable in [
        "/password",
        "/etc/password",
        "/run/password",
        "/run/secrets/../password",
    ] {
        let file = format!("{{ file = \"{unmountable}\" }}");
        let said = refused(&example.replace("{ env = \"BREVO_API_KEY\" }", &file), &[]);
        assert!(said.contains(&format!("pod: `{unmountable}`\n")), "{said}");
    }
    for state in [
        "/run/secrets",
        "/run/secrets/history",
        "/etc/mailprobe/history",
    ] {
        let serve = format!("[serve]\nlisten = \"0.0.0.0:9000\"\nstate_dir = \"{state}\"");
        let config = example
            .replace(
                "{ env = \"BREVO_API_KEY\" }",
                "{ file = \"/run/secrets/key\" }",
            )
            .replace("#[serve]", &serve);
        let said = refused(&config, &["--serve"]);
        assert!(said.contains(&format!("pod: `{state}`\n")), "{said}");
        // The job has no history.
        let (_directory, path) = config_of(&config);
        printed_for(&path, &["kubernetes"]);
    }
    let said = refused(example, &["--serve"]);
    assert!(said.contains("listens on 127.0.0.1:9797"), "{said}");
    assert!(
        said.contains("hint: [serve] listen = \"0.0.0.0:9797\""),
        "{said}"
    );
}
