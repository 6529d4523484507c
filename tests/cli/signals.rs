//! SIGTERM and SIGINT: the wait ends, what is known is pushed, nobody is paged.

use crate::serve::Serving;
use crate::world::{Gate, Stage, finish, program, signal, wait_until};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A run whose message does not come for a long time.
fn waiting(stage: &Stage) -> Child {
    stage.world().brevo().state().hold = Duration::from_secs(3600);
    let config = stage.config_with(&[
        ("late_after = \"2500ms\"", "late_after = \"5m\""),
        ("timeout    = \"4500ms\"", "timeout    = \"15m\""),
    ]);
    let config = config.to_str().unwrap();
    let child = program(&["run", "--output", "json", "--config", config])
        .spawn()
        .unwrap();
    wait_until("the message is sent", || stage.sends() == 1);
    child
}

#[test]
fn a_signal_during_the_wait_ends_it_and_touches_verdict_and_cause_alone() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let stage = Stage::new(None);
        let child = waiting(&stage);
        let begun = Instant::now();
        signal(child.id(), name);
        let ran = finish(child);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(ran.code, Some(code));
        let report = ran.report();
        assert_eq!(report["verdict"], "undetermined");
        assert_eq!(report["cause"]["code"], "interrupted");
        let pushed = stage.pushed();
        let mut names: Vec<&str> = pushed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split('{').next().unwrap())
            .collect();
        names.dedup();
        assert_eq!(names, ["mailprobe_cause", "mailprobe_verdict"]);
        assert!(pushed.contains("mailprobe_cause{cause=\"interrupted\"} 1"));
        assert!(stage.world().kuma().requests().is_empty());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let stage = Stage::new(None);
    // A gateway that takes connections and says nothing: the push after the first signal waits for it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("url ")).unwrap();
    let url = format!("url  = \"http://{}\"", silent.local_addr().unwrap());
    stage.world().brevo().state().hold = Duration::from_secs(3600);
    let config = stage.config_with(&[
        ("late_after = \"2500ms\"", "late_after = \"5m\""),
        ("timeout    = \"4500ms\"", "timeout    = \"15m\""),
        (line, &url),
    ]);
    let config = config.to_str().unwrap();
    let child = program(&["run", "--output", "json", "--config", config])
        .spawn()
        .unwrap();
    wait_until("the message is sent", || stage.sends() == 1);
    signal(child.id(), "TERM");
    // The push begins: somebody connects.
    let connection = silent.accept().unwrap();
    let begun = Instant::now();
    signal(child.id(), "TERM");
    let ran = finish(child);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(143), ""));
    drop(connection);
}

#[test]
fn a_push_that_hangs_is_cut_short_after_a_signal_and_the_report_says_so() {
    let stage = Stage::new(None);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("url ")).unwrap();
    let url = format!("url  = \"http://{}\"", silent.local_addr().unwrap());
    let config = stage.config_with(&[(line, &url)]);
    let config = config.to_str().unwrap();
    // The message is there already, so that this run is `delivered`: its pushes have forty seconds, unless a signal comes.
    let child = program(&["run", "--output", "json", "--config", config])
        .spawn()
        .unwrap();
    let connection = silent.accept().unwrap();
    let begun = Instant::now();
    signal(child.id(), "TERM");
    let ran = finish(child);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(ran.code, Some(143));
    let report = ran.report();
    assert_eq!(report["verdict"], "delivered");
    let errors: Vec<_> = report["pushes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|push| push["error"].as_str())
        .collect();
    assert_eq!(errors, ["cut short by a signal"]);
    drop(connection);
}

/// A config whose mailbox can be frozen, whose gateway says nothing while the listener lives, and whose messages never
/// come.
fn with_edges_that_can_hang(
    stage: &Stage,
    changes: &[(&str, &str)],
) -> (PathBuf, Gate, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    let gate = Gate::before(line("port ").rsplit(' ').next().unwrap());
    let port = format!("port     = {}", gate.port);
    let url = format!("url  = \"http://{}\"", silent.local_addr().unwrap());
    let edges = [(line("port "), port.as_str()), (line("url "), url.as_str())];
    let config = stage.config_with(&[changes, edges.as_slice()].concat());
    stage.world().brevo().state().hold = Duration::from_secs(3600);
    (config, gate, silent)
}

#[test]
fn a_run_whose_mailbox_and_sinks_all_hang_is_over_25_seconds_after_the_signal() {
    let stage = Stage::new(None);
    let (config, gate, _silent) = with_edges_that_can_hang(
        &stage,
        &[
            ("late_after = \"2500ms\"", "late_after = \"5m\""),
            ("timeout    = \"4500ms\"", "timeout    = \"15m\""),
        ],
    );
    let config = config.to_str().unwrap();
    let child = program(&["run", "--output", "json", "--config", config])
        .spawn()
        .unwrap();
    wait_until("the message is sent", || stage.sends() == 1);
    gate.frozen.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    signal(child.id(), "TERM");
    let ran = finish(child);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(ran.code, Some(143));
    assert_eq!(ran.report()["cause"]["code"], "interrupted");
}

#[test]
fn a_scheduler_whose_run_is_at_its_last_look_tells_of_it_and_is_over_25_seconds_after_the_signal() {
    let stage = Stage::new(None);
    let (config, gate, _silent) = with_edges_that_can_hang(&stage, &[]);
    let state = stage.directory().join("state");
    let serve = format!(
        "\n[serve]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n",
        state.display()
    );
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + &serve).unwrap();
    let serving = Serving::start_with(&config, "debug");
    serving.ask("POST", "/api/probes/demo/run");
    wait_until("the message is sent", || stage.sends() == 1);
    gate.frozen.store(true, Ordering::SeqCst);
    wait_until("the last look begins", || {
        serving.told().contains("time is over")
    });
    let begun = Instant::now();
    let log = serving.log();
    assert_eq!(serving.stop(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    let told = log.lock().unwrap().clone();
    assert!(!told.contains("cut off"), "{told}");
    let run = told.lines().find(|line| line.contains("verdict"));
    let run = run.unwrap_or_else(|| panic!("no run is told of: {told}"));
    assert!(
        run.contains("undetermined") && run.contains("interrupted"),
        "{run}"
    );
}
