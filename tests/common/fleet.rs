//! The scheduler at work: many probes over many mailboxes of one Dovecot. The stand-in for Brevo hands messages to
//! Dovecot's LMTP itself, so that no mail queue is measured.

use super::dovecot::Dovecot;
use super::process::{open_to_all, signal};
use super::pushgateway::Pushgateway;
use super::site::binary;
use super::stand_ins::StandIns;
use super::stored::Stored;
use super::{API_KEY, PASSWORD, free_port, wait_until};
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::ca::{Authority, Pem};
use mailprobe::demo::sinks::Received;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

pub struct Fleet {
    pub dovecot: Dovecot,
    pub gateway: Pushgateway,
    pub brevo: Brevo,
    pub http_port: u16,
    brevo_port: u16,
    mailboxes: usize,
    scheduler: Option<Scheduler>,
    pub stand_ins: StandIns,
    // Last, so that nobody works in it any more when it goes.
    directory: TempDir,
}

/// The process of `mailprobe serve`, and what it logged.
struct Scheduler {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: JoinHandle<()>,
}

impl Fleet {
    /// Servers for so many mailboxes.
    pub fn start(mailboxes: usize) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mailprobe-fleet-")
            .tempdir()
            .unwrap();
        let path = directory.path();
        open_to_all(path);
        let authority = Authority::new().unwrap();
        let Pem { certificate, key } = authority.issue(&["mail.example.org"]).unwrap();
        std::fs::write(path.join("ca.pem"), authority.pem()).unwrap();
        let mut dovecot = Dovecot::start(path, &certificate, &key);
        let mut users = String::new();
        for number in 0..mailboxes {
            writeln!(users, "box{number}@example.org:{{PLAIN}}{PASSWORD}").unwrap();
        }
        std::fs::write(path.join("dovecot/users"), users).unwrap();
        let config = path.join("dovecot/dovecot.conf");
        let more = "metric imap_command {\n  filter = event=imap_command_finished\n}\n\
                    service imap {\n  process_limit = 1000\n}\ndefault_client_limit = 4000\nservice imap-login {\n  process_limit = 1000\n}\n";
        let text = std::fs::read_to_string(&config).unwrap() + more;
        std::fs::write(&config, text).unwrap();
        dovecot.restart();
        let gateway = Pushgateway::start(path);
        let bridge = bridge(dovecot.lmtp_port);
        let brevo = Brevo::new(API_KEY, SocketAddr::from(([127, 0, 0, 1], bridge)));
        brevo.state().credits = u32::MAX;
        let stand_ins = StandIns::start(&authority, brevo.clone(), Received::default());
        Self {
            dovecot,
            gateway,
            brevo,
            http_port: free_port(),
            brevo_port: stand_ins.brevo_port,
            mailboxes,
            scheduler: None,
            stand_ins,
            directory,
        }
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a config of so many probes, with these keys each, and these sections besides.
    pub fn write_config(&self, probes: usize, keys: impl Fn(usize) -> String, more: &str) {
        let directory = self.path().display();
        let mut text = format!(
            "[sender.brevo]\ntype = \"brevo\"\napi_key = \"{API_KEY}\"\nfrom = \"monitoring@example.org\"\n\
             base_url = \"https://127.0.0.1:{}/v3\"\nca_file = \"{directory}/ca.pem\"\nunblock_recipient = false\n\n\
             [serve]\nlisten = \"127.0.0.1:{}\"\nmin_interval = \"1s\"\n{more}\n",
            self.brevo_port, self.http_port
        );
        let password = PASSWORD.replace('"', "\\\"");
        for number in 0..self.mailboxes {
            writeln!(
                text,
                "[mailbox.box{number}]\ntype = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\n\
                 tls_server_name = \"mail.example.org\"\nca_file = \"{directory}/ca.pem\"\n\
                 username = \"box{number}@example.org\"\npassword = \"{password}\"\n",
                self.dovecot.imaps_port
            )
            .unwrap();
        }
        for number in 0..probes {
            let mailbox = number % self.mailboxes;
            writeln!(
                text,
                "[[probe]]\nname = \"p{number}\"\nsender = \"brevo\"\nmailbox = \"box{mailbox}\"\n\
                 to = \"box{mailbox}@example.org\"\n{}\n",
                keys(number)
            )
            .unwrap();
        }
        std::fs::write(self.path().join("mailprobe.toml"), text).unwrap();
    }

    /// The section of the Pushgateway.
    pub fn pushgateway(&self) -> String {
        format!(
            "[[sink]]\ntype = \"pushgateway\"\nurl = \"http://127.0.0.1:{}\"\n",
            self.gateway.port
        )
    }

