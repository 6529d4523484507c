//! A whole mail world inside the process: Brevo's API, an MX, an IMAP mailbox, a Pushgateway and Uptime Kuma, each on a
//! loopback port of its own and spoken to as the real ones are.

pub mod brevo;
pub mod ca;
pub mod faults;
pub mod http;
mod imap;
pub mod mx;
pub mod sinks;
pub mod store;

use brevo::{Blocked, Brevo};
use ca::Authority;
pub use faults::{Fault, Showing};
use imap::Account;
use mx::{Conduct, Next, PRIMARY, Server};
use sinks::Received;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long Brevo keeps a message before it hands it on.
const HOLD: Duration = Duration::from_millis(350);
const CROWD: usize = 2000;
const RECIPIENT: &str = "smoke-test@example.org";

/// A world that runs until it is dropped.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    store: Arc<Store>,
    brevo: Brevo,
    gateway: Received,
    kuma: Received,
    /// Messages of others, as they were put in.
    crowd: usize,
    servers: JoinSet<()>,
}

/// Where the servers of a world listen.
struct Ports {
    brevo: SocketAddr,
    imap: SocketAddr,
    gateway: SocketAddr,
    kuma: SocketAddr,
}

impl World {
    /// Starts every server, with one of the incidents if it is to be played.
    ///
    /// # Errors
    /// No port, no directory for its files, no randomness.
    pub async fn start(fault: Option<Fault>) -> io::Result<Self> {
        // It holds the world's passwords and keys.
        let directory = tempfile::Builder::new()
            .prefix("mailprobe-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let authority = Authority::new().map_err(io::Error::other)?;
        let listen = || TcpListener::bind(("127.0.0.1", 0));
        let (api, mx, imap) = (listen().await?, listen().await?, listen().await?);
        let backup = listen().await?;
        // Where the first MX is away, the second is asked.
        let first = if fault.and_then(Fault::backup).is_some() {
            &backup
        } else {
            &mx
        };
        let (gateway, kuma) = (listen().await?, listen().await?);
        let secrets = Secrets::new();
        let mut world = Self {
            directory,
            store: Arc::default(),
            brevo: Brevo::new(&secrets.api_key, first.local_addr()?),
            gateway: Received::default(),
            kuma: Received::default(),
            crowd: 0,
            servers: JoinSet::new(),
        };
        let ports = Ports {
            brevo: api.local_addr()?,
            imap: imap.local_addr()?,
            gateway: gateway.local_addr()?,
            kuma: kuma.local_addr()?,
        };
        world.write(&ports, &secrets, &authority, late_after(fault))?;
        world.prepare(fault);
        let tls = authority
            .acceptor(&[PRIMARY, "127.0.0.1"])
            .map_err(io::Error::other)?;
        let servers = &mut world.servers;
        servers.spawn(world.brevo.clone().serve(api, Some(tls.clone())));
        spawn_servers(servers, fault, mx, backup, &world.store)?;
        servers.spawn(sinks::serve_uptime_kuma(
            kuma,
            secrets.kuma_token,
            world.kuma.clone(),
        ));
        match fault {
            Some(Fault::PushGatewayDown) => drop(gateway),
            _ => {
                servers.spawn(sinks::serve_pushgateway(gateway, world.gateway.clone()));
            }
        }
        let account = Account {
            username: "spam@example.org".to_owned(),
            password: match fault {
                Some(Fault::ImapPassword) => "rotated elsewhere".to_owned(),
                _ => secrets.password,
            },
        };
        let tls = match fault {
            Some(Fault::ImapCertificate) => authority
                .acceptor(&["other.example.net"])
                .map_err(io::Error::other)?,
            _ => tls,
        };
        match fault {
            Some(Fault::ImapDown) => drop(imap),
            Some(Fault::ImapHang) => {
                servers.spawn(say_nothing(imap));
            }
            _ => {
                servers.spawn(imap::serve(imap, tls, account, Arc::clone(&world.store)));
            }
        }
        Ok(world)
    }

    /// The config that leads into this world, for this process or any other.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("mailprobe.toml")
    }

    /// The mailbox.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Brevo.
    #[must_use]
    pub fn brevo(&self) -> &Brevo {
        &self.brevo
    }

    /// What the Pushgateway received.
    #[must_use]
    pub fn gateway(&self) -> &Received {
        &self.gateway
    }

    /// What Uptime Kuma received.
    #[must_use]
    pub fn kuma(&self) -> &Received {
        &self.kuma
    }

    /// How many of the messages that others had in the mailbox at the start are there still, untouched, and how many
    /// there were; none in a world without a crowd.
    #[must_use]
    pub fn crowd(&self) -> Option<(usize, usize)> {
        let inbox = self.store.folder("INBOX")?;
        let untouched =
            inbox
                .messages
                .iter()
                .take(self.crowd)
                .enumerate()
                .filter(|(number, message)| {
                    let (raw, flags) = foreign(*number);
                    message.raw == raw && message.flags.iter().map(String::as_str).eq(flags)
                });
        (self.crowd > 0).then(|| (untouched.count(), self.crowd))
    }

    /// Plays the incident once more, for the next run.
    pub fn rearm(&self, fault: Option<Fault>) {
        if let Some((next, then)) = fault.map(Fault::behaviour) {
            let mut state = self.brevo.state();
            if fault == Some(Fault::BrevoBlocked) {
                state.blocked = vec![Blocked {
                    email: RECIPIENT.to_owned(),
                    code: "hardBounce".to_owned(),
                }];
            }
            state.next.extend(next);
            state.then = then;
        }
    }

