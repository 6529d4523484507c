//! The Debian package: built by cargo-deb from what ships, looked at with Debian's own programs, installed with them.

use crate::common::image::{script, target};
use crate::common::machine::Machine;
use crate::common::process::run;
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds the package; where it is.
fn build(directory: &Path) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    let said = run(script("debian/build")
        .arg(directory)
        .env("SOURCE_DATE_EPOCH", "1767225600")
        .env(
            "PATH",
            format!("{}/bin:{path}", tools::directory().display()),
        ));
    PathBuf::from(said.lines().find(|line| line.starts_with('/')).unwrap())
}

/// The package, built once for all tests.
fn package() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&target().join("debian-package")))
}

/// A machine on which the package was installed.
#[track_caller]
fn installed() -> Machine {
    let package = std::fs::read(package()).unwrap();
    let machine = Machine::start();
    // Where this is a container itself, it may forbid packages to start their services.
    machine.run("rm -f /usr/sbin/policy-rc.d", b"");
    machine.write("/root/mailprobe.deb", "644", &package);
    machine.run("dpkg -i /root/mailprobe.deb", b"");
    machine
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_same_commit_gives_the_same_package() {
    let directory = tempfile::tempdir().unwrap();
    let first = package();
    let second = build(directory.path());
    run(Command::new("cmp").arg(first).arg(second));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn lintian_finds_nothing_in_the_package_but_what_is_meant() {
    // It is in nobody's archive; its config may hold secrets; its program is static.
    let meant =
        "initial-upload-closes-no-bugs,non-standard-file-perm,shared-library-lacks-prerequisites";
    let said = run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning"])
        .args(["--suppress-tags", meant])
        .arg(package()));
    assert_eq!(said, "");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_package_brings_program_manual_completions_and_licences_and_enables_nothing() {
    let machine = installed();
    let see = |line: &str| machine.run(line, b"");
    assert_eq!(
        see("mailprobe --version"),
        concat!("mailprobe ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = see("mailprobe --help");
    let commands = help.split("\nCommands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let mut pages: Vec<String> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(|name| format!("mailprobe-{name}.1.gz"))
        .collect();
    assert_eq!(pages.len(), 7, "{help}");
    pages.push("mailprobe.1.gz".to_owned());
    pages.sort();
    let found = see("cd /usr/share/man/man1 && LC_ALL=C ls mailprobe*");
    assert_eq!(found.lines().collect::<Vec<_>>(), pages);
    assert!(see("zcat /usr/share/man/man1/mailprobe-run.1.gz").contains("\n.TH mailprobe-run 1 "));
    see("bash -n /usr/share/bash-completion/completions/mailprobe");
    see("zsh -n /usr/share/zsh/vendor-completions/_mailprobe");
    see("fish -n /usr/share/fish/vendor_completions.d/mailprobe.fish");
    assert_eq!(
        see("LC_ALL=C ls /usr/share/doc/mailprobe"),
        "changelog.Debian.gz\nchangelog.gz\ncopyright\nlicences.txt\nmailprobe.cdx.json\n"
    );
    let states = see("systemctl list-unit-files --no-legend 'mailprobe*' | awk '{print $1, $2}'");
    assert_eq!(
        states,
        "mailprobe-run.service static\nmailprobe.service disabled\nmailprobe-run.timer disabled\n"
    );
    let active = see("systemctl list-units --no-legend 'mailprobe*'");
    assert_eq!(active, "");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn systemd_takes_the_installed_units_and_rates_them_as_safe() {
    let machine = installed();
    let units =
        "/usr/lib/systemd/system/mailprobe.service /usr/lib/systemd/system/mailprobe-run.service";
    // Their manual page is looked for as well.
    let verify =
        format!("systemd-analyze verify {units} /usr/lib/systemd/system/mailprobe-run.timer 2>&1");
    assert_eq!(machine.run(&verify, b""), "");
    let rate = format!("systemd-analyze security --offline=true --threshold=20 {units}");
    machine.run(&rate, b"");
    machine.run(
        "sed -i s/^Type=/Typ=/ /usr/lib/systemd/system/mailprobe.service",
        b"",
    );
    let said = machine.try_to(&verify, b"");
    assert!(said.stdout.contains("'Typ'"), "{said:?}");
}

/// What does nothing until the year ends, and holds the secrets that the units bring.
const CONFIG: &str = r#"
[[probe]]
name = "external"
sender = "brevo"
mailbox = "spam"
to = "smoke-test@example.org"
schedule = "0 0 1 1 *"
[sender.brevo]
type = "brevo"
api_key = { file = "/etc/mailprobe/secrets/brevo-api-key" }
from = "monitoring@example.org"
base_url = "https://127.0.0.1:9/v3"
[mailbox.spam]
type = "imap"
host = "127.0.0.1"
port = 9
username = "spam@example.org"
password = { file = "/etc/mailprobe/secrets/imap-password" }
[[sink]]
type = "pushgateway"
url = "http://127.0.0.1:9"
[serve]
listen = "127.0.0.1:0"
state_dir = "/var/lib/mailprobe"
"#;

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_service_runs_as_a_user_who_alone_reads_the_config_and_outlives_an_upgrade() {
    let machine = installed();
    let see = |line: &str| machine.run(line, b"");
    let modes = "stat -c '%U:%G %a %n' /etc/mailprobe/mailprobe.toml /etc/mailprobe/secrets";
    let as_installed =
        "root:mailprobe 640 /etc/mailprobe/mailprobe.toml\nroot:root 700 /etc/mailprobe/secrets\n";
    assert_eq!(see(modes), as_installed);
    machine.run("cat >/etc/mailprobe/mailprobe.toml", CONFIG.as_bytes());
    for secret in ["brevo-api-key", "imap-password"] {
        let path = format!("/etc/mailprobe/secrets/{secret}");
        machine.write(&path, "600", b"a-secret-of-more-than-16-bytes");
    }
    let others = machine.try_to(
        "setpriv --reuid nobody --regid nogroup --clear-groups mailprobe generate kubernetes",
        b"",
    );
    assert!(others.stderr.contains("Permission denied"), "{others:?}");

    // It is there once it has said that it is ready.
    see("systemctl start mailprobe.service");
    let process = "systemctl show --property=MainPID --value mailprobe.service";
    let first = see(process);
    let user = see(&format!("ps -o user= -p {first}"));
    assert_eq!(user.trim_end(), "mailprobe");
    see("dpkg -i /root/mailprobe.deb");
    see("systemctl is-active mailprobe.service");
    assert_ne!(see(process), first);
    assert_eq!(see(modes), as_installed);
    assert_eq!(see("cat /etc/mailprobe/mailprobe.toml"), CONFIG);

    see("dpkg --remove mailprobe");
    let active = machine.try_to("systemctl is-active mailprobe.service", b"");
    assert_eq!(active.stdout, "inactive\n");
    assert_eq!(see("cat /etc/mailprobe/mailprobe.toml"), CONFIG);
    see("dpkg --purge mailprobe");
    // What the operator made is the operator's to delete.
    assert_eq!(
        see("LC_ALL=C find /etc/mailprobe | sort"),
        "/etc/mailprobe\n/etc/mailprobe/secrets\n/etc/mailprobe/secrets/brevo-api-key\n\
         /etc/mailprobe/secrets/imap-password\n"
    );
    assert_eq!(
        see("find /usr/bin /usr/lib/systemd /etc/systemd -name '*mailprobe*'"),
        ""
    );
}
