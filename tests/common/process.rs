//! Processes of servers: started in the foreground, each in a process group of its own, ended by that.

use std::fs::{File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A server; ends when dropped, with everything it started.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a server whose output goes to a file.
    #[track_caller]
    pub fn start(name: &str, command: &Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut bound = bound_to_us(command);
        bound
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        let child = spawn(bound).unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; `tests/run` installs what tests need")
        });
        Self {
            child,
            name: name.to_owned(),
            log: log.to_owned(),
        }
    }

    /// Waits until it listens.
    #[track_caller]
    pub fn await_port(&mut self, port: u16) {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "{} ended with {status}; `tests/run` installs what tests need:\n{}",
                    self.name,
                    self.log()
                );
            }
            assert!(
                Instant::now() < end,
                "{} does not listen on {port}:\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an operator does, waits until it has, and ends the children that outlive it: Dovecot's go on
    /// with the sessions that they have.
    pub fn stop(&mut self) {
        signal(self.id(), "TERM");
        let end = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < end,
                "{} does not end:\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        // The number is still that of our group, or nobody's: none is given anew within a moment.
        signal_group(self.id(), "KILL");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // At once, and with the children. The number cannot have passed to a stranger: we have not waited for it yet.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal_group(self.child.id(), "KILL");
        }
        let _ = self.child.wait();
    }
}

/// The same command, by way of a program that has the kernel end it when we die without a word.
fn bound_to_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

type Start = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts it from a thread that never ends: to the kernel, a child's parent is the thread that started it.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<Start>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, started) in receiver {
                let _ = started.send(command.spawn());
            }
        });
        sender
    });
    let (sender, started) = mpsc::channel();
    SPAWNER.send((command, sender)).unwrap();
    started.recv().unwrap()
}

/// Sends a signal to a process that we started.
pub fn signal(pid: u32, name: &str) {
    kill(name, &pid.to_string());
}

/// Sends a signal to a process that we started as the leader of a group, and to its children.
fn signal_group(pid: u32, name: &str) {
    kill(name, &format!("-{pid}"));
}

fn kill(name: &str, target: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), "--", target])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok(), "kill is missing");
}

/// A port that is ours until this process ends, and that nothing listens on yet.
///
/// It lies below the ports that the kernel gives to outgoing connections. The name of an abstract socket reserves it,
/// against other tests in this process and in others, for as long as we live.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let mut reserved = RESERVED.lock().unwrap();
    let first = std::process::id() as usize * 64 + reserved.len();
    (first..first + 12_000)
        .find_map(|number| {
            let port = 20_000 + (number % 12_000) as u16;
            let name =
                SocketAddr::from_abstract_name(format!("mailprobe-test-port-{port}")).ok()?;
            let reservation = UnixListener::bind_addr(&name).ok()?;
            TcpListener::bind(("127.0.0.1", port)).ok()?;
            reserved.push(reservation);
            Some(port)
        })
        .expect("no port between 20000 and 32000 is free")
}

/// A port on which nothing listens.
pub fn closed_port() -> u16 {
    free_port()
}

/// Servers that have changed to users of their own get in.
pub fn open_to_all(directory: &Path) {
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
}

/// Makes a directory with this owner, as chown writes it, and mode.
pub fn owned_directory(path: &Path, owner: &str, mode: u32) {
    std::fs::create_dir_all(path).unwrap();
    if owner != "root" {
        run(Command::new("chown").arg(owner).arg(path));
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs a command to its end; it has to succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{command:?}: {error}; `tests/run` installs what tests need")
        });
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{text}",
        output.status
    );
    text
}
