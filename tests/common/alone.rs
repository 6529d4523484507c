//! Tests in a network of their own, in which loopback is all there is: every port is free, and nothing gets out.

use super::process::run;
use std::process::Command;

/// Set in the process that has no other network.
const ALONE: &str = "MAILPROBE_TEST_ALONE";

/// Whether this is that process. What is built for all tests, the process that started it has built.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Has the test of this name, its modules before it, run once more, where loopback is all the network there is.
#[track_caller]
pub fn on_loopback_alone(name: &str, test: impl FnOnce()) {
    if is_alone() {
        let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap();
        let names: Vec<&str> = interfaces
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next())
            .map(str::trim)
            .collect();
        assert_eq!(names, ["lo"]);
        test();
        return;
    }
    let said = run(Command::new("bwrap")
        .args(["--dev-bind", "/", "/", "--unshare-net", "--cap-add", "ALL"])
        .args(["--setenv", ALONE, "1"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"]));
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
}
