//! Prometheus Pushgateway.

use super::process::{Process, free_port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Pushgateway {
    pub port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Pushgateway {
    pub fn start(parent: &Path) -> Self {
        let directory = parent.join("pushgateway");
        std::fs::create_dir_all(&directory).unwrap();
        let mut gateway = Self {
            port: free_port(),
            directory,
            process: None,
        };
        gateway.restart();
        gateway
    }

    /// Starts it, or starts it again with what it had.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = Command::new("prometheus-pushgateway");
        command
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            // Debian's default is one file for all.
            .arg(format!(
                "--persistence.file={}",
                self.directory.join("metrics").display()
            ));
        let log = self.directory.join("log");
        let mut process = Process::start("prometheus-pushgateway", &command, &log);
        process.await_port(self.port);
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Ends it without a word: what it had not written is lost.
    pub fn crash(&mut self) {
        self.process = None;
    }

    /// Everything that Prometheus would scrape.
    pub fn metrics(&self) -> String {
        self.request("GET", "/metrics", "")
    }

    /// The value of a series, written as the gateway writes it.
    pub fn value(&self, series: &str) -> Option<String> {
        let metrics = self.metrics();
        let line = metrics.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    }

    /// A series of the probe `external`, with its group's labels filled in.
    pub fn of_probe(&self, name: &str, label: &str) -> Option<String> {
        let mut labels = vec![
            "instance=\"\"".to_owned(),
            "job=\"email-roundtrip-monitor\"".to_owned(),
            "probe=\"external\"".to_owned(),
        ];
        if !label.is_empty() {
            labels.push(label.to_owned());
        }
        labels.sort();
        self.value(&format!("{name}{{{}}}", labels.join(",")))
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
