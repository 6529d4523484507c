//! The README's tables against the closed lists of the program.

use mailprobe::probe::verdict::{CauseCode, Verdict};
use std::collections::BTreeSet;
use std::path::Path;

/// The part of the README below this heading.
fn section(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = text
        .find(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &text[start + 4..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    rest[..end].to_owned()
}

/// Every row: the names in its first cell, and its other cells.
fn rows(section: &str) -> Vec<(Vec<String>, Vec<String>)> {
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let names = cells.next().unwrap().split('`').skip(1).step_by(2);
            let names = names.map(str::to_owned).collect();
            (names, cells.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn every_verdict_and_every_cause_has_a_meaning_and_a_remedy() {
    let mut documented = BTreeSet::new();
    for (names, cells) in rows(&section("Verdicts and causes")) {
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(
            cells.len() >= 2 && cells.iter().all(|cell| !cell.is_empty()),
            "{names:?}: {cells:?}"
        );
        assert!(documented.insert(names[0].clone()), "{names:?} twice");
    }
    let verdicts = Verdict::ALL.iter().map(|one| one.name());
    let causes = CauseCode::ALL.iter().map(|one| one.name());
    let exists: BTreeSet<String> = verdicts
        .chain(causes)
        .chain(["none", "overdue"])
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, exists);
}

#[test]
fn every_metric_is_documented_with_type_occasion_and_meaning_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics.rs");
    let code = std::fs::read_to_string(path).unwrap();
    let exists: BTreeSet<String> = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: \""))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert!(exists.len() >= 17, "{exists:?}");
    let mut documented = BTreeSet::new();
    for (names, cells) in rows(&section("Metrics")) {
        assert_eq!(cells.len(), 3, "{names:?}: {cells:?}");
        for name in names {
            documented.insert(name.split('{').next().unwrap().to_owned());
        }
    }
    assert_eq!(documented, exists);
}

#[test]
fn the_configs_of_the_readme_are_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut checked = 0;
    for part in text.split("```toml\n").skip(1) {
        let block = part.split("```").next().unwrap();
        let indent = block.len() - block.trim_start_matches(' ').len();
        let config: String = block
            .lines()
            .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
            .collect();
        // Parts of a config that are shown alone are not meant to be read alone.
        if !config.contains("[[probe]]") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        for file in ["ca.pem", "submission"] {
            std::fs::write(directory.path().join(file), "x").unwrap();
        }
        let here = directory.path().display().to_string();
        let config = config
            .replace("/etc/mailprobe/", &format!("{here}/"))
            .replace("/run/secrets/", &format!("{here}/"));
        let path = directory.path().join("mailprobe.toml");
        std::fs::write(&path, &config).unwrap();
        let variable = |name: &str| {
            Some(match name {
                "UPTIME_KUMA_PUSH_URL" => "https://kuma.example.org/api/push/AbCdEfGh".to_owned(),
                _ => "0123456789abcdef0123456789abcdef".to_owned(),
            })
        };
        if let Err(error) = mailprobe::config::load(&path, &[], &variable) {
            panic!("{error}\n{config}");
        }
        checked += 1;
    }
    assert!(checked >= 1);
}
