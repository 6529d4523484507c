//! Everything below `deploy/`, given to the programs that read it in production.

use crate::common::{binary, process};
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

#[track_caller]
fn generated(arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .arg("generate")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn promtool_and_amtool_find_nothing_wrong_with_the_rules() {
    for rules in ["mailprobe.rules.yml", "mailprobe-old-names.rules.yml"] {
        let file = deploy("prometheus").join(rules);
        let said = process::run(Command::new("promtool").args(["check", "rules"]).arg(file));
        assert!(said.contains("13 rules found"), "{said}");
    }
    let directory = tempfile::tempdir().unwrap();
    let readme = std::fs::read_to_string(deploy("../README.md")).unwrap();
    let (_, scrape) = readme
        .split_once("```yaml\nscrape_configs:\n  - job_name: mailprobe\n")
        .unwrap();
    let (scrape, _) = scrape.split_once("```").unwrap();
    let config = directory.path().join("prometheus.yml");
    let text = format!("scrape_configs:\n  - job_name: mailprobe\n{scrape}");
    std::fs::write(&config, text).unwrap();
    let said = process::run(
        Command::new("promtool")
            .args(["check", "config"])
            .arg(config),
    );
    assert!(
        said.contains("is valid prometheus config file syntax"),
        "{said}"
    );
    let config = directory.path().join("alertmanager.yml");
    let inhibitions = std::fs::read_to_string(deploy("prometheus/alertmanager-inhibitions.yml"));
    let text = format!(
        "route: {{ receiver: a }}\nreceivers: [{{ name: a }}]\n{}",
        inhibitions.unwrap()
    );
    std::fs::write(&config, text).unwrap();
    let said = process::run(Command::new("amtool").arg("check-config").arg(config));
    assert!(said.contains("5 inhibit rules"), "{said}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn systemd_rates_the_units_as_safe() {
    for unit in ["mailprobe.service", "mailprobe-run.service"] {
        // In tenths: 2.0.
        process::run(
            Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--threshold=20"])
                .arg(deploy("systemd").join(unit)),
        );
    }
    let mut text = std::fs::read_to_string(deploy("systemd/mailprobe-run.timer")).unwrap();
    text += &std::fs::read_to_string(deploy("../README.md")).unwrap();
    let calendars = text
        .lines()
        .filter_map(|line| line.strip_prefix("OnCalendar="));
    // The unit's own, and the README's for another schedule, which has an empty one before it.
    let calendars: Vec<&str> = calendars.filter(|one| !one.is_empty()).collect();
    assert_eq!(calendars.len(), 2, "{calendars:?}");
    for calendar in calendars {
        process::run(Command::new("systemd-analyze").args(["calendar", calendar]));
    }
}

#[track_caller]
fn rendered_in(directory: &Path) -> String {
    process::run(
        Command::new(tools::directory().join("bin/kubectl"))
            .arg("kustomize")
            .arg(directory),
    )
}

#[track_caller]
fn rendered(name: &str) -> String {
    rendered_in(&deploy("kubernetes").join(name))
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn kustomize_renders_base_and_overlays_and_every_object_follows_its_schema() {
    let verdicts = |name: &str| tools::verdicts_on_objects(&rendered(name)).join(", ");
    assert_eq!(
        verdicts("base"),
        "ConfigMap ok, CronJob ok, NetworkPolicy ok, ServiceAccount ok"
    );
    assert_eq!(
        verdicts("overlays/serve"),
        "ConfigMap ok, Deployment ok, NetworkPolicy ok, PodDisruptionBudget ok, Service ok, ServiceAccount ok, \
         ServiceMonitor ok"
    );
    assert_eq!(
        verdicts("overlays/prometheus-operator"),
        "ConfigMap ok, CronJob ok, NetworkPolicy ok, PrometheusRule ok, ServiceAccount ok"
    );
    for form in ["json-map", "base64-json"] {
        assert_eq!(
            verdicts(&format!("overlays/external-secrets/{form}")),
            "ConfigMap ok, CronJob ok, ExternalSecret ok, NetworkPolicy ok, ServiceAccount ok"
        );
    }
}

/// `deploy/kubernetes` in a directory of its own, as somebody copies it, and an empty `mine` beside it.
fn copied() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let source = deploy("kubernetes");
    process::run(
        Command::new("cp")
            .arg("-r")
            .arg(source)
            .arg(directory.path()),
    );
    std::fs::create_dir(directory.path().join("mine")).unwrap();
    directory
}

#[track_caller]
fn combined(directory: &Path, kustomization: &str) -> String {
    let mine = directory.join("mine");
    std::fs::write(mine.join("kustomization.yaml"), kustomization).unwrap();
    rendered_in(&mine)
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_components_go_together_on_the_cron_job_and_on_the_scheduler() {
    let directory = copied();
    let jobs = "ConfigMap ok, CronJob ok, ExternalSecret ok, NetworkPolicy ok, PrometheusRule ok, ServiceAccount ok";
    let scheduler = "ConfigMap ok, Deployment ok, ExternalSecret ok, NetworkPolicy ok, PodDisruptionBudget ok, \
                     PrometheusRule ok, Service ok, ServiceAccount ok, ServiceMonitor ok";
    for (resources, expected) in [("base", jobs), ("overlays/serve", scheduler)] {
        for form in ["json-map", "base64-json"] {
            let text = combined(
                directory.path(),
                &format!(
                    "resources: [../kubernetes/{resources}]\ncomponents:\n\
                     - ../kubernetes/components/prometheus-operator\n\
                     - ../kubernetes/components/external-secrets/{form}\n"
                ),
            );
            let verdicts = tools::verdicts_on_objects(&text).join(", ");
            assert_eq!(verdicts, expected, "{resources} {form}");
        }
    }
}

/// With the ways of a config that are none of the example's: files for secrets, a CA, another port.
const OTHER_CONFIG: &str = r#"
token_key = { file = "/run/secrets/token/key" }
[[probe]]
name = "inside"
sender = "inside"
mailbox = "m"
to = "a@example.org"
[sender.inside]
type = "smtp"
host = "mail.example.org"
username = "b@example.org"
password = { file = "/run/secrets/submission/password" }
from = "b@example.org"
ca_file = "/etc/mailprobe/ca.pem"
[mailbox.m]
type = "imap"
host = "mail.example.org"
username = "a@example.org"
password = { file = "/run/secrets/imap/password" }
[serve]
listen = "[::]:9000"
state_dir = "/var/lib/mailprobe"
token = { env = "API" }
"#;

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_readmes_combination_is_rendered_with_what_is_generated_from_an_own_config() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, example) = readme
        .split_once("```yaml\n# mine/kustomization.yaml\n")
        .unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let directory = copied();
    let config = directory.path().join("mailprobe.toml");
    std::fs::write(&config, OTHER_CONFIG).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    for (command, file) in [
        (&["kubernetes", "--serve"][..], "mailprobe.yaml"),
        (&["prometheus-rules", "--operator"], "rules.yaml"),
    ] {
        assert!(
            readme.contains(&format!(
                "mailprobe generate {} > mine/{file}",
                command.join(" ")
            )),
            "{file}"
        );
        let text = generated(&[command, &config].concat());
        std::fs::write(directory.path().join("mine").join(file), text).unwrap();
    }
    let text = combined(directory.path(), example);
    assert_eq!(
        tools::verdicts_on_objects(&text).join(", "),
        "ConfigMap ok, Deployment ok, ExternalSecret ok, NetworkPolicy ok, PodDisruptionBudget ok, PrometheusRule ok, \
         Service ok, ServiceAccount ok, ServiceMonitor ok"
    );
    let pushed = concat!("registry.example.org/mailprobe:", env!("CARGO_PKG_VERSION"));
    assert!(readme.contains(&format!("\n$ docker push {pushed}\n")));
    let image = format!("image: {pushed}\n");
    // On every object, and in no selector: those of a Deployment cannot be changed.
    let labelled = text.matches("    release: kube-prometheus-stack\n").count();
    assert_eq!(
        (labelled, text.matches("\nkind: ").count()),
        (9, 9),
        "{text}"
    );
    for part in [
        image.as_str(),
        "- key: submission-password\n                path: password\n",
        "- key: imap-password\n                path: password\n",
        "- key: ca.pem\n                path: ca.pem\n",
        "containerPort: 9000\n",
        "namespace: monitoring\n",
    ] {
        assert!(text.contains(part), "{part}{text}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn each_component_alone_goes_with_what_is_generated() {
    let directory = copied();
    let config = deploy("mailprobe.toml");
    let manifests = generated(&["kubernetes", "--config", config.to_str().unwrap()]);
    std::fs::write(directory.path().join("mine/mailprobe.yaml"), manifests).unwrap();
    for (component, kind) in [
        ("components/prometheus-operator", "PrometheusRule ok"),
        ("components/service-monitor", "ServiceMonitor ok"),
        ("components/external-secrets/json-map", "ExternalSecret ok"),
        (
            "components/external-secrets/base64-json",
            "ExternalSecret ok",
        ),
    ] {
        let text = combined(
            directory.path(),
            &format!("resources: [mailprobe.yaml]\ncomponents: [../kubernetes/{component}]\n"),
        );
        let verdicts = tools::verdicts_on_objects(&text);
        assert!(
            verdicts.contains(&kind.to_owned()),
            "{component}: {verdicts:?}"
        );
        assert_eq!(verdicts.len(), 5, "{component}: {verdicts:?}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_fault_in_an_object_is_found_by_its_schema() {
    let faults = [
        (
            "base",
            "backoffLimit: 0",
            "backofLimit: 0",
            "CronJob bad spec/jobTemplate/spec",
        ),
        (
            "overlays/serve",
            "port: http\n",
            "port: 9797\n",
            "ServiceMonitor bad data/spec/endpoints/0/port",
        ),
        (
            "overlays/prometheus-operator",
            "expr:",
            "expression:",
            "PrometheusRule bad data/spec/groups/0/rules/0",
        ),
        (
            "overlays/external-secrets/json-map",
            "remoteRef:",
            "remote:",
            "ExternalSecret bad data/spec/data/0",
        ),
    ];
    for (name, from, to, expected) in faults {
        let good = rendered(name);
        let text = good.replace(from, to);
        assert_ne!(text, good, "{name}");
        let verdicts = tools::verdicts_on_objects(&text);
        assert!(
            verdicts.iter().any(|one| one.starts_with(expected)),
            "{name}: {verdicts:#?}"
        );
    }
}

// It is not to be had for other machines.
#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "needs servers: run tests/run"]
fn terraform_makes_the_same_objects_in_the_namespace_that_it_is_told() {
    let config = deploy("mailprobe.toml");
    let image = "registry.example.org/mailprobe@sha256:5ae1";
    let config = ["--config", config.to_str().unwrap(), "--image", image];
    let manifests = generated(&[&["kubernetes"][..], &config].concat());
    let mut lines = tools::terraformed(&deploy("terraform"), &manifests, "monitoring");
    assert_eq!(lines.remove(0), "terraform 1.15.5 formatted None");
    let objects = lines.join("\n---\n");
    assert_eq!(
        tools::verdicts_on_objects(&objects).join(", "),
        "ConfigMap ok, CronJob ok, NetworkPolicy ok, ServiceAccount ok"
    );
    for line in &lines {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["metadata"]["namespace"], "monitoring", "{line}");
        if object["kind"] == "CronJob" {
            let pod = &object["spec"]["jobTemplate"]["spec"]["template"]["spec"];
            assert_eq!(pod["containers"][0]["image"], image, "{line}");
        }
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn mermaid_parses_every_diagram_of_the_readme() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let blocks = text.lines().filter(|line| line.starts_with("```mermaid"));
    let blocks = blocks.count();
    let verdicts = tools::verdicts_on_diagrams(&text);
    assert!(blocks >= 4 && verdicts.len() == blocks, "{verdicts:#?}");
    let bad: Vec<&String> = verdicts
        .iter()
        .filter(|one| one.contains(" bad "))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");

    let verdicts = tools::verdicts_on_diagrams("\n```mermaid\nflowchart LR\n  a --> [b\n```\n");
    assert!(
        verdicts.len() == 1 && verdicts[0].starts_with("2 bad "),
        "{verdicts:?}"
    );
}

/// Whether `jsonschema` takes each config, as `NAME true` or `NAME false` a line; what is no TOML is left out.
const VALIDATE: &str = "
import json, pathlib, sys, tomllib, jsonschema
schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    try:
        config = tomllib.loads(pathlib.Path(path).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        continue
    print(pathlib.Path(path).stem, validator.is_valid(config))
";

/// What the program says of faults of shape; the others are of meaning, which a schema cannot know.
const FAULTS_OF_SHAPE: [&str; 7] = [
    "there is no key `",
    "there is no [[probe]]",
    ", expected a",
    "` is missing\n",
    "is none of",
    "is no secret",
    "go together",
];

fn configs(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/config")
        .join(kind);
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|one| one == "toml"))
        .collect();
    files.sort();
    files
}

fn validated(kind: &str) -> Vec<(String, bool)> {
    let directory = tempfile::tempdir().unwrap();
    let schema = directory.path().join("schema.json");
    std::fs::write(&schema, generated(&["schema"])).unwrap();
    // Debian's own: it has the package python3-jsonschema.
    let said = process::run(
        Command::new("/usr/bin/python3")
            .args(["-c", VALIDATE])
            .arg(schema)
            .args(configs(kind)),
    );
    said.lines()
        .map(|line| {
            let (name, is_valid) = line.split_once(' ').unwrap();
            (name.to_owned(), is_valid == "True")
        })
        .collect()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_schema_takes_every_good_config() {
    let good = validated("good");
    assert!(good.len() >= 5);
    let refused: Vec<_> = good.iter().filter(|(_, is_valid)| !is_valid).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_schema_refuses_every_config_whose_shape_is_bad() {
    let bad = validated("bad");
    let message = |name: &str| {
        let file = format!("fixtures/config/bad/{name}.txt");
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
    };
    let shapeless: Vec<&(String, bool)> = bad
        .iter()
        .filter(|(name, _)| {
            let message = message(name);
            FAULTS_OF_SHAPE.iter().any(|fault| message.contains(fault))
        })
        .collect();
    assert!(
        shapeless.len() >= 25,
        "only {} of {}",
        shapeless.len(),
        bad.len()
    );
    let taken: Vec<&str> = shapeless
        .iter()
        .filter(|(_, is_valid)| *is_valid)
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(taken.is_empty(), "{taken:?}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn each_shell_reads_its_completions() {
    let directory = tempfile::tempdir().unwrap();
    // Each reads the file as a script and runs nothing of it.
    for shell in ["bash", "zsh", "fish"] {
        let script = directory.path().join(shell);
        std::fs::write(&script, generated(&["completions", shell])).unwrap();
        process::run(Command::new(shell).arg("-n").arg(&script));
        std::fs::write(&script, "if (").unwrap();
        let fault = Command::new(shell).arg("-n").arg(&script).output().unwrap();
        assert!(!fault.status.success(), "{shell} finds no fault");
    }
}

/// What a shell offers for the beginning of a command, when it has read the completions for it.
#[track_caller]
fn offered(shell: &str, ask: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("completions");
    std::fs::write(&script, generated(&["completions", shell])).unwrap();
    let source = format!("source {}\n{ask}", script.display());
    process::run(Command::new(shell).args(["-c", &source]))
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn bash_and_fish_complete_a_command_of_a_command() {
    let bash = "COMP_WORDS=(mailprobe generate pro) COMP_CWORD=2
        _mailprobe mailprobe pro generate; echo ${COMPREPLY[*]}";
    assert_eq!(offered("bash", bash), "prometheus-rules\n");
    let fish = offered("fish", "complete -C 'mailprobe generate pro'");
    assert!(fish.starts_with("prometheus-rules\t"), "{fish}");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn mandoc_and_groff_read_every_page_of_the_manual() {
    let help = Command::new(binary()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help");
    let mut pages = vec![generated(&["man"])];
    pages.extend(names.map(|name| generated(&["man", name])));
    assert_eq!(pages.len(), 8);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page.1");
    for page in pages {
        std::fs::write(&file, &page).unwrap();
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(&file)
            .output()
            .expect("mandoc is there: tests/run installs it");
        // Line breaks beside gaps are how clap_mangen writes; they do nothing.
        let said = String::from_utf8(lint.stdout).unwrap();
        let faults: Vec<&str> = said
            .lines()
            .filter(|line| {
                !line.contains("skipping paragraph macro: br ") && !line.contains("missing date")
            })
            .collect();
        assert!(faults.is_empty(), "{faults:#?}\n{page}");
        let said = process::run(
            Command::new("groff")
                .args(["-man", "-ww", "-z", "-Tutf8"])
                .arg(&file),
        );
        assert_eq!(said, "", "{page}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_bill_of_materials_names_what_is_linked_with_licence_and_checksum() {
    let script = deploy("release/sbom");
    let root = env!("CARGO_MANIFEST_DIR");
    let text = process::run(Command::new(&script).current_dir(root));
    let bill: serde_json::Value = serde_json::from_str(&text).unwrap();
    let components = bill["components"].as_array().unwrap();
    let names: Vec<&str> = components
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"rustls") && names.contains(&"tokio"),
        "{names:?}"
    );
    // Of tests alone.
    assert!(
        !names.contains(&"proptest") && !names.contains(&"insta"),
        "{names:?}"
    );
    for one in components {
        assert_eq!(one["hashes"][0]["alg"], "SHA-256", "{one}");
        assert_ne!(one["licenses"][0]["expression"], "NOASSERTION", "{one}");
    }
}