    fn prepare(&mut self, fault: Option<Fault>) {
        self.brevo.state().hold = HOLD;
        self.rearm(fault);
        if fault == Some(Fault::CrowdedMailbox) {
            self.crowd = CROWD;
            for number in 0..CROWD {
                let (raw, flags) = foreign(number);
                self.store.deliver("INBOX", raw, &flags);
            }
            let store = Arc::clone(&self.store);
            self.servers.spawn(async move {
                for number in CROWD.. {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let (raw, flags) = foreign(number);
                    store.deliver("INBOX", raw, &flags);
                }
            });
        }
    }

    /// The config, and the files that it refers to.
    fn write(
        &self,
        ports: &Ports,
        secrets: &Secrets,
        authority: &Authority,
        late_after: &str,
    ) -> io::Result<()> {
        let directory = self.directory.path();
        let kuma = format!(
            "http://{}/api/push/{}?status=up&msg=OK&ping=",
            ports.kuma, secrets.kuma_token
        );
        std::fs::write(directory.join("ca.pem"), authority.pem())?;
        std::fs::write(directory.join("brevo-api-key"), &secrets.api_key)?;
        std::fs::write(directory.join("imap-password"), &secrets.password)?;
        std::fs::write(directory.join("kuma-push-url"), kuma)?;
        std::fs::write(self.config(), config(directory, ports, late_after))
    }
}

/// The mail servers: the first, unless its port is closed, and the second where mail comes through it.
fn spawn_servers(
    servers: &mut JoinSet<()>,
    fault: Option<Fault>,
    mx: TcpListener,
    backup: TcpListener,
    store: &Arc<Store>,
) -> io::Result<()> {
    if let Some(conduct) = fault.and_then(Fault::backup) {
        let second = Server {
            name: mx::BACKUP,
            conduct,
            next: Next::Server(mx.local_addr()?),
        };
        servers.spawn(second.serve(backup));
    }
    if fault != Some(Fault::MxUnreachable) {
        let first = Server {
            name: PRIMARY,
            conduct: fault.map_or(Conduct::Deliver, Fault::conduct),
            next: Next::Mailbox(Arc::clone(store)),
        };
        servers.spawn(first.serve(mx));
    }
    Ok(())
}

/// The probe's `late_after`: where a message comes late, soon enough that it comes before the end all the same.
fn late_after(fault: Option<Fault>) -> &'static str {
    match fault {
        Some(Fault::Stalls | Fault::BackupMx) => "1500ms",
        _ => "2500ms",
    }
}

/// Made anew for every world.
struct Secrets {
    api_key: String,
    password: String,
    kuma_token: String,
}

impl Secrets {
    fn new() -> Self {
        let random = |length: usize| {
            let mut bytes = vec![0; length];
            let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
            data_encoding::HEXLOWER.encode(&bytes)
        };
        Self {
            api_key: format!("xkeysib-{}", random(32)),
            password: random(12),
            kuma_token: random(16),
        }
    }
}

fn config(directory: &Path, ports: &Ports, late_after: &str) -> String {
    let Ports {
        brevo,
        imap,
        gateway,
        kuma: _,
    } = ports;
    let directory = directory.display();
    format!(
        r#"[[probe]]
name       = "demo"
sender     = "brevo"
mailbox    = "spam"
to         = "{RECIPIENT}"
late_after = "{late_after}"
timeout    = "4500ms"

[sender.brevo]
type      = "brevo"
api_key   = {{ file = "{directory}/brevo-api-key" }}
from      = "monitoring@example.org"
from_name = "Monitoring"
base_url  = "https://{brevo}/v3"
ca_file   = "{directory}/ca.pem"
unblock_recipient = true

[mailbox.spam]
type     = "imap"
host     = "127.0.0.1"
port     = {port}
tls_server_name = "{PRIMARY}"
ca_file  = "{directory}/ca.pem"
username = "spam@example.org"
password = {{ file = "{directory}/imap-password" }}

[path]
mx           = ["{PRIMARY}"]
backup_mx    = ["{backup}"]
border       = ["{PRIMARY}"]
authserv_ids = ["{PRIMARY}"]

[[sink]]
type = "pushgateway"
url  = "http://{gateway}"
job  = "email-roundtrip-monitor"

[[sink]]
type     = "uptime_kuma"
push_url = {{ file = "{directory}/kuma-push-url" }}
"#,
        port = imap.port(),
        backup = mx::BACKUP
    )
}

/// Somebody else's message: every few a look-alike of ours, a forgery, or one that another client has marked.
fn foreign(number: usize) -> (Vec<u8>, Vec<&'static str>) {
    let token = format!(
        "e2e-probe-{}",
        "abcdefghijklmnopqrstuvwxyz234567"
            .repeat(2)
            .get(..42)
            .unwrap_or_default()
    );
    let subject = match number % 5 {
        0 => format!("[E2E Monitor] {token}\r\nX-Mailprobe-Token: {token}"),
        1 => format!("Re: [E2E Monitor] {token}"),
        2 => "[E2E Monitor] e2e-probe-1795000000-ab12cd".to_owned(),
        _ => format!("Invoice {number}"),
    };
    let raw = format!(
        "From: somebody@example.net\r\nTo: spam@example.org\r\nSubject: {subject}\r\n\r\nNumber {number}\r\n"
    );
    let flags = if number.is_multiple_of(7) {
        vec!["\\Deleted"]
    } else {
        Vec::new()
    };
    (raw.into_bytes(), flags)
}

/// Takes connections, and that is all.
async fn say_nothing(listener: TcpListener) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.push(stream);
    }
}
