//! What is different on a terminal: colour, a live line, and no push unless it is asked for.

use crate::world::Stage;
use std::process::Command;

/// Runs the program on a terminal of its own; what it showed there.
fn on_a_terminal(arguments: &str, no_colour: bool) -> String {
    let mut command = Command::new("script");
    let program = env!("CARGO_BIN_EXE_mailprobe");
    command
        .args(["-qec", &format!("{program} {arguments}"), "/dev/null"])
        .env_remove("NO_COLOR")
        .stdin(std::process::Stdio::null());
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_gets_colour_a_live_line_and_no_push_and_with_no_color_neither_of_the_first_two() {
    let stage = Stage::new(None);
    let arguments = format!("run --config {}", stage.config().display());
    let shown = on_a_terminal(&arguments, false);
    assert!(shown.contains("\u{1b}[32mdelivered\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("waiting for the message"), "{shown:?}");
    assert!(shown.contains("not pushed: a run by hand"), "{shown:?}");
    assert!(stage.world().gateway().requests().is_empty());

    let plain = on_a_terminal(&arguments, true);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(!plain.contains("waiting for"), "{plain:?}");

    let pushed = on_a_terminal(&format!("{arguments} --push"), true);
    assert!(!pushed.contains("not pushed"), "{pushed:?}");
    assert!(!stage.world().gateway().requests().is_empty());
}
