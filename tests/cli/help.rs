//! Help and version.

use crate::world::{program, run};
use std::path::Path;

/// Compares with a stored text; `MAILPROBE_BLESS=1` stores it.
#[track_caller]
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/output")
        .join(name);
    if std::env::var_os("MAILPROBE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, stored, "{name}; MAILPROBE_BLESS=1 stores what is new");
}

#[test]
fn the_version_is_that_of_the_package() {
    let ran = run(&["--version"]);
    let version = format!("mailprobe {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((ran.code, ran.stdout), (Some(0), version));
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_help_of_run_is_as_stored() {
    let ran = run(&["run", "--help"]);
    assert_eq!(ran.code, Some(0));
    compare("run-help.txt", &ran.stdout);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = run(&["--help"]).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for expected in ["run", "check", "demo"] {
        assert!(commands.contains(&expected), "{commands:?}");
    }
    for command in commands {
        let ran = run(&[command, "--help"]);
        assert_eq!(ran.code, Some(0), "{command}");
        assert_eq!(ran.stderr, "", "{command}");
        assert!(ran.stdout.contains("Examples:\n"), "{command}");
        assert!(ran.stdout.contains("Usage: mailprobe"), "{command}");
    }
}

/// The examples of every help, without what stands behind them: other programs, and words about them.
fn examples() -> Vec<Vec<String>> {
    let commands = [
        "run", "serve", "check", "find", "demo", "inspect", "generate",
    ];
    let helps = commands.map(|command| run(&[command, "--help"]).stdout);
    let all = helps.into_iter().chain([run(&["--help"]).stdout]);
    let mut examples = Vec::new();
    for help in all {
        let (_, lines) = help.split_once("Examples:\n").unwrap();
        for line in lines
            .lines()
            .filter(|line| line.starts_with("  mailprobe "))
        {
            // Two spaces and more stand before words.
            let command = line.trim_start().split("  ").next().unwrap();
            let words = command.split(' ').skip(1);
            let words = words.take_while(|word| !["|", ">", "<"].contains(word));
            examples.push(words.map(str::to_owned).collect());
        }
    }
    examples
}

#[test]
fn every_example_of_the_help_is_a_command_that_the_program_takes() {
    let examples = examples();
    assert!(examples.len() >= 25, "{examples:?}");
    for example in examples {
        let mut arguments: Vec<&str> = example.iter().map(String::as_str).collect();
        // All arguments are read before it, and then nothing is done.
        arguments.push("--help");
        let ran = run(&arguments);
        assert_eq!(ran.code, Some(0), "{example:?}: {}", ran.stderr);
    }
}

#[test]
fn help_has_no_colour_codes() {
    let mut command = program(&["--help"]);
    command.env("CLICOLOR_FORCE", "1");
    let help = command.output().unwrap().stdout;
    assert!(!help.contains(&0x1b));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong_on_stderr() {
    for (arguments, said) in [
        (&["run", "--frobnicate"][..], "'--frobnicate'"),
        (
            &["run", "--timeout", "soon"],
            "write it like 90s, 5m or 1h30m",
        ),
        (
            &["run", "--timeout", "5x"],
            "error: invalid value '5x' for '--timeout <DURATION>': is not a duration; write it like 90s, 5m or 1h30m\n",
        ),
        (&["run", "--timeout", "0s"], "must be at least 1s"),
        (&["run", "--timeout", "1ms"], "must be at least 1s"),
        (&["run", "--timeout", "2days"], "must be at most 24h"),
        (
            &["find", ""],
            "is empty; a whole token looks like e2e-probe-",
        ),
        (
            &["find", " "],
            "is empty; a whole token looks like e2e-probe-",
        ),
        (&["run", "--push", "--no-push"], "cannot be used with"),
        (
            &["run", "--output", "xml"],
            "possible values: text, json, nagios",
        ),
        (&["demo", "--fault", "no-such-fault"], "no-such-fault"),
        (&["frobnicate"], "'frobnicate'"),
        (&[], "Usage: mailprobe"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}
