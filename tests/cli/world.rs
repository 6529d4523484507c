//! The demo's world on a thread of its own, and the program run against it.

use mailprobe::demo::{Fault, World};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Far more than any run of the demo takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A world that runs until it is dropped.
pub struct Stage {
    world: Option<Arc<World>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stage {
    pub fn new(fault: Option<Fault>) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let world = Arc::new(World::start(fault).await.unwrap());
                tell.send(Arc::clone(&world)).unwrap();
                let _ = stopped.await;
            });
        });
        Self {
            world: Some(told.recv().unwrap()),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    /// The config that leads into this world.
    pub fn config(&self) -> PathBuf {
        self.world().config()
    }

    pub fn directory(&self) -> PathBuf {
        self.config().parent().unwrap().to_owned()
    }

    /// The config with a text replaced by another; it has to be there.
    pub fn config_with(&self, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = std::fs::read_to_string(self.config()).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replace(from, to);
        }
        let path = self.directory().join("changed.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Everything in this world that no output may show.
    pub fn secrets(&self) -> Vec<String> {
        let read = |name: &str| std::fs::read_to_string(self.directory().join(name)).unwrap();
        let url = read("kuma-push-url");
        let token = url.split("/api/push/").nth(1).unwrap();
        let token = token.split('?').next().unwrap().to_owned();
        let password = read("imap-password");
        let login = format!("\0spam@example.org\0{password}");
        vec![
            read("brevo-api-key"),
            data_encoding::BASE64.encode(login.as_bytes()),
            data_encoding::BASE64.encode(password.as_bytes()),
            password,
            token,
        ]
    }

    /// How often Brevo was asked to send.
    pub fn sends(&self) -> usize {
        let state = self.world().brevo().state();
        let sends = |one: &&mailprobe::demo::http::Request| {
            one.method == "POST" && one.path.ends_with("/smtp/email")
        };
        state.requests.iter().filter(sends).count()
    }

    /// The metrics of the last push, line by line.
    pub fn pushed(&self) -> String {
        let requests = self.world().gateway().requests();
        let last = requests.iter().rfind(|one| one.method == "POST");
        let body = last.expect("something was pushed").body.clone();
        String::from_utf8(body).unwrap()
    }

    /// What Uptime Kuma was told, as `name=value`.
    pub fn told_kuma(&self) -> Vec<Vec<String>> {
        let requests = self.world().kuma().requests();
        requests
            .iter()
            .map(|one| {
                one.query
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect()
            })
            .collect()
    }

    /// One run against this world.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let config = self.config();
        let mut all = vec!["run", "--config", config.to_str().unwrap()];
        all.extend(arguments);
        run(&all)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.world.take());
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The program, in a directory without a config and an environment without settings.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailprobe"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn run(arguments: &[&str]) -> Ran {
    finish(program(arguments).spawn().unwrap())
}

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The only line on stdout, which is JSON.
    #[track_caller]
    pub fn report(&self) -> Value {
        let lines: Vec<&str> = self.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{self:?}");
        serde_json::from_str(lines[0]).unwrap()
    }
}

/// Waits for the program's end, with a limit.
#[track_caller]
pub fn finish(child: Child) -> Ran {
    let id = child.id();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    match told.recv_timeout(LIMIT) {
        Ok(output) => Ran::of(output.unwrap()),
        Err(_) => {
            signal(id, "KILL");
            panic!("the program did not end within {} s", LIMIT.as_secs())
        }
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(status.unwrap().success());
}

/// Waits for a condition, with a limit.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "after 20 s still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A way to a server that counts what the client sends, and can be frozen: nothing closes, and nothing passes any more.
pub struct Gate {
    pub port: u16,
    pub frozen: Arc<AtomicBool>,
    pub sent: Arc<AtomicUsize>,
}

impl Gate {
    pub fn before(port: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let (frozen, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let gate = Self {
            port: own,
            frozen: Arc::clone(&frozen),
            sent: Arc::clone(&sent),
        };
        let target = format!("127.0.0.1:{port}");
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&target).unwrap();
                let ignored = Arc::<AtomicUsize>::default();
                for (mut from, mut to, count) in [
                    (client.try_clone(), server.try_clone(), &sent),
                    (server.try_clone(), client.try_clone(), &ignored),
                ]
                .map(|(from, to, count)| (from.unwrap(), to.unwrap(), Arc::clone(count)))
                {
                    let frozen = Arc::clone(&frozen);
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(length) = from.read(&mut buffer) {
                            count.fetch_add(1, Ordering::SeqCst);
                            let passes = !frozen.load(Ordering::SeqCst);
                            if length == 0 || (passes && to.write_all(&buffer[..length]).is_err()) {
                                return;
                            }
                        }
                    });
                }
                kept.push((client, server));
            }
        });
        gate
    }
}
