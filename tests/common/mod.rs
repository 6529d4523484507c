//! Real servers on loopback, in a directory of their own: Postfix, Dovecot, Pushgateway; and stand-ins for what cannot
//! be installed, Brevo and Uptime Kuma.

pub mod dovecot;
pub mod postfix;
pub mod process;
pub mod pushgateway;
pub mod stored;
pub mod ways_in;

use dovecot::Dovecot;
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::ca::{Authority, Pem};
use mailprobe::demo::sinks::{Received, serve_uptime_kuma};
use postfix::Postfix;
use process::free_port;
use pushgateway::Pushgateway;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const API_KEY: &str = "xkeysib-5ae1c0ffee5ae1c0ffee5ae1c0ffee-known";
pub const PASSWORD: &str = "correct-horse battery \"staple\"";
pub const KUMA_TOKEN: &str = "KumaPushTokenKnownToTests";
/// What no output may show.
pub const SECRETS: [&str; 5] = [
    API_KEY,
    PASSWORD,
    "correct-horse",
    KUMA_TOKEN,
    "c3BhbUBleGFtcGxlLm9yZwBjb3JyZWN0LWhvcnNl",
];

/// A mail server with all that a probe needs around it.
pub struct Site {
    pub directory: TempDir,
    pub authority: Authority,
    pub dovecot: Dovecot,
    pub postfix: Postfix,
    pub gateway: Pushgateway,
    pub brevo: Brevo,
    pub brevo_port: u16,
    pub kuma: Received,
    pub kuma_port: u16,
    settings: Settings,
    _stand_ins: Thread,
}

/// What a test changes in the config.
#[derive(Clone)]
pub struct Settings {
    pub late_after: String,
    pub timeout: String,
    pub to: String,
    pub tls_server_name: String,
    pub imap_port: Option<u16>,
    pub gateway_port: Option<u16>,
    pub kuma: bool,
    pub folders: String,
    pub second_probe: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            late_after: "20s".to_owned(),
            timeout: "40s".to_owned(),
            to: "smoke-test@example.org".to_owned(),
            tls_server_name: "mail.example.org".to_owned(),
            imap_port: None,
            gateway_port: None,
            kuma: true,
            folders: "[\"INBOX\"]".to_owned(),
            second_probe: false,
        }
    }
}

