//! The release workflow. No forge runs it here: everything that it names is looked at instead.

use crate::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn workflow() -> Value {
    let (faults, workflow) = tools::workflow(&text(".github/workflows/release.yml"));
    assert_eq!(faults, Vec::<String>::new());
    workflow
}

/// What its steps have under this key.
fn of_steps<'a>(workflow: &'a Value, key: &str) -> Vec<&'a str> {
    let jobs = workflow["jobs"].as_object().unwrap();
    jobs.values()
        .flat_map(|job| job["steps"].as_array().unwrap())
        .filter_map(|step| step[key].as_str())
        .collect()
}

/// What shellcheck says.
fn shellcheck(script: &str) -> String {
    let mut child = Command::new("shellcheck")
        .args(["--shell=bash", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_workflow_follows_the_forges_schema_and_a_fault_is_found() {
    workflow();
    let text = text(".github/workflows/release.yml");
    for (from, to) in [
        ("runs-on: ubuntu-24.04\n", "run-on: ubuntu-24.04\n"),
        ("timeout-minutes: 90\n", "continue-on-error: false\n"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(!tools::workflow(&bad).0.is_empty(), "{to}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn every_action_is_pinned_by_its_commit_and_none_gets_more_rights_than_it_needs() {
    let workflow = workflow();
    let actions = of_steps(&workflow, "uses");
    assert!(actions.len() >= 5, "{actions:?}");
    for action in actions {
        let (_, commit) = action.split_once('@').unwrap();
        let is_hexadecimal = commit.chars().all(|one| one.is_ascii_hexdigit());
        assert!(commit.len() == 40 && is_hexadecimal, "{action}");
    }
    assert_eq!(
        workflow["permissions"],
        serde_json::json!({ "contents": "read" })
    );
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let may_write = job["permissions"]["contents"] == "write";
        assert_eq!(may_write, name == "publish", "{name}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn every_step_is_a_sound_script_that_calls_what_is_there() {
    let workflow = workflow();
    let steps = of_steps(&workflow, "run");
    let mut called = BTreeSet::new();
    for step in &steps {
        assert_eq!(shellcheck(step), "", "{step}");
        // Such a value would be part of the script, whatever it says.
        assert!(!step.contains("${{"), "{step}");
        let words = step.split(|one: char| one.is_whitespace() || "\"'()".contains(one));
        let ours = ["deploy/", "tests/", ".ci/"];
        called.extend(words.filter(|word| ours.iter().any(|one| word.starts_with(one))));
    }
    assert_eq!(
        Vec::from_iter(&called),
        [
            &".ci/run",
            &"deploy/container/Containerfile",
            &"deploy/debian/build",
            &"deploy/release/deny.toml",
            &"deploy/release/reproducible",
        ]
    );
    for name in called {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        assert!(path.exists(), "{name}");
    }
    let all = steps.join("\n");
    for command in [
        "cargo deny --locked --config deploy/release/deny.toml check",
        "mailprobe.cdx.json",
        "sha256sum",
        "docker push",
        "imagetools create",
        "gh release create",
    ] {
        assert!(all.contains(command), "{command}");
    }
    let actions = of_steps(&workflow, "uses").join("\n");
    assert_eq!(
        actions.matches("actions/attest-build-provenance@").count(),
        2
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn what_ships_is_built_for_both_processors_with_the_toolchain_of_the_tests() {
    let workflow = workflow();
    for job in ["package", "image"] {
        let kinds = workflow["jobs"][job]["strategy"]["matrix"]["include"].as_array();
        let targets: Vec<&str> = kinds
            .unwrap()
            .iter()
            .map(|kind| kind["target"].as_str().unwrap())
            .collect();
        assert_eq!(
            targets,
            ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"],
            "{job}"
        );
    }
    let rust = env!("CARGO_PKG_RUST_VERSION");
    for job in ["check", "package"] {
        let image = &workflow["jobs"][job]["container"]["image"];
        assert_eq!(image, &format!("docker.io/library/rust:{rust}-bookworm"));
    }
    let recipe = text("deploy/container/Containerfile");
    assert!(recipe.contains(&format!("\nARG RUST={rust}\n")));
    let installer = text("tests/tools/install");
    let all = of_steps(&workflow, "run").join("\n");
    let (_, version) = installer.split_once(" cargo-deb@").unwrap();
    let version = version.split_whitespace().next().unwrap();
    assert!(all.contains(&format!("cargo install --locked cargo-deb@{version}")));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_policy_of_the_release_is_that_of_every_test_run() {
    let policy: toml::Table = text("deploy/release/deny.toml").parse().unwrap();
    let of = |section: &str, key: &str| policy[section][key].as_array().unwrap().clone();
    let licences = of("licenses", "allow");
    let banned = of("bans", "deny");
    let names = licences
        .iter()
        .chain(banned.iter().map(|one| &one["crate"]));
    let names: BTreeSet<String> = names.map(|one| one.as_str().unwrap().to_owned()).collect();
    let script = text(".ci/dependencies");
    let (_, lists) = script.split_once("\nBANNED = [").unwrap();
    let (lists, _) = lists.split_once("\nREGISTRY").unwrap();
    let quoted = lists.split('"').skip(1).step_by(2);
    assert_eq!(quoted.map(str::to_owned).collect::<BTreeSet<_>>(), names);
    assert!(names.len() > 10);
    assert_eq!(policy["sources"]["unknown-registry"].as_str(), Some("deny"));
    assert_eq!(policy["sources"]["unknown-git"].as_str(), Some("deny"));
}
