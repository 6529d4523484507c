//! What a person reads whose config is wrong, whole. Nothing is sent then.

use crate::world::{Stage, program, run};

#[test]
fn without_a_config_the_places_are_named_where_one_was_looked_for() {
    let ran = run(&["run"]);
    assert_eq!(
        ran.stderr,
        "error: no config found: looked for `mailprobe.toml` and `/etc/mailprobe/mailprobe.toml`\n\
         hint: name one with --config FILE, or begin with `mailprobe generate config > mailprobe.toml`; `mailprobe demo` needs none\n"
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
}

#[test]
fn a_config_that_is_not_there_is_named_with_what_the_system_says() {
    for command in ["run", "check"] {
        let ran = run(&[command, "--config", "/nowhere/mailprobe.toml"]);
        assert_eq!(
            ran.stderr,
            "error: cannot read the config `/nowhere/mailprobe.toml`: No such file or directory (os error 2)\n"
        );
        assert_eq!(ran.code, Some(2));
    }
}

#[test]
fn the_config_named_wins_over_the_variable_and_that_over_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, "wrong = true\n").unwrap();
        path
    };
    write("mailprobe.toml");
    let from_variable = write("variable.toml");
    let named = write("named.toml");
    let said = |arguments: &[&str], variable: bool| {
        let mut command = program(arguments);
        command.current_dir(directory.path());
        if variable {
            command.env("MAILPROBE_CONFIG", &from_variable);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let named = named.to_str().unwrap();
    assert!(said(&["run", "--config", named], true).contains("named.toml:1:"));
    assert!(said(&["run"], true).contains("variable.toml:1:"));
    assert!(said(&["run"], false).contains("error: mailprobe.toml:1:"));
}

#[test]
fn an_unset_variable_is_an_error_before_anything_is_sent() {
    let stage = Stage::new(None);
    let file = format!(
        "{{ file = \"{}/brevo-api-key\" }}",
        stage.directory().display()
    );
    let config = stage.config_with(&[(&file, "{ env = \"NOT_SET_ANYWHERE\" }")]);
    let ran = run(&["run", "--config", config.to_str().unwrap()]);
    let text = std::fs::read_to_string(&config).unwrap();
    let line = 1 + text
        .lines()
        .position(|one| one.starts_with("api_key"))
        .unwrap();
    assert_eq!(
        ran.stderr,
        format!(
            "error: {}:{line}: sender `brevo`: `api_key` comes from variable `NOT_SET_ANYWHERE`, which is not set\n",
            config.display()
        )
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(stage.world().brevo().state().requests.is_empty());
    assert!(stage.world().gateway().requests().is_empty());
    assert!(stage.world().kuma().requests().is_empty());
}

#[test]
fn every_fault_of_a_config_is_told_in_one_go() {
    let stage = Stage::new(None);
    let config = stage.config_with(&[
        ("late_after = \"2500ms\"", "late_after = \"soon\""),
        ("sender     = \"brevo\"", "sender     = \"brevvo\""),
        ("tls_server_name", "tls_servername"),
    ]);
    let ran = run(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stderr);
    for (line, said) in lines.iter().zip(["brevvo", "soon", "tls_servername"]) {
        assert!(line.starts_with("error: ") && line.contains(said), "{line}");
    }
}

#[test]
fn an_unknown_probe_is_wrong_usage_and_names_those_that_there_are() {
    let stage = Stage::new(None);
    let ran = stage.run(&["demmo"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.stderr,
        format!(
            "error: {}: there is no probe `demmo`; there are: demo\n",
            stage.config().display()
        )
    );
}

#[test]
fn a_fault_of_the_config_is_one_line_and_unknown_to_nagios() {
    let ran = run(&["run", "--output", "nagios", "--config", "/nowhere/x.toml"]);
    assert_eq!(
        ran.stdout,
        "MAILPROBE UNKNOWN - error: cannot read the config `/nowhere/x.toml`: No such file or directory (os error 2)\n"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""));
}

#[test]
fn a_ca_file_without_a_certificate_is_named_at_every_line_that_names_it() {
    let stage = Stage::new(None);
    std::fs::write(stage.directory().join("ca.pem"), "no certificate\n").unwrap();
    let ran = stage.run(&[]);
    let config = stage.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let parts = ["sender `brevo`", "mailbox `spam`"];
    let lines = text.lines().enumerate();
    let expected: String = lines
        .filter(|(_, line)| line.starts_with("ca_file"))
        .zip(parts)
        .map(|((index, _), part)| {
            format!(
                "error: {}:{}: {part}: `ca_file = \"{}/ca.pem\"` cannot be used: it holds no PEM certificate\n",
                config.display(),
                index + 1,
                stage.directory().display()
            )
        })
        .collect();
    assert_eq!(expected.lines().count(), 2, "{text}");
    assert_eq!(ran.stderr, expected);
    assert_eq!(ran.code, Some(2));
}
