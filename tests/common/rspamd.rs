//! Rspamd as Postfix's milter, with a resolver of its own: it knows no key and no SPF record, as an internal zone that
//! was forgotten.

use super::process::{Process, free_port, open_to_all, owned_directory};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

pub struct Rspamd {
    pub milter_port: u16,
    _process: Process,
}

impl Rspamd {
    pub fn start(parent: &Path) -> Self {
        let directory = parent.join("rspamd");
        std::fs::create_dir_all(&directory).unwrap();
        open_to_all(&directory);
        owned_directory(&directory.join("data"), "_rspamd:_rspamd", 0o755);
        let milter_port = free_port();
        let config = directory.join("rspamd.conf");
        let place = directory.display();
        let resolver = empty_zone();
        let text = format!(
            r#"options {{
  pidfile = "{place}/data/rspamd.pid";
  local_addrs = [];
  filters = "dkim,regexp";
  dns {{ nameserver = "127.0.0.1:{resolver}"; timeout = 2s; retransmits = 2; }}
  cache_file = "{place}/data/symbols.cache";
  rrd = "";
}}
logging {{ type = "file"; filename = "{place}/data/log"; level = "info"; }}
lua = "/usr/share/rspamd/rules/rspamd.lua";
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{milter_port}";
  milter = yes;
  timeout = 20s;
  upstream "local" {{ default = yes; self_scan = yes; }}
  count = 1;
}}
modules {{ path = "/usr/share/rspamd/plugins/"; }}
dkim {{ check_local = true; check_authed = true; }}
spf {{ check_local = true; check_authed = true; }}
dmarc {{ check_local = true; check_authed = true; }}
milter_headers {{
  use = ["x-spamd-result", "x-rspamd-action", "authentication-results", "spam-header"];
  skip_local = false;
  skip_authenticated = false;
  routines {{
    "spam-header" {{ header = "X-Spam"; value = "Yes"; }}
    "authentication-results" {{ spf_symbols {{ pass = "R_SPF_ALLOW"; fail = "R_SPF_FAIL"; softfail = "R_SPF_SOFTFAIL"; neutral = "R_SPF_NEUTRAL"; temperror = "R_SPF_DNSFAIL"; none = "R_SPF_NA"; permerror = "R_SPF_PERMFAIL"; }} }}
  }}
}}
actions {{ reject = 15; add_header = 4; greylist = null; }}
metric {{
  name = "default";
  actions {{ reject = 15; add_header = 4; }}
  group "policies" {{
    symbol "R_DKIM_PERMFAIL" {{ weight = 4.5; }}
    symbol "R_DKIM_REJECT" {{ weight = 1.0; }}
    symbol "R_DKIM_ALLOW" {{ weight = -0.2; }}
    symbol "DMARC_POLICY_SOFTFAIL" {{ weight = 1.5; }}
  }}
}}
"#
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("rspamd");
        command
            .args(["-f", "-u", "_rspamd", "-g", "_rspamd", "-c"])
            .arg(&config);
        let mut process = Process::start("rspamd", &command, &directory.join("master-log"));
        process.await_port(milter_port);
        Self {
            milter_port,
            _process: process,
        }
    }
}

/// A resolver that knows no name at all (NXDOMAIN, RFC 1035 section 4.1.1); its port.
fn empty_zone() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // Header and question, without additional records.
            let end = (12..length).find(|at| buffer[*at] == 0).unwrap_or(length) + 5;
            let mut answer = buffer[..end.min(length)].to_vec();
            if answer.len() < 12 {
                continue;
            }
            answer[2] = 0x84 | (answer[2] & 1);
            answer[3] = 0x83;
            answer[6..12].fill(0);
            let _ = socket.send_to(&answer, from);
        }
    });
    port
}