    /// Starts the scheduler, and waits until it serves.
    pub fn serve(&mut self) {
        self.begin_to_serve();
        wait_until("the scheduler serves", || {
            self.get("/readyz").filter(|body| body == "ready\n")
        });
    }

    /// Starts the scheduler.
    pub fn begin_to_serve(&mut self) {
        let mut child = Command::new(binary())
            .args(["serve", "--log-format", "json", "--config"])
            .arg(self.path().join("mailprobe.toml"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.lock().unwrap().push(line);
            }
        });
        self.scheduler = Some(Scheduler {
            child,
            lines,
            reader,
        });
    }

    /// Asks the scheduler to end; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut scheduler = self.scheduler.take().unwrap();
        signal(scheduler.child.id(), "TERM");
        let status = scheduler.child.wait().unwrap();
        scheduler.reader.join().unwrap();
        status.code()
    }

    /// Ends the scheduler without a word; what it had logged.
    pub fn kill(&mut self) -> Vec<Value> {
        let mut scheduler = self.scheduler.take().unwrap();
        scheduler.child.kill().unwrap();
        scheduler.child.wait().unwrap();
        scheduler.reader.join().unwrap();
        std::mem::take(&mut *scheduler.lines.lock().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.scheduler.as_ref().unwrap().child.id()
    }

    /// Everything that was logged.
    pub fn log(&self) -> Vec<Value> {
        let scheduler = self.scheduler.as_ref().unwrap();
        scheduler.lines.lock().unwrap().clone()
    }

    /// The lines of finished runs.
    pub fn runs(&self) -> Vec<Value> {
        let mut lines = self.log();
        lines.retain(is_run);
        lines
    }

    /// How many runs have ended.
    pub fn ended(&self) -> usize {
        let scheduler = self.scheduler.as_ref().unwrap();
        let lines = scheduler.lines.lock().unwrap();
        lines.iter().filter(|line| is_run(line)).count()
    }

    /// The body of an answer; none where nobody answers.
    pub fn get(&self, path: &str) -> Option<String> {
        self.request("GET", path)
    }

    pub fn request(&self, method: &str, path: &str) -> Option<String> {
        request(self.http_port, method, path)
    }

    /// Asks for a run of a probe; whether it has begun.
    pub fn begins(&self, probe: usize) -> bool {
        begins(self.http_port, probe)
    }

    /// The sum of the series whose lines begin so.
    pub fn sum(&self, series: &str) -> f64 {
        let metrics = self.get("/metrics").unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    /// The same of those that have this word in a label, too.
    pub fn sum_of(&self, series: &str, label: &str) -> f64 {
        let metrics = self.get("/metrics").unwrap();
        let label = format!("=\"{label}\"");
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        lines
            .filter(|line| line.contains(&label))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    /// How many messages the stand-in was handed.
    pub fn sent(&self) -> usize {
        let state = self.brevo.state();
        let sends = state.requests.iter();
        sends
            .filter(|one| one.method == "POST" && one.path.ends_with("/smtp/email"))
            .count()
    }

    /// Watches the inboxes of all mailboxes, as soon as they are there.
    pub fn watch_stored(&self) -> Stored {
        let mail = self.path().join("dovecot/mail");
        let maildir = |number| mail.join(format!("box{number}@example.org/Maildir"));
        let maildirs: Vec<_> = (0..self.mailboxes).map(maildir).collect();
        wait_until("every mailbox has been opened", || {
            maildirs
                .iter()
                .all(|one| one.join("new").exists())
                .then_some(())
        });
        Stored::watch(&maildirs)
    }

    /// Whether the stand-in has no connection open, and so has heard all that was sent to it.
    pub fn brevo_is_alone(&self) -> bool {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!(":{:04X}", self.brevo_port);
        connections.lines().skip(1).all(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Established, and closed by the other side: proc_pid_net(5), include/net/tcp_states.h.
            !fields[1].ends_with(&local) || !["01", "08"].contains(&fields[3])
        })
    }

    /// IMAP sessions of the mailbox that has most.
    pub fn most_sessions(&self) -> usize {
        let who = self.dovecot.doveadm(&["-f", "tab", "who"]);
        let counts = who.lines().skip(1).filter_map(|line| {
            let mut fields = line.split('\t');
            let (_, count, service) = (fields.next()?, fields.next()?, fields.next()?);
            (service == "imap").then(|| count.parse::<usize>().unwrap())
        });
        counts.max().unwrap_or(0)
    }

    /// IMAP commands that Dovecot has answered since its start.
    pub fn imap_commands(&self) -> u64 {
        let stats = self.dovecot.doveadm(&["-f", "tab", "stats", "dump"]);
        let line = stats.lines().find(|line| line.starts_with("imap_command"));
        line.and_then(|line| line.split('\t').nth(2)?.parse().ok())
            .unwrap_or(0)
    }

    /// Memory of the scheduler in MiB: now, and at its highest.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib / 1024.0
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Processor time of the scheduler in seconds.
    pub fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        // USER_HZ, which is 100 on every Linux that matters.
        ticks / 100.0
    }

    /// Open descriptors of the scheduler.
    pub fn descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(directory).unwrap().count()
    }

    /// The same, by what they lead to.
    pub fn descriptors_by_kind(&self) -> BTreeMap<&'static str, usize> {
        let process = format!("/proc/{}", self.pid());
        let connections = std::fs::read_to_string(format!("{process}/net/tcp")).unwrap();
        // local, remote, state and inode of each socket: proc_pid_net(5).
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16);
        let kinds: BTreeMap<String, &str> = connections
            .lines()
            .skip(1)
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (local, remote) = (port(fields[1]).unwrap(), port(fields[2]).unwrap());
                let kind = match remote {
                    0 => "listening",
                    _ if local == self.http_port => "http",
                    _ if remote == self.dovecot.imaps_port => "imap",
                    _ if remote == self.brevo_port => "brevo",
                    _ if remote == self.gateway.port => "gateway",
                    _ => "elsewhere",
                };
                (format!("socket:[{}]", fields[9]), kind)
            })
            .collect();
        let mut counts = BTreeMap::new();
        for descriptor in std::fs::read_dir(format!("{process}/fd"))
            .unwrap()
            .flatten()
        {
            // One that has been closed in the meantime is none.
            let Ok(target) = std::fs::read_link(descriptor.path()) else {
                continue;
            };
            let target = target.to_string_lossy().into_owned();
            let kind = match kinds.get(&target) {
                Some(kind) => kind,
                None if target.contains("/history.db") => "history",
                None if target.starts_with("socket:") => "unconnected",
                None => "own",
            };
            *counts.entry(kind).or_default() += 1;
        }
        counts
    }

    /// The scheduler's connections to Dovecot, by their inodes: one that is opened anew has another.
    pub fn imap_connections(&self) -> BTreeSet<String> {
        let process = format!("/proc/{}", self.pid());
        let connections = std::fs::read_to_string(format!("{process}/net/tcp")).unwrap();
        let remote = format!(":{:04X}", self.dovecot.imaps_port);
        let sockets: BTreeSet<String> = connections
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields[2].ends_with(&remote))
            .map(|fields| format!("socket:[{}]", fields[9]))
            .collect();
        let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap();
        descriptors
            .flatten()
            .filter_map(|one| std::fs::read_link(one.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .filter(|target| sockets.contains(target))
            .collect()
    }

    /// Messages in a folder of all mailboxes together.
    pub fn messages(&self, folder: &str) -> usize {
        (0..self.mailboxes)
            .map(|number| {
                let user = format!("box{number}@example.org");
                let found = self
                    .dovecot
                    .doveadm(&["-f", "tab", "fetch", "-u", &user, "uid", "mailbox", folder]);
                found.lines().skip(1).count()
            })
            .sum()
    }
}

