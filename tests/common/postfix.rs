//! Postfix: takes SMTP from loopback, and hands what is for `example.org` to Dovecot's LMTP.

use super::process::{Process, free_port, open_to_all, owned_directory, run};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

const MASTER: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// Directories of the queue: name, owner, mode. `postfix check` makes them too, and takes two seconds for it.
const QUEUE: [(&str, &str, u32); 14] = [
    ("active", "postfix", 0o700),
    ("bounce", "postfix", 0o700),
    ("corrupt", "postfix", 0o700),
    ("defer", "postfix", 0o700),
    ("deferred", "postfix", 0o700),
    ("flush", "postfix", 0o700),
    ("hold", "postfix", 0o700),
    ("incoming", "postfix", 0o700),
    ("private", "postfix", 0o700),
    ("saved", "postfix", 0o700),
    ("trace", "postfix", 0o700),
    ("maildrop", "postfix:postdrop", 0o1730),
    ("public", "postfix:postdrop", 0o2710),
    ("pid", "root", 0o755),
];

pub struct Postfix {
    pub port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

/// Each parameter once: of one that is set twice Postfix warns at every start of a process, and its log daemon can wait
/// for ever for itself to write that down.
fn overridden(main: &str, more: &str) -> String {
    let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let set: Vec<_> = more.lines().map(name).collect();
    let kept = main.lines().filter(|line| !set.contains(&name(line)));
    let lines: Vec<_> = kept.chain(more.lines()).collect();
    lines.join("\n") + "\n"
}

impl Postfix {
    /// The usual one.
    pub fn start(parent: &Path, lmtp_port: u16) -> Self {
        Self::start_with(&parent.join("postfix"), lmtp_port, "")
    }

    /// One with more lines in its `main.cf`, in place of those that set the same parameters.
    pub fn start_with(directory: &Path, lmtp_port: u16, more: &str) -> Self {
        lay_out(directory);
        let config = directory.join("config");
        let port = free_port();
        let place = directory.display();
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:ok
virtual_alias_maps = inline:{{ {{ smoke-test@example.org = spam@example.org }}, {{ second@example.org = spam@example.org }}, {{ junk@example.org = spam+Junk@example.org }} }}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_rate_limit = 0
lmtp_destination_recipient_limit = 1
alias_maps =
maillog_file = {place}/log
maillog_file_prefixes = {place}
"
        );
        write_aged(&config.join("main.cf"), &overridden(&main, more));
        let master = format!("{port} inet n - n - - smtpd\n{MASTER}");
        write_aged(&config.join("master.cf"), &master);
        let mut postfix = Self {
            port,
            directory: directory.to_owned(),
            process: None,
        };
        postfix.restart();
        postfix
    }

    /// Starts it, or starts it again.
    pub fn restart(&mut self) {
        self.stop();
        let config = self.directory.join("config");
        let mut command = Command::new("/usr/lib/postfix/sbin/master");
        command
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .env("MAIL_CONFIG", &config);
        let log = self.directory.join("master-log");
        let mut process = Process::start("postfix", &command, &log);
        process.await_port(self.port);
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Runs one of Postfix's commands on this server.
    pub fn command(&self, name: &str, arguments: &[&str]) -> String {
        run(Command::new(name)
            .arg("-c")
            .arg(self.directory.join("config"))
            .args(arguments))
    }

    /// Its mail log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Hands a message in over SMTP, as anybody's.
    pub fn submit(&self, to: &str, raw: &str) {
        use lettre::{SmtpTransport, Transport, address::Envelope};
        let transport = SmtpTransport::builder_dangerous("127.0.0.1")
            .port(self.port)
            .build();
        let envelope = Envelope::new(
            Some("somebody@example.net".parse().unwrap()),
            vec![to.parse().unwrap()],
        )
        .unwrap();
        transport.send_raw(&envelope, raw.as_bytes()).unwrap();
    }
}

/// Makes its directories, `config` among them.
pub fn lay_out(directory: &Path) {
    let queue = directory.join("queue");
    for path in [directory, &directory.join("config"), &queue] {
        std::fs::create_dir_all(path).unwrap();
        open_to_all(path);
    }
    owned_directory(&directory.join("data"), "postfix", 0o700);
    for (name, owner, mode) in QUEUE {
        owned_directory(&queue.join(name), owner, mode);
    }
}

/// Postfix waits until its config has been left alone for two seconds, every daemon of it.
pub fn write_aged(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let file = File::options().append(true).open(path).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    file.set_modified(long_ago).unwrap();
}
