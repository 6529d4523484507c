//! `mailprobe serve` as its unit starts it, told and heard over the socket of a service manager that the test plays.

use crate::world::{Stage, finish, program, signal, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits for the message in which one line is this, and returns it whole. Heartbeats on the way are of no interest.
#[track_caller]
fn hear(socket: &UnixDatagram, line: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    let mut buffer = [0; 4096];
    while Instant::now() < end {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{line} was not said: {error}"));
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if text.lines().any(|one| one == line) {
            return text;
        }
        assert_eq!(text.trim_end(), "WATCHDOG=1", "while waiting for {line}");
    }
    panic!("{line} was not said within 30 s");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response.lines().next().unwrap_or_default().to_owned()
}

/// The paths that this manifest has the cluster ask for.
fn probed(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines();
    lines
        .filter_map(|line| line.trim().strip_prefix("path: /"))
        .collect()
}

#[test]
fn the_service_tells_systemd_of_start_life_reload_and_end_and_answers_the_clusters_probes() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let unit = std::fs::read_to_string(deploy.join("systemd/mailprobe.service")).unwrap();
    let setting = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap()
    };
    assert_eq!(setting("Type="), "notify");
    assert_eq!(setting("ExecReload="), "/bin/kill -HUP $MAINPID");
    // Beats come once a second at most: a shorter limit would kill a healthy service.
    assert!(setting("WatchdogSec=").parse::<u64>().unwrap() >= 10);
    let command: Vec<&str> = setting("ExecStart=").split(' ').collect();
    assert_eq!(command[0], "/usr/bin/mailprobe");

    let stage = Stage::new(None);
    let mut text = std::fs::read_to_string(stage.config()).unwrap();
    text += "\n[serve]\nlisten = \"127.0.0.1:0\"\n";
    let config = stage.directory().join("served.toml");
    std::fs::write(&config, text).unwrap();
    let arguments: Vec<&str> = command[1..]
        .iter()
        .map(|one| match *one {
            "/etc/mailprobe/mailprobe.toml" => config.to_str().unwrap(),
            other => other,
        })
        .collect();
    let path = stage.directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let limit = Some(Duration::from_secs(20));
    socket.set_read_timeout(limit).unwrap();
    let mut child = program(&arguments)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000")
        .spawn()
        .unwrap();

    hear(&socket, "READY=1");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving http://") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it does not serve");
    }
    let address = line.split("http://").nth(1).unwrap();
    let address = address.split([' ', '\u{1b}', '"', '\n']).next().unwrap();
    // Read on, so that it never waits for us.
    let rest = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let overlay = deploy.join("kubernetes/overlays/serve/mailprobe.yaml");
    let manifest = std::fs::read_to_string(overlay).unwrap();
    let mut paths = probed(&manifest);
    paths.sort_unstable();
    assert_eq!(paths, ["healthz", "healthz", "readyz"]);
    for path in paths {
        assert_eq!(get(address, &format!("/{path}")), "HTTP/1.1 200 OK");
    }
    hear(&socket, "WATCHDOG=1");
    hear(&socket, "WATCHDOG=1");

    signal(child.id(), "HUP");
    let reloading = hear(&socket, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hear(&socket, "READY=1");

    signal(child.id(), "TERM");
    hear(&socket, "STOPPING=1");
    let ran = finish(child);
    assert_eq!(ran.code, Some(0));
    wait_until("its log ends", || rest.is_finished());
    rest.join().unwrap().unwrap();
}
