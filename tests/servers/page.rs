//! The status page as a browser shows it: Chromium without a window, asked over its debugging protocol.

use crate::common::fleet::Fleet;
use crate::common::process::Process;
use crate::common::wait_until;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

struct Browser {
    _process: Process,
    socket: TcpStream,
    number: u64,
    /// What came without being asked for.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()));
        let process = Process::start("chromium", &command, &profile.path().join("log"));
        let port: u16 = wait_until("chromium listens", || {
            let text = std::fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse().ok()
        });
        let path = wait_until("chromium has a page", || {
            let list = http(port, "/json/list")?;
            let list: Value = serde_json::from_str(&list).ok()?;
            let page = list.as_array()?.iter().find(|one| one["type"] == "page")?;
            let url = page["webSocketDebuggerUrl"].as_str()?;
            Some(url.splitn(4, '/').nth(3)?.to_owned())
        });
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Self {
            _process: process,
            socket,
            number: 0,
            events: Vec::new(),
            _profile: profile,
        }
    }

    /// One command of the protocol, and its result.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let text = json!({ "id": self.number, "method": method, "params": parameters }).to_string();
        // A masked text frame (RFC 6455 section 5.2); a mask of zeros changes nothing.
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.socket.write_all(&frame).unwrap();
        loop {
            let message = self.message();
            if message["id"] == self.number {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn message(&mut self) -> Value {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length).unwrap();
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.socket.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut text = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.ask("Runtime.evaluate", &parameters)["result"]["value"].clone()
    }
}

fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    // Chromium keeps the connection open: so much is the answer as its head says.
    let mut answer = Vec::new();
    loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).ok()?;
        answer.extend(some.get(..count)?);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().ok())?
            });
            if count == 0 || length.is_some_and(|length| body.len() >= length) {
                return Some(body.to_owned());
            }
        } else if count == 0 {
            return None;
        }
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_status_page_loads_without_errors_and_fits_a_phone_by_day_and_by_night() {
    let mut fleet = Fleet::start(1);
    let long = "a-probe-whose-name-is-as-long-as-a-name-may-be-which-is-64-chars";
    fleet.write_config(
        2,
        |_| "schedule = \"0 3 1 1 *\"\nlate_after = \"1s\"\ntimeout = \"2s\"".to_owned(),
        "",
    );
    let config = fleet.path().join("mailprobe.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("name = \"p1\"", &format!("name = \"{long}\"")),
    )
    .unwrap();
    fleet.serve();
    fleet.request("POST", "/api/probes/p0/run").unwrap();
    wait_until("a run is delivered", || {
        (fleet.runs().len() == 1).then_some(())
    });
    fleet.brevo.state().hold = Duration::from_secs(30);
    fleet
        .request("POST", &format!("/api/probes/{long}/run"))
        .unwrap();
    wait_until("a run is missing", || {
        (fleet.runs().len() == 2).then_some(())
    });

    let mut browser = Browser::start();
    for domain in ["Page", "Runtime", "Log"] {
        browser.ask(&format!("{domain}.enable"), &json!({}));
    }
    for scheme in ["light", "dark"] {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        browser.ask(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
        let phone = json!({ "width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": true });
        browser.ask("Emulation.setDeviceMetricsOverride", &phone);
        let url = format!("http://127.0.0.1:{}/", fleet.http_port);
        browser.ask("Page.navigate", &json!({ "url": url }));
        wait_until("the page is there", || {
            let ready = "document.readyState === 'complete' && document.querySelectorAll('article').length === 2";
            (browser.value(ready) == true).then_some(())
        });
        browser.value("document.querySelectorAll('details').forEach(one => one.open = true)");
        assert_eq!(
            browser.value("document.documentElement.scrollWidth"),
            400,
            "{scheme}"
        );
        let small = "[...document.querySelectorAll('body *')].filter(one => one.innerText && parseFloat(getComputedStyle(one).fontSize) < 12).length";
        assert_eq!(browser.value(small), 0, "{scheme}: text too small to read");
        let back = browser.value("getComputedStyle(document.body).backgroundColor");
        let expected = if scheme == "light" {
            "rgb(255, 255, 255)"
        } else {
            "rgb(18, 22, 28)"
        };
        assert_eq!(back, expected, "the style sheet is in use");
        let badges = browser
            .value("[...document.querySelectorAll('.badge')].map(one => one.innerText).join()");
        assert_eq!(badges, "missing,delivered");
    }
    let faults: Vec<&Value> = browser
        .events
        .iter()
        .filter(|event| {
            let method = event["method"].as_str().unwrap_or_default();
            method == "Runtime.exceptionThrown" || method == "Log.entryAdded"
        })
        // Every browser asks for this icon by itself.
        .filter(|event| !event.to_string().contains("favicon.ico"))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}
