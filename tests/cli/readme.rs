//! The README against the program: its tables and the closed lists, its configs and the loader, its commands and their
//! options, its links and what is there.

use crate::world::run;
use mailprobe::probe::verdict::{CauseCode, Verdict};
use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The part of the README below this heading.
fn section(heading: &str) -> String {
    let text = readme();
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
    let code = std::fs::read_to_string(root().join("src/metrics.rs")).unwrap();
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

/// The text with its fenced blocks cut out, and these blocks: what each is of, and its text without its indent.
fn prose_and_blocks() -> (String, Vec<(String, String)>) {
    let mut prose = String::new();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for line in readme().lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (open.take(), fence) {
            (None, Some(kind)) => {
                let indent = line.len() - line.trim_start().len();
                open = Some((indent, kind.to_owned(), String::new()));
            }
            (None, None) => prose = prose + line + "\n",
            (Some((_, kind, text)), Some(_)) => blocks.push((kind, text)),
            (Some((indent, kind, text)), None) => {
                let line = line.get(indent..).unwrap_or_default();
                open = Some((indent, kind, text + line + "\n"));
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    (prose, blocks)
}

/// A part of a config made whole: beside a probe that works, and with one for each sender in it.
fn made_whole(part: &str) -> String {
    let smallest = root().join("fixtures/config/good/smallest.toml");
    let mut config = std::fs::read_to_string(smallest).unwrap() + part;
    for line in part.lines() {
        if let Some(rest) = line.strip_prefix("[sender.") {
            let name = rest.trim_end_matches(']');
            config += &format!(
                "[[probe]]\nname = \"{name}\"\nsender = \"{name}\"\nmailbox = \"spam\"\nto = \"smoke-test@example.org\"\n"
            );
        }
    }
    config
}

#[test]
fn the_configs_of_the_readme_are_good() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    for file in ["brevo-api-key", "imap-password"] {
        std::fs::write(secrets.join(file), "x".repeat(32)).unwrap();
    }
    let push_url = "https://kuma.example.org/api/push/AbCdEfGh";
    std::fs::write(secrets.join("uptime-kuma-push-url"), push_url).unwrap();
    let here = format!("{}/", directory.path().display());
    let (_, blocks) = prose_and_blocks();
    let mut checked = 0;
    for (_, block) in blocks.iter().filter(|(kind, _)| kind == "toml") {
        let config = if block.contains("[[probe]]") {
            block.clone()
        } else {
            made_whole(block)
        };
        let path = directory.path().join("mailprobe.toml");
        std::fs::write(&path, config.replace("/etc/mailprobe/", &here)).unwrap();
        let variable = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
        if let Err(error) = mailprobe::config::load(&path, &[], &variable) {
            panic!("{error}\n{config}");
        }
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

/// The arguments of every call of the program in the text and in its blocks, up to the first sign of the shell's.
fn calls() -> BTreeSet<Vec<String>> {
    let (prose, blocks) = prose_and_blocks();
    let spans = prose.split('`').skip(1).step_by(2);
    let lines = blocks.iter().flat_map(|(_, text)| text.lines());
    let commands = lines.filter_map(|line| line.strip_prefix("$ "));
    let mut calls = BTreeSet::new();
    for command in spans.chain(commands) {
        let command = command.strip_prefix("sudo ").unwrap_or(command);
        let Some(arguments) = command.strip_prefix("mailprobe ") else {
            continue;
        };
        let words = arguments.split_whitespace();
        let words = words.take_while(|word| !["|", ">", "<", "&&", "#"].contains(word));
        calls.insert(words.map(str::to_owned).collect());
    }
    calls
}

#[test]
fn every_command_of_the_readme_is_one_that_the_program_takes() {
    let calls = calls();
    assert!(calls.len() >= 20, "{calls:#?}");
    let mut refused = Vec::new();
    for call in calls {
        // What stands for a word of a closed list, or of a certain form.
        let mut arguments: Vec<&str> = call.iter().map(String::as_str).collect();
        for argument in &mut arguments {
            *argument = match *argument {
                "NAME" => "junked",
                "TOKEN" => "e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4",
                other => other,
            };
        }
        // Read like the rest, and then nothing is done.
        arguments.push("--help");
        let ran = run(&arguments);
        if ran.code != Some(0) {
            refused.push(format!("mailprobe {}: {}", call.join(" "), ran.stderr));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert_eq!(run(&["run", "--no-such", "--help"]).code, Some(2));
}

#[test]
fn what_the_readme_shows_of_inspect_is_what_it_says() {
    let (_, blocks) = prose_and_blocks();
    let shown = blocks
        .iter()
        .filter_map(|(_, text)| text.strip_prefix("$ mailprobe inspect "))
        .map(|text| text.split_once('\n').unwrap());
    let mut compared = 0;
    for (file, said) in shown {
        let path = root().join(file);
        let ran = run(&["inspect", path.to_str().unwrap()]);
        assert_eq!(ran.stdout, said, "{file}");
        compared += 1;
    }
    assert_eq!(compared, 1);
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|one| one.is_alphanumeric() || " -_".contains(*one))
        .map(|one| if one == ' ' { '-' } else { one })
        .collect()
}

#[test]
fn every_link_and_every_path_of_the_readme_leads_somewhere() {
    let (prose, blocks) = prose_and_blocks();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<String> = headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let mut nowhere = Vec::new();
    let mut followed = 0;
    for target in prose.split("](").skip(1) {
        let target = target.split(')').next().unwrap();
        let leads = match target.strip_prefix('#') {
            Some(place) => anchors.contains(place),
            None => root().join(target).exists(),
        };
        followed += 1;
        if !leads {
            nowhere.push(target.to_owned());
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    let in_blocks = blocks.iter().flat_map(|(_, text)| text.split_whitespace());
    for path in spans.chain(in_blocks) {
        let path = path.split_whitespace().next().unwrap_or_default();
        let is_ours = ["deploy/", "tests/", "fixtures/", "src/"]
            .iter()
            .any(|one| path.starts_with(one));
        if is_ours {
            followed += 1;
            if !root().join(path).exists() {
                nowhere.push(path.to_owned());
            }
        }
    }
    assert!(nowhere.is_empty(), "{nowhere:#?}");
    assert!(followed >= 20, "{followed}");
}