impl Site {
    /// Starts everything. Fails where a server is not installed: `tests/run` installs them.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mailprobe-test-")
            .tempdir()
            .unwrap();
        process::open_to_all(directory.path());
        let authority = Authority::new().unwrap();
        let Pem { certificate, key } = authority.issue(&["mail.example.org", "127.0.0.1"]).unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let dovecot = Dovecot::start(directory.path(), &certificate, &key);
        let postfix = Postfix::start(directory.path(), dovecot.lmtp_port);
        let gateway = Pushgateway::start();
        let brevo = Brevo::new(API_KEY, SocketAddr::from(([127, 0, 0, 1], postfix.port)));
        let kuma = Received::default();
        let (stand_ins, brevo_port, kuma_port) =
            Thread::start(&authority, brevo.clone(), kuma.clone());
        Self {
            directory,
            authority,
            dovecot,
            postfix,
            gateway,
            brevo,
            brevo_port,
            kuma,
            kuma_port,
            settings: Settings::default(),
            _stand_ins: stand_ins,
        }
    }

    /// A config with other settings than the usual ones.
    pub fn with(&mut self, change: impl FnOnce(&mut Settings)) -> &mut Self {
        let mut settings = Settings::default();
        change(&mut settings);
        self.settings = settings;
        self
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn config(&self) -> PathBuf {
        let path = self.path().join("mailprobe.toml");
        let Settings {
            late_after,
            timeout,
            to,
            tls_server_name,
            folders,
            ..
        } = &self.settings;
        let directory = self.path().display();
        let probe = |name: &str, to: &str| {
            format!(
                "[[probe]]\nname = \"{name}\"\nsender = \"brevo\"\nmailbox = \"spam\"\nto = \"{to}\"\n\
                 late_after = \"{late_after}\"\ntimeout = \"{timeout}\"\n\n"
            )
        };
        let mut text = probe("external", to);
        if self.settings.second_probe {
            text.push_str(&probe("second", "second@example.org"));
        }
        text.push_str(&format!(
            r#"[sender.brevo]
type = "brevo"
api_key = {{ env = "BREVO_API_KEY" }}
from = "monitoring@example.org"
base_url = "https://127.0.0.1:{brevo}/v3"
ca_file = "{directory}/ca.pem"

[mailbox.spam]
type = "imap"
host = "127.0.0.1"
port = {imap}
tls_server_name = "{tls_server_name}"
ca_file = "{directory}/ca.pem"
username = "spam@example.org"
password = {{ env = "EMAIL_MONITOR_IMAP_PASSWORD" }}
folders = {folders}

[[sink]]
type = "pushgateway"
url = "http://127.0.0.1:{gateway}"
job = "email-roundtrip-monitor"
"#,
            brevo = self.brevo_port,
            imap = self.settings.imap_port.unwrap_or(self.dovecot.imaps_port),
            gateway = self.settings.gateway_port.unwrap_or(self.gateway.port),
        ));
        if self.settings.kuma {
            text.push_str("\n[[sink]]\ntype = \"uptime_kuma\"\nprobe = \"external\"\npush_url = { env = \"UPTIME_KUMA_PUSH_URL\" }\n");
        }
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with the config, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailprobe"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env("BREVO_API_KEY", API_KEY)
            .env("EMAIL_MONITOR_IMAP_PASSWORD", PASSWORD)
            .env(
                "UPTIME_KUMA_PUSH_URL",
                format!(
                    "http://127.0.0.1:{}/api/push/{KUMA_TOKEN}?status=up&msg=OK&ping=",
                    self.kuma_port
                ),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// One run, reported as JSON.
    pub fn run(&self) -> Outcome {
        Outcome::of(self.command(&["run", "--output", "json"]).spawn().unwrap())
    }

    /// A run that goes on in the background.
    pub fn begin(&self) -> Child {
        self.command(&["run", "--output", "json"]).spawn().unwrap()
    }

    /// A command, as a person sees it.
    pub fn see(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).spawn().unwrap())
    }

    /// The token of the last message that Brevo was handed, once there are so many.
    pub fn token_of_message(&self, count: usize) -> String {
        wait_until("Brevo has the message", || {
            let state = self.brevo.state();
            let sent: Vec<_> = state
                .requests
                .iter()
                .filter(|one| one.method == "POST")
                .collect();
            let body: Value = serde_json::from_slice(&sent.get(count - 1)?.body).ok()?;
            Some(
                body.pointer("/headers/X-Mailprobe-Token")?
                    .as_str()?
                    .to_owned(),
            )
        })
    }
}

/// What a run did.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
}

impl Outcome {
    pub fn of(child: Child) -> Self {
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            seconds: begun.elapsed().as_secs_f64(),
        }
    }

    /// Every report, one a line.
    pub fn reports(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The only report.
    pub fn report(&self) -> Value {
        let mut reports = self.reports();
        assert_eq!(reports.len(), 1, "{self:?}");
        reports.remove(0)
    }

    /// Asserts verdict, cause and exit code together.
    #[track_caller]
    pub fn assert(&self, verdict: &str, cause: Option<&str>, code: i32) -> Value {
        let report = self.report();
        let found = (
            report["verdict"].as_str(),
            report.pointer("/cause/code").and_then(Value::as_str),
            self.code,
        );
        assert_eq!(found, (Some(verdict), cause, Some(code)), "{self:#?}");
        report
    }

    /// Codes of the warnings.
    pub fn warnings(&self) -> Vec<String> {
        let report = self.report();
        let warnings = report["warnings"].as_array().unwrap();
        warnings
            .iter()
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A thread that the stand-ins run in until it is dropped.
struct Thread {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    fn start(authority: &Authority, brevo: Brevo, kuma: Received) -> (Self, u16, u16) {
        let tls = authority.acceptor(&["127.0.0.1"]).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ports, started) = mpsc::channel();
        let handle = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let push = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ports
                    .send((
                        api.local_addr().unwrap().port(),
                        push.local_addr().unwrap().port(),
                    ))
                    .unwrap();
                tokio::spawn(brevo.serve(api, Some(tls)));
                tokio::spawn(serve_uptime_kuma(push, KUMA_TOKEN.to_owned(), kuma));
                let _ = stopped.await;
            });
        });
        let (brevo_port, kuma_port) = started.recv().unwrap();
        (
            Self {
                stop: Some(stop),
                handle: Some(handle),
            },
            brevo_port,
            kuma_port,
        )
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Waits for a condition, with a limit.
#[track_caller]
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "after 30 s still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port on which nothing listens.
pub fn closed_port() -> u16 {
    free_port()
}
