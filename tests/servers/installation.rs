//! What the README says of an installation, done word by word on a machine that has nothing of ours yet: its own commands
//! and configs, in their order, from a clone to reports in Pushgateway and Uptime Kuma.

use crate::common::alone::on_loopback_alone;
use crate::common::machine::Machine;
use crate::common::{API_KEY, PASSWORD, SECRETS, Site, binary};
use std::path::Path;
use std::time::{Duration, Instant};

/// Stands for `cargo install`, which takes minutes: what it would have built is there already.
const CARGO: &str = "#!/bin/sh -eu
[ \"$*\" = 'install --locked --path .' ] && [ -e Cargo.toml ]
install -D -m 755 /usr/local/lib/mailprobe-built ~/.cargo/bin/mailprobe
";

/// A block of the chapter: what it is of, and its text without its indent.
struct Block {
    kind: String,
    text: String,
}

impl Block {
    /// The commands of a `console`.
    fn commands(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines.map(|line| line.strip_prefix("$ ").unwrap()).collect()
    }
}

/// Every fenced block of the chapter on installing, in order.
fn blocks() -> Vec<Block> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let heading = "\n## Ten minutes to a real installation\n";
    let (_, chapter) = readme.split_once(heading).unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in chapter.lines() {
        let trimmed = line.trim_start();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block {
                    kind: kind.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                let text = line.strip_prefix("   ").unwrap_or(line);
                block.text.push_str(&format!("{text}\n"));
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The config with the addresses of this site; its names are on the machine's list of hosts.
fn with_addresses(config: &str, site: &Site) -> String {
    let replace = |text: &str, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        text.replace(from, to)
    };
    let brevo = format!(
        "type    = \"brevo\"\nbase_url = \"https://127.0.0.1:{}/v3\"\nca_file = \"/etc/mailprobe/ca.pem\"\n",
        site.brevo_port
    );
    let imap = format!(
        "type     = \"imap\"\nport = {}\nca_file = \"/etc/mailprobe/ca.pem\"\n",
        site.dovecot.imaps_port
    );
    let config = replace(config, "type    = \"brevo\"\n", &brevo);
    replace(&config, "type     = \"imap\"\n", &imap)
}

/// Waits for a condition of the machine's, longer than one minute of cron's or of Prometheus'.
#[track_caller]
fn within_two_minutes(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < end, "after two minutes still not: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How often Uptime Kuma was told that all is well; it was never told anything else.
#[track_caller]
fn heartbeats(site: &Site) -> usize {
    let requests = site.kuma.requests();
    // `check` looks whether it is there.
    let pushes = requests
        .iter()
        .filter(|one| one.path.starts_with("/api/push/"));
    let pushes: Vec<_> = pushes.map(|one| &one.query).collect();
    for query in &pushes {
        let is_up = query
            .iter()
            .any(|(name, value)| name == "status" && value == "up");
        assert!(is_up, "{query:?}");
    }
    pushes.len()
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_readme_leads_from_a_clone_to_reports_in_pushgateway_and_kuma_within_ten_minutes() {
    on_loopback_alone(
        "installation::the_readme_leads_from_a_clone_to_reports_in_pushgateway_and_kuma_within_ten_minutes",
        follow_the_readme,
    );
}

/// A machine with what is there before: Debian's servers, the site's names, and a compiler.
fn with_servers() -> Machine {
    let machine = Machine::start();
    let hosts = "127.0.0.1 localhost mail.example.org pushgateway.example.org\n";
    machine.write("/etc/hosts", "644", hosts.as_bytes());
    let program = std::fs::read(binary()).unwrap();
    machine.write("/usr/local/lib/mailprobe-built", "755", &program);
    machine.write("/usr/local/bin/cargo", "755", CARGO.as_bytes());
    machine.write("/usr/local/bin/sudo", "755", b"#!/bin/sh\nexec \"$@\"\n");
    machine.run(
        "systemctl start prometheus-pushgateway prometheus cron",
        b"",
    );
    machine
}

fn follow_the_readme() {
    let blocks = blocks();
    let kinds: Vec<&str> = blocks.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "console", "console", "toml", "console", "console", "console", "console", "console",
            "yaml", "console"
        ]
    );
    let [
        install,
        secrets,
        config,
        doctor,
        first,
        timer,
        scheduler,
        cron,
        prometheus,
        alerts,
    ] = blocks.try_into().ok().unwrap();

    let site = Site::start();
    let machine = with_servers();
    let begun = Instant::now();
    for command in install.commands() {
        machine.run(command, b"");
    }
    let url = site.kuma_push_url();
    let mut pasted = [API_KEY, PASSWORD, &url].into_iter();
    for command in secrets.commands() {
        let input = if command.contains(" tee ") {
            format!("{}\n", pasted.next().unwrap())
        } else {
            String::new()
        };
        machine.run(command, input.as_bytes());
    }
    assert_eq!(pasted.next(), None);
    let text = with_addresses(&config.text, &site);
    machine.write("/etc/mailprobe/mailprobe.toml", "644", text.as_bytes());
    let ca = site.authority.pem();
    machine.write("/etc/mailprobe/ca.pem", "644", ca.as_bytes());

    let said = machine.run(doctor.commands()[0], b"");
    assert!(said.contains("heartbeat interval"), "{said}");
    let said = machine.run(first.commands()[0], b"");
    assert!(said.contains("delivered in"), "{said}");
    assert_eq!(heartbeats(&site), 1);
    let gateway = "curl --fail --silent http://pushgateway.example.org:9091/metrics";
    let metrics = machine.run(gateway, b"");
    let success = "email_roundtrip_success{instance=\"\",job=\"mailprobe\",probe=\"external\"} 1\n";
    assert!(metrics.contains(success), "{metrics}");
    let taken = begun.elapsed();
    println!(
        "from the clone to the first report in {:.1} s, without compiling",
        taken.as_secs_f64()
    );
    assert!(taken < Duration::from_secs(600));

    by_cron_and_prometheus(&machine, &cron, &prometheus, &alerts);
    by_the_timer(&machine, &site, &timer);
    by_the_scheduler(&machine, &site, &scheduler);
    let before = heartbeats(&site);
    within_two_minutes("cron has it run", || heartbeats(&site) > before);
    machine.run("rm /etc/cron.d/mailprobe", b"");
    let asked =
        "curl --fail --silent 'http://127.0.0.1:9090/api/v1/query?query=email_roundtrip_success'";
    within_two_minutes("Prometheus knows of the success", || {
        machine.run(asked, b"").contains("\"probe\":\"external\"")
    });
    let journal = machine.run("journalctl", b"");
    for secret in SECRETS {
        assert!(!journal.contains(secret), "a secret is in the journal");
    }
}

/// Begins what takes a minute.
fn by_cron_and_prometheus(machine: &Machine, cron: &Block, prometheus: &Block, alerts: &Block) {
    for command in cron.commands() {
        let every_minute = command.replace("*/20 * * * *", "* * * * *");
        assert_ne!(every_minute, command);
        machine.run(&every_minute, b"");
    }
    machine.write(
        "/etc/prometheus/prometheus.yml",
        "644",
        prometheus.text.as_bytes(),
    );
    for command in alerts.commands() {
        machine.run(command, b"");
    }
    let rules = "curl --fail --silent http://127.0.0.1:9090/api/v1/rules";
    within_two_minutes("Prometheus has the rules", || {
        machine.run(rules, b"").contains("MailDeliveryFailing")
    });
}

fn by_the_timer(machine: &Machine, site: &Site, timer: &Block) {
    let before = heartbeats(site);
    let mut said = String::new();
    for command in timer.commands() {
        said = machine.run(command, b"");
    }
    assert!(said.contains("delivered in"), "{said}");
    assert!(heartbeats(site) > before);
    let next = machine.run("systemctl list-timers mailprobe-run.timer", b"");
    assert!(next.contains("mailprobe-run.service"), "{next}");
    machine.run("systemctl disable --now mailprobe-run.timer", b"");
}

fn by_the_scheduler(machine: &Machine, site: &Site, scheduler: &Block) {
    let before = heartbeats(site);
    // As the chapter on systemd says.
    let more = b"\n[serve]\nstate_dir = \"/var/lib/mailprobe\"\n";
    machine.run("cat >> /etc/mailprobe/mailprobe.toml", more);
    let mut said = String::new();
    for command in scheduler.commands() {
        said = machine.run(command, b"");
    }
    assert!(said.contains("mailprobe_build_info"), "{said}");
    within_two_minutes("the scheduler has run it", || {
        let metrics = machine.run("curl --fail --silent http://127.0.0.1:9797/metrics", b"");
        metrics.contains("mailprobe_runs_total{probe=\"external\",verdict=\"delivered\"} 1\n")
    });
    within_two_minutes("Uptime Kuma has heard", || heartbeats(site) > before);
    machine.run("systemctl disable --now mailprobe.service", b"");
    machine.run("test -s /var/lib/mailprobe/history.db", b"");
}
