//! `mailprobe serve` as a process: who holds connections open keeps nobody out, and ports are checked once for all probes.

use crate::world::{Stage, finish, program, run, signal, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A scheduler at work on a stage; ended with its test.
pub struct Serving {
    child: Option<Child>,
    address: String,
    /// The log.
    told: Arc<Mutex<String>>,
}

impl Serving {
    /// Starts it with the stage's config and this behind it.
    #[track_caller]
    fn start(stage: &Stage, more: &str) -> Self {
        let text = std::fs::read_to_string(stage.config()).unwrap();
        // Where there are several probes, a monitor has to name its own.
        let text = text.replace("push_url", "probe = \"demo\"\npush_url");
        let config = stage.directory().join("served.toml");
        std::fs::write(&config, text + more).unwrap();
        Self::start_with(&config, "info")
    }

    /// Starts it with this config, to log at this level.
    #[track_caller]
    pub fn start_with(config: &Path, level: &str) -> Self {
        let config = config.to_str().unwrap();
        let arguments = ["serve", "--log-level", level, "--config", config];
        let mut child = program(&arguments).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving http://") {
            let before = line.len();
            log.read_line(&mut line).unwrap();
            assert_ne!(line.len(), before, "it does not serve: {line}");
        }
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split([' ', '\n']).next().unwrap().to_owned();
        let told = Arc::new(Mutex::new(line));
        // Read on, so that it never waits for us.
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                *heard.lock().unwrap() += &(line + "\n");
            }
        });
        Self {
            child: Some(child),
            address,
            told,
        }
    }

    /// What it has logged so far.
    pub fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    /// The log, to be read after its end as well.
    pub fn log(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.told)
    }

    /// Asks it to end, and waits for that; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        finish(child).code
    }

    /// The status line of an answer.
    pub fn ask(&self, method: &str, path: &str) -> String {
        let response = self.answer(method, path);
        response.lines().next().unwrap_or_default().to_owned()
    }

    /// A whole answer.
    pub fn answer(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            signal(child.id(), "TERM");
            let ran = finish(child);
            if !std::thread::panicking() {
                assert_eq!(ran.code, Some(0));
            }
        }
    }
}

#[test]
fn five_hundred_connections_that_ask_for_nothing_keep_nobody_out() {
    let stage = Stage::new(None);
    let serving = Serving::start(&stage, "\n[serve]\nlisten = \"127.0.0.1:0\"\n");
    let mut held = Vec::new();
    for number in 0..500 {
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        if number % 2 == 0 {
            // The beginning of a request whose end never comes. It may be let go of already.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
        }
        held.push(stream);
    }
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(serving.ask("GET", "/healthz"), "HTTP/1.1 200 OK");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    drop(held);
}

#[test]
fn at_the_start_the_schedules_are_held_against_the_daily_limit() {
    let stage = Stage::new(None);
    let more = "\n[[probe]]\nname = \"often\"\nsender = \"limited\"\nmailbox = \"spam\"\nto = \"smoke-test@example.org\"\n\
         schedule = \"*/5 3-23 * * *\"\n\
         \n[[probe]]\nname = \"rare\"\nsender = \"limited\"\nmailbox = \"spam\"\nto = \"smoke-test@example.org\"\n\
         schedule = \"0 0-2 * * *\"\n\
         \n[sender.limited]\ntype = \"brevo\"\napi_key = \"xkeysib-for-tests\"\nfrom = \"monitoring@example.org\"\n\
         base_url = \"http://127.0.0.1:9\"\ndaily_limit = 270\n\
         \n[serve]\nlisten = \"127.0.0.1:0\"\n";
    let serving = Serving::start(&stage, more);
    let says = "sender `limited`: the schedules send 255 of `daily_limit` 270 messages a day: little is left";
    wait_until("the log says how the schedules fit", || {
        serving.told.lock().unwrap().contains(says)
    });
}

#[test]
fn a_history_that_never_opens_keeps_nobody_from_serving_nor_from_ending() {
    let stage = Stage::new(None);
    let state = stage.directory().join("state");
    let serve = format!(
        "\n[serve]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n",
        state.display()
    );
    let serving = Serving::start(&stage, &serve);
    let told = serving.told();
    assert!(!told.contains("in memory only"), "{told}");
    drop(serving);
    // What looks like a journal of SQLite's is opened by it, and a pipe waits for its other end.
    let journal = state.join("history.db-journal");
    let made = std::process::Command::new("mkfifo").arg(journal).status();
    assert!(made.unwrap().success());
    let serving = Serving::start(&stage, &serve);
    let told = serving.told();
    assert!(told.contains("has not opened within 5 s"), "{told}");
    assert_eq!(serving.ask("GET", "/healthz"), "HTTP/1.1 200 OK");
}

#[test]
fn listeners_are_checked_once_an_interval_however_many_probes_run() {
    const INTERVAL: Duration = Duration::from_secs(3);
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port();
    let checks = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&checks);
    std::thread::spawn(move || {
        for client in port.incoming() {
            noted.lock().unwrap().push(Instant::now());
            drop(client);
        }
    });
    let stage = Stage::new(None);
    let probes: String = (0..5)
        .map(|number| {
            format!(
                "\n[[probe]]\nname = \"more-{number}\"\nsender = \"brevo\"\nmailbox = \"spam\"\nto = \"smoke-test@example.org\"\n"
            )
        })
        .collect();
    let serving = Serving::start(
        &stage,
        &format!(
            "{probes}\n[[listener]]\nname = \"smtp\"\nhost = \"127.0.0.1\"\nport = {number}\nprotocol = \"smtp\"\n\
             \n[serve]\nlisten = \"127.0.0.1:0\"\nlistener_interval = \"{}s\"\nmin_interval = \"1ms\"\n",
            INTERVAL.as_secs()
        ),
    );
    wait_until("the port is checked for the third time", || {
        for number in 0..5 {
            serving.ask("POST", &format!("/api/probes/more-{number}/run"));
        }
        checks.lock().unwrap().len() >= 3
    });
    assert!(stage.sends() >= 15, "{} runs", stage.sends());
    let checks = checks.lock().unwrap();
    for pair in checks.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > INTERVAL - Duration::from_millis(500), "{apart:?}");
    }
}

/// Puts a pipe that nobody writes to in the place of a file.
fn become_a_pipe(path: &Path) {
    std::fs::remove_file(path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_pipe_in_the_place_of_a_secret_is_told_at_once_by_check_run_and_reload() {
    let stage = Stage::new(None);
    let serving = Serving::start(&stage, "\n[serve]\nlisten = \"127.0.0.1:0\"\n");
    let password = stage.directory().join("imap-password");
    become_a_pipe(&password);
    let says = format!(
        "comes from file `{}`, which cannot be read: it is no regular file",
        password.display()
    );
    let begun = Instant::now();
    let answer = serving.answer("POST", "/-/reload");
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.contains(&says), "{answer}");
    assert_eq!(serving.ask("GET", "/healthz"), "HTTP/1.1 200 OK");
    let config = stage.config();
    for command in ["check", "run"] {
        let ran = run(&[command, "--config", config.to_str().unwrap()]);
        assert_eq!(ran.code, Some(2), "{command}: {ran:?}");
        assert!(ran.stderr.contains(&says), "{command}: {ran:?}");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(serving.stop(), Some(0));
}
