//! Postfix: takes SMTP from loopback, and hands what is for `example.org` to Dovecot's LMTP.

use super::process::{Process, free_port, open_to_all, run};
use std::path::Path;
use std::process::Command;

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

pub struct Postfix {
    pub port: u16,
    _process: Process,
}

impl Postfix {
    pub fn start(parent: &Path, lmtp_port: u16) -> Self {
        let directory = parent.join("postfix");
        for name in ["", "config", "queue", "data"] {
            std::fs::create_dir_all(directory.join(name)).unwrap();
            open_to_all(&directory.join(name));
        }
        run(Command::new("chown")
            .arg("postfix")
            .arg(directory.join("data")));
        let port = free_port();
        let config = directory.join("config");
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
        std::fs::write(config.join("main.cf"), main).unwrap();
        std::fs::write(
            config.join("master.cf"),
            format!("{port} inet n - n - - smtpd\n{MASTER}"),
        )
        .unwrap();
        // Makes the directories of the queue.
        run(Command::new("postfix").arg("-c").arg(&config).arg("check"));
        let mut command = Command::new("/usr/lib/postfix/sbin/master");
        command
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .env("MAIL_CONFIG", &config);
        let mut process = Process::start("postfix", &mut command, &directory.join("master-log"));
        process.await_port(port);
        Self {
            port,
            _process: process,
        }
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
