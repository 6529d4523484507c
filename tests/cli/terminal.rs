//! What is different on a terminal: colour, a live line, no push unless it is asked for, and Ctrl-C.

use crate::world::{Stage, wait_until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// `script` with a terminal of its own for a shell command.
fn terminal(command: &str) -> Command {
    let mut script = Command::new("script");
    script
        .args(["-qec", command, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("SHELL", "/bin/sh");
    script
}

/// Runs the program on a terminal of its own; what it showed there.
fn on_a_terminal(arguments: &str, no_colour: bool) -> String {
    let program = env!("CARGO_BIN_EXE_mailprobe");
    let mut command = terminal(&format!("{program} {arguments}"));
    command.stdin(Stdio::null());
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

/// Somebody who sits in front of a terminal on which a run waits for a message.
struct Seat {
    script: Child,
    shown: Arc<Mutex<String>>,
}

impl Seat {
    /// Starts the run between two looks at the terminal's settings, and the exit code behind it.
    fn before(arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_mailprobe");
        // The shell gets Ctrl-C as well, and stays.
        let command = format!(
            "trap : INT; stty -g; {program} {arguments}; echo \"ended with $?\"; stty -g; echo over"
        );
        let mut script = terminal(&command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = script.stdout.take().unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let seen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                seen.lock().unwrap().push_str(&text);
            }
        });
        Self { script, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn press_ctrl_c(&mut self) {
        let keys = self.script.stdin.as_mut().unwrap();
        keys.write_all(b"\x03").unwrap();
        keys.flush().unwrap();
    }

    #[track_caller]
    fn await_text(&self, text: &str) {
        wait_until(text, || self.shown().contains(text));
    }

    /// What is left to be seen once all is over, line by line: the terminal's own rules for CR and `ESC [ K` applied.
    #[track_caller]
    fn left(&mut self) -> Vec<String> {
        self.await_text("over\r\n");
        assert!(self.script.wait().unwrap().success());
        let shown = self.shown();
        shown
            .split('\n')
            .map(|line| {
                let line = line.strip_suffix('\r').unwrap_or(line);
                line.rsplit("\r\u{1b}[K").next().unwrap().to_owned()
            })
            .collect()
    }
}

/// A config whose message does not come for a long time, with its pushes going here.
fn waiting(stage: &Stage, gateway: Option<&TcpListener>) -> String {
    stage.world().brevo().state().hold = Duration::from_secs(3600);
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("url ")).unwrap();
    let url = gateway.map_or(line.to_owned(), |gateway| {
        format!("url  = \"http://{}\"", gateway.local_addr().unwrap())
    });
    let config = stage.config_with(&[
        ("late_after = \"2500ms\"", "late_after = \"5m\""),
        ("timeout    = \"4500ms\"", "timeout    = \"15m\""),
        (line, &url),
    ]);
    config.display().to_string()
}

/// That the live line is gone, and the terminal is set as it was.
#[track_caller]
fn assert_in_order(left: &[String]) {
    let all = left.join("\n");
    for live in [
        "| waiting for",
        "/ waiting for",
        "- waiting for",
        "\\ waiting for",
        "^C",
    ] {
        assert!(!all.contains(live), "{live} in {all}");
    }
    // Every colour that was begun is ended, and nothing else was asked of the terminal.
    let mut colours = all.split('\u{1b}').skip(1);
    while let Some(begun) = colours.next() {
        assert!(begun.starts_with("[3"), "{begun:?} in {all:?}");
        let ended = colours.next().unwrap_or_default();
        assert!(ended.starts_with("[0m"), "{ended:?} in {all:?}");
    }
    let settings: Vec<&String> = left
        .iter()
        .filter(|line| line.len() > 20 && line.chars().all(|c| c == ':' || c.is_ascii_hexdigit()))
        .collect();
    assert_eq!(settings.len(), 2, "{all}");
    assert_eq!(settings[0], settings[1]);
}

#[test]
fn ctrl_c_clears_the_live_line_and_prints_what_is_known_by_then() {
    let stage = Stage::new(None);
    let config = waiting(&stage, None);
    let mut seat = Seat::before(&format!("run --config {config}"));
    seat.await_text("waiting for the message");
    wait_until("the message is sent", || stage.sends() == 1);
    let begun = Instant::now();
    seat.press_ctrl_c();
    let left = seat.left();
    assert!(begun.elapsed() < Duration::from_secs(10), "{left:?}");
    assert_in_order(&left);
    let all = left.join("\n");
    assert!(all.contains("\nended with 130\n"), "{all}");
    assert!(
        all.contains("\ndemo: \u{1b}[33mundetermined\u{1b}[0m: "),
        "{all}"
    );
    assert!(all.contains("\n  cause: interrupted\n"), "{all}");
    // What Brevo knew of the message by then.
    assert!(all.contains("\n  evidence: "), "{all}");
    assert!(all.contains("\n  run: e2e-probe-"), "{all}");
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_leaves_no_live_line() {
    let stage = Stage::new(None);
    // A gateway that takes connections and says nothing: the push after the first one waits for it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = waiting(&stage, Some(&silent));
    let mut seat = Seat::before(&format!("run --push --config {config}"));
    seat.await_text("waiting for the message");
    wait_until("the message is sent", || stage.sends() == 1);
    seat.press_ctrl_c();
    let _connection = silent.accept().unwrap();
    let begun = Instant::now();
    seat.press_ctrl_c();
    let left = seat.left();
    assert!(begun.elapsed() < Duration::from_secs(2), "{left:?}");
    assert_in_order(&left);
    let all = left.join("\n");
    assert!(all.contains("\nended with 130\n"), "{all}");
    assert!(!all.contains("cause: "), "{all}");
}
