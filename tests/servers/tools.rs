//! What the tests run that is neither a server nor Debian's: kubectl, schemas of Kubernetes, Terraform,
//! Mermaid's parser.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `tests/tools/install` put it all.
#[track_caller]
pub fn directory() -> PathBuf {
    let directory = std::env::var_os("MAILPROBE_TOOLS")
        .expect("MAILPROBE_TOOLS is not set: `tests/run` installs kubectl, Node.js and schemas, and sets it");
    PathBuf::from(directory)
}

/// What one of the scripts beside the installer says about this text, line by line.
#[track_caller]
fn said(mut command: Command, text: &str) -> Vec<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tools")
        .join(name)
}

/// Runs a script of ours under Node.js, among the packages.
#[track_caller]
fn node(name: &str, text: &str) -> Vec<String> {
    let mut command = Command::new(directory().join("bin/node"));
    command
        .args(["--input-type=module", "--eval"])
        .arg(std::fs::read_to_string(script(name)).unwrap())
        .current_dir(directory());
    said(command, text)
}

/// Each object of this stream of YAML: its kind and `ok`, or its kind, `bad` and why.
#[track_caller]
pub fn verdicts_on_objects(yaml: &str) -> Vec<String> {
    // Debian's own: it has the packages python3-jsonschema and python3-yaml.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script("objects.py")).arg(directory());
    let (custom, mut verdicts): (Vec<String>, Vec<String>) = said(command, yaml)
        .into_iter()
        .partition(|line| line.contains(" no-schema "));
    let custom: String = custom
        .iter()
        .map(|line| format!("{}\n", line.split_once(" no-schema ").unwrap().1))
        .collect();
    verdicts.extend(node("resources.mjs", &custom));
    verdicts.sort();
    verdicts
}

/// Each Mermaid diagram of this text: its line and its type, or its line, `bad` and why.
#[track_caller]
pub fn verdicts_on_diagrams(markdown: &str) -> Vec<String> {
    node("diagrams.mjs", markdown)
}

/// The places of this dashboard that Grafana's own model does not keep.
#[track_caller]
pub fn unknown_to_grafana(dashboard: &str) -> Vec<String> {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script("dashboard.py")).arg(directory());
    said(command, dashboard)
}

/// What Terraform makes of this module and these manifests: a line about itself and the file, then an object a line.
#[cfg(target_arch = "x86_64")]
#[track_caller]
pub fn terraformed(module: &Path, manifests: &str, namespace: &str) -> Vec<String> {
    // Debian's own.
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(script("terraform.py"))
        .args([&directory(), module])
        .arg(namespace);
    said(command, manifests)
}

/// What a forge would find wrong with this workflow, and the workflow.
#[track_caller]
pub fn workflow(yaml: &str) -> (Vec<String>, serde_json::Value) {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script("workflow.py")).arg(directory());
    let mut lines = said(command, yaml);
    let workflow = serde_json::from_str(&lines.pop().unwrap()).unwrap();
    (lines, workflow)
}
