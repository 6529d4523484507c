//! Dovecot: IMAP with a certificate, by TLS from the start and by STARTTLS; LMTP with Sieve; Maildir.

use super::PASSWORD;
use super::process::{Process, free_port, open_to_all, owned_directory, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one mailbox.
pub const USER: &str = "spam@example.org";

pub struct Dovecot {
    /// TLS from the start.
    pub imaps_port: u16,
    /// STARTTLS, and no log-in without.
    pub imap_port: u16,
    pub lmtp_port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Dovecot {
    pub fn start(parent: &Path, certificate: &str, key: &str) -> Self {
        let directory = parent.join("dovecot");
        std::fs::create_dir_all(&directory).unwrap();
        open_to_all(&directory);
        owned_directory(&directory.join("mail"), "nobody:nogroup", 0o755);
        owned_directory(&directory.join("mail").join(USER), "nobody:nogroup", 0o755);
        let mut dovecot = Self {
            imaps_port: free_port(),
            imap_port: free_port(),
            lmtp_port: free_port(),
            directory,
            process: None,
        };
        dovecot.set_certificate(certificate, key);
        dovecot.set_password(PASSWORD);
        std::fs::write(dovecot.directory.join("dovecot.conf"), dovecot.config()).unwrap();
        dovecot.restart();
        dovecot
    }

    /// From the next start on.
    pub fn set_certificate(&self, certificate: &str, key: &str) {
        std::fs::write(self.directory.join("cert.pem"), certificate).unwrap();
        std::fs::write(self.directory.join("key.pem"), key).unwrap();
    }

    /// From the next start on.
    pub fn set_password(&self, password: &str) {
        let users = format!("{USER}:{{PLAIN}}{password}\n");
        std::fs::write(self.directory.join("users"), users).unwrap();
    }

    /// The mailbox's Sieve script, from the next message on.
    pub fn set_sieve(&self, script: &str) {
        let path = self.directory.join("mail").join(USER).join("sieve");
        std::fs::write(path, script).unwrap();
    }

    fn config(&self) -> String {
        let directory = self.directory.display();
        let Self {
            imaps_port,
            imap_port,
            lmtp_port,
            ..
        } = self;
        format!(
            r#"base_dir = {directory}/run
state_dir = {directory}/state
protocols = imap lmtp
listen = 127.0.0.1
log_path = /dev/stderr
auth_verbose = yes
ssl = required
ssl_cert = <{directory}/cert.pem
ssl_key = <{directory}/key.pem
mail_location = maildir:~/Maildir
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_max_userip_connections = 200
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
passdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = home={directory}/mail/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  mailbox Junk {{
    auto = create
    special_use = \Junk
  }}
  mailbox Trash {{
    auto = create
    special_use = \Trash
  }}
}}
service imap-login {{
  process_min_avail = 1
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  process_min_avail = 1
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
}}
protocol lmtp {{
  mail_plugins = sieve
}}
plugin {{
  sieve = file:~/sieve
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"#
        )
    }

    /// More lines of its config, from the next start on.
    pub fn configure(&self, more: &str) {
        let text = self.config() + more;
        std::fs::write(self.directory.join("dovecot.conf"), text).unwrap();
    }

    /// Starts it, or starts it again.
    pub fn restart(&mut self) {
        self.stop();
        let log = self.directory.join("log");
        let mut command = Command::new("dovecot");
        command
            .arg("-F")
            .arg("-c")
            .arg(self.directory.join("dovecot.conf"));
        let mut process = Process::start("dovecot", &command, &log);
        for port in [self.imaps_port, self.imap_port, self.lmtp_port] {
            process.await_port(port);
        }
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Ends it with all its sessions, which outlive an orderly end.
    pub fn crash(&mut self) {
        self.process = None;
    }

    /// The mailbox's Maildir.
    pub fn maildir(&self) -> PathBuf {
        self.directory.join("mail").join(USER).join("Maildir")
    }

    /// Runs doveadm on this server.
    pub fn doveadm(&self, arguments: &[&str]) -> String {
        run(Command::new("doveadm")
            .arg("-c")
            .arg(self.directory.join("dovecot.conf"))
            .args(arguments))
    }

    /// Every message in a folder: UID, flags and subject, one a line. Without `\Recent`, which is no flag of a message's
    /// but says who asked first.
    pub fn messages(&self, folder: &str) -> Vec<String> {
        let found = self.doveadm(&[
            "-f",
            "tab",
            "fetch",
            "-u",
            USER,
            "uid flags hdr.subject",
            "mailbox",
            folder,
        ]);
        let lines = found.lines().skip(1);
        lines
            .map(|line| line.replace(" \\Recent", "").replace("\\Recent", ""))
            .collect()
    }

    /// Saves a message into a folder.
    pub fn save(&self, folder: &str, raw: &str) {
        use std::io::Write;
        let mut child = Command::new("doveadm")
            .arg("-c")
            .arg(self.directory.join("dovecot.conf"))
            .args(["save", "-u", USER, "-m", folder])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(raw.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}
