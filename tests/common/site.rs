//! A mail server with everything that a probe needs around it, and the config that leads there.

use super::dovecot::{Dovecot, USER};
use super::outcome::Outcome;
use super::postfix::Postfix;
use super::process::open_to_all;
use super::pushgateway::Pushgateway;
use super::stand_ins::StandIns;
use super::{API_KEY, KUMA_TOKEN, PASSWORD, wait_until};
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::ca::{Authority, Pem};
use mailprobe::demo::sinks::Received;
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Everything that one test works with.
pub struct Site {
    /// What the next command's config says.
    pub settings: Settings,
    pub authority: Authority,
    pub postfix: Postfix,
    pub dovecot: Dovecot,
    pub gateway: Pushgateway,
    pub brevo: Brevo,
    pub brevo_port: u16,
    /// What Uptime Kuma received.
    pub kuma: Received,
    pub kuma_port: u16,
    _stand_ins: StandIns,
    // Last, so that nobody works in it any more when it goes.
    directory: TempDir,
}

/// What a test changes in the config, and in the secrets beside it.
#[derive(Clone)]
pub struct Settings {
    pub late_after: String,
    pub timeout: String,
    pub to: String,
    /// A probe `second` beside `external`, to `second@example.org`, in the same mailbox.
    pub second_probe: bool,
    pub brevo_port: Option<u16>,
    pub api_key: String,
    pub imap_port: Option<u16>,
    pub imap_tls: String,
    pub tls_server_name: String,
    /// The mailbox's, where it is not the site's own.
    pub ca_file: Option<PathBuf>,
    pub password: String,
    pub folders: String,
    pub gateway_port: Option<u16>,
    pub kuma: bool,
    /// Keys of the file itself.
    pub top: String,
    /// More keys of every probe.
    pub probe: String,
    /// More keys of the sender.
    pub sender: String,
    /// More keys of the mailbox.
    pub mailbox: String,
    /// More sections.
    pub more: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            late_after: "20s".to_owned(),
            timeout: "40s".to_owned(),
            to: "smoke-test@example.org".to_owned(),
            second_probe: false,
            brevo_port: None,
            api_key: API_KEY.to_owned(),
            imap_port: None,
            imap_tls: "implicit".to_owned(),
            tls_server_name: "mail.example.org".to_owned(),
            ca_file: None,
            password: PASSWORD.to_owned(),
            folders: "[\"INBOX\"]".to_owned(),
            gateway_port: None,
            kuma: true,
            top: String::new(),
            probe: String::new(),
            sender: String::new(),
            mailbox: String::new(),
            more: String::new(),
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
        let path = directory.path();
        open_to_all(path);
        let authority = Authority::new().unwrap();
        let Pem { certificate, key } = authority.issue(&["mail.example.org"]).unwrap();
        std::fs::write(path.join("ca.pem"), authority.pem()).unwrap();
        let dovecot = Dovecot::start(path, &certificate, &key);
        let postfix = Postfix::start(path, dovecot.lmtp_port);
        let gateway = Pushgateway::start(path);
        let brevo = Brevo::new(API_KEY, SocketAddr::from(([127, 0, 0, 1], postfix.port)));
        let kuma = Received::default();
        let stand_ins = StandIns::start(&authority, brevo.clone(), kuma.clone());
        Self {
            settings: Settings::default(),
            authority,
            postfix,
            dovecot,
            gateway,
            brevo,
            brevo_port: stand_ins.brevo_port,
            kuma,
            kuma_port: stand_ins.kuma_port,
            _stand_ins: stand_ins,
            directory,
        }
    }

    /// A config with other settings than the usual ones.
    pub fn with(&mut self, change: impl FnOnce(&mut Settings)) -> &mut Self {
        self.settings = Settings::default();
        change(&mut self.settings);
        self
    }

    /// Has Brevo hand its mail to another server from now on.
    pub fn relay_to(&self, port: u16) {
        self.brevo
            .relay_to(SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// A second Postfix before the same Dovecot, with more lines in its `main.cf`, that Brevo hands its mail to.
    pub fn behind(&self, more: &str) -> Postfix {
        let directory = self.path().join("another-postfix");
        let postfix = Postfix::start_with(&directory, self.dovecot.lmtp_port, more);
        self.relay_to(postfix.port);
        postfix
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the config; its path.
    pub fn config(&self) -> PathBuf {
        let path = self.path().join("mailprobe.toml");
        // A run that has just been started may not have read the last one yet.
        let new = self.path().join("mailprobe.toml.new");
        std::fs::write(&new, self.config_text()).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    fn config_text(&self) -> String {
        let settings = &self.settings;
        let mut text = settings.top.clone();
        text.push_str(&self.probe("external", &settings.to));
        if settings.second_probe {
            text.push_str(&self.probe("second", "second@example.org"));
        }
        let own_ca_file = self.path().join("ca.pem");
        let _ = write!(
            text,
            r#"[sender.brevo]
type = "brevo"
api_key = {{ env = "BREVO_API_KEY" }}
from = "monitoring@example.org"
base_url = "https://127.0.0.1:{brevo}/v3"
ca_file = "{directory}/ca.pem"
{sender}

[mailbox.spam]
type = "imap"
host = "127.0.0.1"
port = {imap}
tls = "{tls}"
tls_server_name = "{tls_server_name}"
ca_file = "{ca_file}"
username = "{USER}"
password = {{ env = "EMAIL_MONITOR_IMAP_PASSWORD" }}
folders = {folders}
{mailbox}

[[sink]]
type = "pushgateway"
url = "http://127.0.0.1:{gateway}"
job = "email-roundtrip-monitor"
"#,
            directory = self.path().display(),
            brevo = settings.brevo_port.unwrap_or(self.brevo_port),
            imap = settings.imap_port.unwrap_or(self.dovecot.imaps_port),
            tls = settings.imap_tls,
            tls_server_name = settings.tls_server_name,
            ca_file = settings.ca_file.as_ref().unwrap_or(&own_ca_file).display(),
            folders = settings.folders,
            gateway = settings.gateway_port.unwrap_or(self.gateway.port),
            sender = settings.sender,
            mailbox = settings.mailbox,
        );
        if settings.kuma {
            text.push_str(
                "\n[[sink]]\ntype = \"uptime_kuma\"\nprobe = \"external\"\npush_url = { env = \"UPTIME_KUMA_PUSH_URL\" }\n",
            );
        }
        text.push_str(&settings.more);
        text
    }

    fn probe(&self, name: &str, to: &str) -> String {
        let Settings {
            late_after,
            timeout,
            probe,
            ..
        } = &self.settings;
        format!(
            "[[probe]]\nname = \"{name}\"\nsender = \"brevo\"\nmailbox = \"spam\"\nto = \"{to}\"\n\
             late_after = \"{late_after}\"\ntimeout = \"{timeout}\"\n{probe}\n\n"
        )
    }

    /// The program with the config, ready to be started, in an environment of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env_clear()
            .env("BREVO_API_KEY", &self.settings.api_key)
            .env("EMAIL_MONITOR_IMAP_PASSWORD", &self.settings.password)
            .env("UPTIME_KUMA_PUSH_URL", self.kuma_push_url())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// As a person pastes it.
    pub fn kuma_push_url(&self) -> String {
        format!(
            "http://127.0.0.1:{}/api/push/{KUMA_TOKEN}?status=up&msg=OK&ping=",
            self.kuma_port
        )
    }

    /// One run, reported as JSON.
    pub fn run(&self) -> Outcome {
        Outcome::of(self.begin())
    }

    /// A run that goes on in the background.
    pub fn begin(&self) -> Child {
        self.command(&["run", "--output", "json"]).spawn().unwrap()
    }

    /// A command, as a person sees it.
    pub fn see(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).spawn().unwrap())
    }

    /// The token of the message that Brevo was handed as the `count`th, counted from 1, once there is one.
    pub fn token_of_message(&self, count: usize) -> String {
        wait_until("Brevo has the message", || {
            let state = self.brevo.state();
            let mut sent = state.requests.iter().filter(|one| one.method == "POST");
            let body: Value = serde_json::from_slice(&sent.nth(count - 1)?.body).ok()?;
            let token = body.pointer("/headers/X-Mailprobe-Token")?;
            Some(token.as_str()?.to_owned())
        })
    }

    /// Everything that Uptime Kuma received, as one text.
    pub fn kuma_text(&self) -> String {
        format!("{:?}", self.kuma.requests())
    }
}

/// The program under test: the one that cargo has just built, or another, for benchmarks.
pub fn binary() -> PathBuf {
    std::env::var_os("MAILPROBE_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_mailprobe").into(), PathBuf::from)
}
