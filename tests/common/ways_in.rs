//! A mail server with two ways in: ports as they come, and the same ones behind a balancer, which demand a PROXY header.
//! Postfix (postscreen and smtpd) and Dovecot, as in a container behind HAProxy.

use super::PASSWORD;
use super::postfix;
use super::process::{Process, free_port, open_to_all, run};
use mailprobe::demo::ca::Authority;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Who the listeners claim to be: in nobody's network.
pub const SOURCE: &str = "192.0.2.1:4242";

/// The eight listeners: name, protocol, and whether the port is behind a balancer.
pub const LISTENERS: [(&str, &str, bool); 8] = [
    ("smtp", "smtp", false),
    ("smtps", "smtps", false),
    ("submission", "submission", false),
    ("imaps", "imaps", false),
    ("smtp-proxy", "smtp", true),
    ("smtps-proxy", "smtps", true),
    ("submission-proxy", "submission", true),
    ("imaps-proxy", "imaps", true),
];

const POSTSCREEN_PROXY: &str = "-o postscreen_upstream_proxy_protocol=haproxy";
const SMTPD_PROXY: &str = "-o smtpd_upstream_proxy_protocol=haproxy";

/// What a test sets wrong.
#[derive(Debug, Clone)]
pub struct Settings {
    /// More of each service's options in master.cf, or less; by the listener's name.
    pub options: Vec<(&'static str, String)>,
    /// Lines at the end of main.cf.
    pub main: String,
    /// `haproxy = yes` on Dovecot's ports, by name.
    pub haproxy: Vec<&'static str>,
    /// Dovecot's `haproxy_trusted_networks`.
    pub trusted: &'static str,
    /// Names in the certificate that smtps shows.
    pub smtps_names: Vec<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        let option = |name: &'static str, text: &str| (name, text.to_owned());
        Self {
            options: vec![
                option("smtps", "-o smtpd_tls_wrappermode=yes"),
                option("smtp-proxy", POSTSCREEN_PROXY),
                option("smtps-proxy", SMTPD_PROXY),
                option("smtps-proxy", "-o smtpd_tls_wrappermode=yes"),
                option("submission-proxy", SMTPD_PROXY),
            ],
            main: String::new(),
            haproxy: vec!["imaps-proxy"],
            trusted: "127.0.0.0/8",
            smtps_names: vec!["mail.example.org"],
        }
    }
}

impl Settings {
    /// Takes the demand for a PROXY header off a port of Postfix.
    pub fn without_header(mut self, name: &str) -> Self {
        self.options
            .retain(|(one, text)| *one != name || !text.contains("upstream_proxy_protocol"));
        self
    }

    /// More options for one port.
    pub fn with(mut self, name: &'static str, option: &str) -> Self {
        self.options.push((name, option.to_owned()));
        self
    }
}

/// Two ways into one server.
pub struct WaysIn {
    pub directory: TempDir,
    pub authority: Authority,
    ports: [u16; 8],
    auth_port: u16,
    lmtp_port: u16,
    settings: Settings,
    postfix: Option<Process>,
    dovecot: Option<Process>,
    haproxy: Option<Process>,
}

impl WaysIn {
    /// Starts it all. Fails where a server is not installed: `tests/run` installs them.
    pub fn start(settings: Settings) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mailprobe-ways-in-")
            .tempdir()
            .unwrap();
        open_to_all(directory.path());
        let authority = Authority::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let mut ways_in = Self {
            directory,
            authority,
            ports: std::array::from_fn(|_| free_port()),
            auth_port: free_port(),
            lmtp_port: free_port(),
            settings,
            postfix: None,
            dovecot: None,
            haproxy: None,
        };
        ways_in.certificate("cert", &["mail.example.org"]);
        let names = ways_in.settings.smtps_names.clone();
        ways_in.certificate("smtps", &names);
        ways_in.start_dovecot();
        ways_in.start_postfix();
        ways_in
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The port of a listener.
    pub fn port(&self, name: &str) -> u16 {
        let index = LISTENERS.iter().position(|one| one.0 == name).unwrap();
        self.ports[index]
    }

