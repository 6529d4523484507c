//! Prometheus, which scrapes and evaluates every second here.

use super::process::{Process, free_port};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

pub struct Prometheus {
    pub port: u16,
    _process: Process,
}

impl Prometheus {
    /// Scrapes this gateway; with rules, if any, whose alerts go to an Alertmanager.
    pub fn start(parent: &Path, gateway: u16, rules: Option<(&str, u16)>) -> Self {
        let directory = parent.join("prometheus");
        std::fs::create_dir_all(&directory).unwrap();
        let mut config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             scrape_configs:\n\
             - job_name: pushgateway\n  honor_labels: true\n  static_configs: [{{ targets: [\"127.0.0.1:{gateway}\"] }}]\n"
        );
        if let Some((rules, alertmanager)) = rules {
            let file = directory.join("rules.yml");
            std::fs::write(&file, rules).unwrap();
            config += &format!(
                "rule_files: [{file:?}]\n\
                 alerting:\n  alertmanagers:\n  - static_configs: [{{ targets: [\"127.0.0.1:{alertmanager}\"] }}]\n"
            );
        }
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::start("prometheus", &command, &directory.join("log"));
        process.await_port(port);
        Self {
            port,
            _process: process,
        }
    }

    /// The samples that an instant query answers with; empty while it is not ready.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let body = format!(
            "query={}",
            url::form_urlencoded::byte_serialize(expression.as_bytes()).collect::<String>()
        );
        let answer = post(
            self.port,
            "/api/v1/query",
            "application/x-www-form-urlencoded",
            &body,
        );
        let Ok(answer) = serde_json::from_str::<Value>(&answer) else {
            return Vec::new();
        };
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        match answer.pointer("/data/result") {
            Some(Value::Array(samples)) => samples.clone(),
            other => panic!("{expression}: {other:?}"),
        }
    }
}

/// The body of the answer to a request over HTTP/1.0.
pub fn post(port: u16, path: &str, kind: &str, body: &str) -> String {
    exchange(
        port,
        &format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// The same for GET.
pub fn get(port: u16, path: &str) -> String {
    exchange(
        port,
        &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    )
}

fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}
