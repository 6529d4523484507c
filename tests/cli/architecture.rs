//! The lines that nothing else holds in a single crate.

use std::path::{Path, PathBuf};

fn sources(below: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|one| one == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(below), &mut found);
    assert!(!found.is_empty());
    found
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            // Test code may do what it wants.
            !(name.ends_with("_tests.rs") || ["tests.rs", "script.rs", "fake.rs"].contains(&name))
        })
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            (name, without_tests_and_comments(&text))
        })
        .collect()
}

/// What is compiled into the program: no `#[cfg(test)]` module, which stands last, and no comments.
fn without_tests_and_comments(text: &str) -> String {
    let begins_tests = |at: &usize| {
        let next = text[*at..].lines().nth(1).unwrap_or_default();
        next.contains("mod ") && next.ends_with('{')
    };
    let end = text
        .match_indices("#[cfg(test)]\n")
        .map(|(at, _)| at)
        .find(begins_tests);
    let code = &text[..end.unwrap_or(text.len())];
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_core_has_no_sockets_no_files_no_clock_and_no_chance() {
    for (name, code) in sources("src/probe") {
        for forbidden in [
            "tokio",
            "reqwest",
            "async_imap",
            "lettre::transport",
            "std::net",
            "std::fs",
            "std::env",
            "std::process",
            "::now()",
            "rand::",
            "SystemRandom",
            "tracing::",
        ] {
            assert!(!code.contains(forbidden), "{name} uses {forbidden}");
        }
        // It uses nothing else of ours but the secret's redacted form.
        for (at, _) in code.match_indices("crate::") {
            let used = &code[at + "crate::".len()..];
            assert!(
                used.starts_with("probe") || used.starts_with("secret"),
                "{name} uses crate::{}",
                used.split(';').next().unwrap()
            );
        }
    }
}

#[test]
fn metric_names_stand_in_one_file() {
    for (name, code) in sources("src") {
        if name == "src/metrics.rs" || name.starts_with("src/metrics/") {
            continue;
        }
        for prefix in mailprobe::metrics::PREFIXES {
            // Anywhere, as names stand within expressions, too.
            assert!(!code.contains(prefix), "{name} names a metric: {prefix}…");
        }
    }
}

#[test]
fn nothing_in_the_program_panics_on_purpose() {
    for (name, code) in sources("src") {
        for forbidden in [
            ".unwrap()",
            ".expect(",
            "panic!(",
            "todo!(",
            "unimplemented!(",
        ] {
            assert!(!code.contains(forbidden), "{name} has {forbidden}");
        }
    }
}

#[test]
fn only_main_ends_the_process() {
    for (name, code) in sources("src") {
        assert!(!code.contains("process::exit"), "{name}");
        assert!(!code.contains("process::abort"), "{name}");
    }
}