/// Whether a line of the log is of a finished run.
pub fn is_run(line: &Value) -> bool {
    line.get("verdict").is_some()
}

/// Asks the scheduler on this port for a run of a probe; whether it has begun.
pub fn begins(port: u16, probe: usize) -> bool {
    let answer = request(port, "POST", &format!("/api/probes/p{probe}/run"));
    answer.is_some_and(|answer| answer.contains("\"begun\":true"))
}

fn request(port: u16, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(mut scheduler) = self.scheduler.take() {
            let _ = scheduler.child.kill();
            let _ = scheduler.child.wait();
        }
    }
}

/// Speaks SMTP on the port that it returns, and LMTP to Dovecot: for one recipient they differ in one word.
fn bridge(lmtp: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                // A server that is just being restarted: the stand-in tries again.
                let _ = carry(&client, lmtp);
            });
        }
    });
    port
}

fn carry(mut client: &TcpStream, lmtp: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", lmtp))?;
    let (mut back, mut answers) = (client.try_clone()?, server.try_clone()?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let answering = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut first = [0; 4];
    client.read_exact(&mut first)?;
    (&server).write_all(if &first == b"EHLO" { b"LHLO" } else { &first })?;
    let _ = std::io::copy(&mut client, &mut &server);
    let _ = server.shutdown(std::net::Shutdown::Both);
    let _ = answering.join();
    Ok(())
}
