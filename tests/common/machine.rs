//! A machine to install on: Debian's files, a systemd of its own, and nothing of ours yet. `tests/tools/machine` makes it.

use super::process::Process;
use super::wait_until;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Machine {
    /// Its systemd, by the number that it has out here.
    systemd: String,
    cgroup: PathBuf,
    process: Option<Process>,
    _directory: TempDir,
}

/// What a command on the machine did.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Machine {
    /// Boots it. It has the network of this process.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mailprobe-machine-")
            .tempdir()
            .unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/machine");
        let mut command = Command::new(script);
        let work = directory.path().join("work");
        std::fs::create_dir(&work).unwrap();
        command.arg(&work);
        let process = Process::start("a machine", &command, &directory.path().join("log"));
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let systemd = wait_until("the machine has a first process", || {
            let inside = std::fs::read_to_string(work.join("cgroup")).ok()?;
            let children = std::fs::read_to_string(&children).ok()?;
            let child = children.split_whitespace().next()?.to_owned();
            let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            assert!(!inside.is_empty());
            (name == "systemd\n").then_some(child)
        });
        let cgroup = std::fs::read_to_string(work.join("cgroup")).unwrap();
        let machine = Self {
            systemd,
            cgroup: cgroup.trim_end().into(),
            process: Some(process),
            _directory: directory,
        };
        wait_until("systemd has started", || {
            let said = machine.try_to("systemctl is-system-running --wait", b"");
            // Whatever else of Debian's may have failed in here.
            ["running", "degraded"]
                .contains(&said.stdout.trim_end())
                .then_some(())
        });
        machine
    }

    /// Runs a command line there, as root, in the clone, and gives it this to read.
    pub fn try_to(&self, line: &str, input: &[u8]) -> Said {
        let mut child = Command::new("nsenter")
            .args(["--target", &self.systemd])
            .args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root"])
            .args(["--", "env", "-i"])
            .args([
                "HOME=/root",
                "PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
            ])
            .args(["bash", "-euo", "pipefail", "-c"])
            .arg(format!("cd /root/mailprobe\n{line}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read all of it has its own word to say of that.
        let _ = stdin.write_all(input);
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        Said {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The same; it has to succeed.
    #[track_caller]
    pub fn run(&self, line: &str, input: &[u8]) -> String {
        let said = self.try_to(line, input);
        assert_eq!(said.code, Some(0), "{line}: {said:#?}");
        said.stdout
    }

    /// Lays down a file.
    #[track_caller]
    pub fn write(&self, path: &str, mode: &str, contents: &[u8]) {
        let line = format!("install -D -m {mode} /dev/stdin {path}");
        self.run(&line, contents);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.process.take());
        // Its branches stay, and can be removed once the kernel has ended the last process in them.
        let end = Instant::now() + Duration::from_secs(5);
        while self.cgroup.exists() && Instant::now() < end {
            let _ = Command::new("find")
                .arg(&self.cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