    fn certificate(&self, file: &str, names: &[&str]) {
        let pem = self.authority.issue(names).unwrap();
        std::fs::write(
            self.path().join(format!("{file}.pem")),
            // Postfix wants the key first.
            format!("{}{}", pem.key, pem.certificate),
        )
        .unwrap();
    }

    fn start_dovecot(&mut self) {
        let directory = self.path().join("dovecot");
        std::fs::create_dir_all(directory.join("mail")).unwrap();
        open_to_all(&directory);
        run(Command::new("chown")
            .arg("nobody:nogroup")
            .arg(directory.join("mail")));
        std::fs::write(
            directory.join("users"),
            format!("spam@example.org:{{PLAIN}}{PASSWORD}\n"),
        )
        .unwrap();
        std::fs::write(directory.join("dovecot.conf"), self.dovecot_config()).unwrap();
        let mut command = Command::new("dovecot");
        command
            .arg("-F")
            .arg("-c")
            .arg(directory.join("dovecot.conf"));
        let mut process = Process::start("dovecot", &command, &directory.join("log"));
        for port in [self.port("imaps"), self.auth_port, self.lmtp_port] {
            process.await_port(port);
        }
        self.dovecot = Some(process);
    }

    fn dovecot_config(&self) -> String {
        let place = self.path().display();
        let mut listeners = String::new();
        for name in ["imaps", "imaps-proxy"] {
            let haproxy = if self.settings.haproxy.contains(&name) {
                "yes"
            } else {
                "no"
            };
            let port = self.port(name);
            write!(
                listeners,
                "  inet_listener {name} {{\n    port = {port}\n    ssl = yes\n    haproxy = {haproxy}\n  }}\n"
            )
            .unwrap();
        }
        let (auth, lmtp) = (self.auth_port, self.lmtp_port);
        let trusted = self.settings.trusted;
        format!(
            "base_dir = {place}/dovecot/run
state_dir = {place}/dovecot/state
protocols = imap lmtp
listen = 127.0.0.1
log_path = /dev/stderr
ssl = required
ssl_cert = <{place}/cert.pem
ssl_key = <{place}/cert.pem
haproxy_trusted_networks = {trusted}
mail_location = maildir:~/Maildir
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = username_format=%u {place}/dovecot/users
}}
userdb {{
  driver = static
  args = home={place}/dovecot/mail/%u allow_all_users=yes
}}
service imap-login {{
  process_min_avail = 2
  inet_listener imap {{
    port = 0
  }}
{listeners}}}
service auth {{
  inet_listener {{
    port = {auth}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"
        )
    }

    fn start_postfix(&mut self) {
        let directory = self.path().join("postfix");
        postfix::lay_out(&directory);
        let config = directory.join("config");
        postfix::write_aged(&config.join("main.cf"), &self.main_cf());
        postfix::write_aged(&config.join("master.cf"), &self.master_cf());
        let mut command = Command::new("/usr/lib/postfix/sbin/master");
        command
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .env("MAIL_CONFIG", &config);
        let mut process = Process::start("postfix", &command, &directory.join("master-log"));
        process.await_port(self.port("smtp"));
        self.postfix = Some(process);
    }

    fn main_cf(&self) -> String {
        let place = self.path().display();
        let (auth, lmtp) = (self.auth_port, self.lmtp_port);
        let more = &self.settings.main;
        format!(
            "compatibility_level = 3.6
queue_directory = {place}/postfix/queue
data_directory = {place}/postfix/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = {place}/cert.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
postscreen_access_list = inline:{{ {{ 127.0.0.1 = permit }}, {{ 192.0.2.1 = permit }} }}
postscreen_greet_wait = 1s
postscreen_cache_map =
alias_maps =
notify_classes =
maillog_file = {place}/postfix/log
maillog_file_prefixes = {place}
{more}
"
        )
    }

    fn master_cf(&self) -> String {
        let mut text = String::new();
        for (name, protocol, _) in LISTENERS {
            let options: Vec<&str> = self
                .settings
                .options
                .iter()
                .filter(|(one, _)| *one == name)
                .map(|(_, text)| text.as_str())
                .collect();
            let port = self.port(name);
            let options = options.join(" ");
            match protocol {
                "smtp" => writeln!(text, "{port} inet n - n - 1 postscreen {options}").unwrap(),
                "smtps" if name == "smtps" => writeln!(
                    text,
                    "{port} inet n - n - - smtpd -o smtpd_tls_chain_files={}/smtps.pem {options}",
                    self.path().display()
                )
                .unwrap(),
                "smtps" | "submission" => {
                    writeln!(text, "{port} inet n - n - - smtpd {options}").unwrap();
                }
                _ => {}
            }
        }
        text.push_str(
            "smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
",
        );
        text
    }

    /// HAProxy before the ports that demand a header, each with a port of its own; the ports in the order of LISTENERS.
    /// `header` is what it is told to send, `send-proxy-v2` as a rule.
    pub fn balance(&mut self, header: &str) -> Vec<(&'static str, &'static str, u16)> {
        let mut config = String::from(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n",
        );
        let mut front = Vec::new();
        for (name, protocol, is_behind) in LISTENERS {
            if is_behind {
                let (port, back) = (free_port(), self.port(name));
                write!(
                    config,
                    "listen {name}\n  bind 127.0.0.1:{port}\n  server mail 127.0.0.1:{back} {header}\n"
                )
                .unwrap();
                front.push((name, protocol, port));
            }
        }
        let file = self.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::start("haproxy", &command, &self.path().join("haproxy-log"));
        process.await_port(front[0].2);
        self.haproxy = Some(process);
        front
    }

    /// The listener section of the config for these ports: name, protocol, port, and whether behind a header.
    pub fn listener(&self, name: &str, protocol: &str, port: u16, is_behind: bool) -> String {
        let header = if is_behind {
            format!("proxy_protocol = \"v2\"\nproxy_source = \"{SOURCE}\"\n")
        } else {
            String::new()
        };
        format!(
            "[[listener]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nprotocol = \"{protocol}\"\n\
             tls_server_name = \"mail.example.org\"\nca_file = \"{}/ca.pem\"\n{header}\n",
            self.path().display()
        )
    }

    /// All eight listeners of the config.
    pub fn listeners(&self) -> String {
        let sections = LISTENERS.map(|(name, protocol, is_behind)| {
            self.listener(name, protocol, self.port(name), is_behind)
        });
        sections.concat()
    }

    /// `mailprobe` with a config of these listeners and a probe that is not run: what it says.
    pub fn see(&self, listeners: &str, arguments: &[&str]) -> Output {
        self.command(listeners, arguments).output().unwrap()
    }

    /// The same, to be started.
    pub fn command(&self, listeners: &str, arguments: &[&str]) -> Command {
        let path: PathBuf = self.path().join("mailprobe.toml");
        let text = format!(
            "[[probe]]\nname = \"external\"\nsender = \"brevo\"\nmailbox = \"spam\"\nto = \"spam@example.org\"\n\n\
             [sender.brevo]\ntype = \"brevo\"\napi_key = {{ env = \"BREVO_API_KEY\" }}\nfrom = \"monitoring@example.org\"\n\n\
             [mailbox.spam]\ntype = \"imap\"\nhost = \"127.0.0.1\"\nusername = \"spam@example.org\"\n\
             password = {{ env = \"EMAIL_MONITOR_IMAP_PASSWORD\" }}\n\n{listeners}"
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(super::binary());
        command.args(arguments).arg("--config").arg(path);
        command
    }

    /// Ends Dovecot, and with it every mailbox.
    pub fn stop_dovecot(&mut self) {
        self.dovecot = None;
    }

    /// What Postfix logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("postfix/log")).unwrap_or_default()
    }

    /// Every message in the mailbox, raw.
    pub fn messages(&self) -> Vec<String> {
        let new = self
            .path()
            .join("dovecot/mail/spam@example.org/Maildir/new");
        let files = std::fs::read_dir(new).into_iter().flatten();
        files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }
}
