//! Alertmanager, and what it notifies.

use super::process::{Process, free_port};
use super::prometheus::{get, post};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

pub struct Alertmanager {
    pub port: u16,
    notifications: Arc<Mutex<Vec<Value>>>,
    _process: Process,
}

impl Alertmanager {
    /// With these inhibitions; notifies at once.
    pub fn start(parent: &Path, inhibitions: &str) -> Self {
        Self::start_waiting(parent, inhibitions, "0s")
    }

    /// The same with a `group_wait`.
    pub fn start_waiting(parent: &Path, inhibitions: &str, group_wait: &str) -> Self {
        let directory = parent.join("alertmanager");
        std::fs::create_dir_all(&directory).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = listener.local_addr().unwrap().port();
        let notifications = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notifications);
        // Ends with the process: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                heard
                    .lock()
                    .unwrap()
                    .push(serde_json::from_slice(&body).unwrap());
                let _ = reader.get_mut().write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
        });
        let config = format!(
            "route: {{ receiver: hook, group_by: [alertname, probe], group_wait: {group_wait}, group_interval: 1s, repeat_interval: 1h }}\n\
             receivers:\n- name: hook\n  webhook_configs: [{{ url: \"http://127.0.0.1:{hook}/\" }}]\n{inhibitions}"
        );
        let file = directory.join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let mut process =
            Process::start("prometheus-alertmanager", &command, &directory.join("log"));
        process.await_port(port);
        Self {
            port,
            notifications,
            _process: process,
        }
    }

    /// The state of an alert: `active`, `suppressed`, or none while it is not known.
    pub fn state(&self, alert: &str) -> Option<String> {
        let alerts: Value = serde_json::from_str(&get(self.port, "/api/v2/alerts")).ok()?;
        let found = alerts.as_array()?.iter().find(|one| {
            one.pointer("/labels/alertname")
                .is_some_and(|name| name == alert)
        })?;
        Some(found.pointer("/status/state")?.as_str()?.to_owned())
    }

    /// Has it know of alerts, as JSON has their labels.
    pub fn alert(&self, labels: &[Value]) {
        let alerts: Vec<Value> = labels
            .iter()
            .map(|labels| json!({ "labels": labels }))
            .collect();
        let body = Value::from(alerts).to_string();
        let answer = post(self.port, "/api/v2/alerts", "application/json", &body);
        assert_eq!(answer, "");
    }

    /// The labels of all alerts that are suppressed, and of all that are not.
    pub fn suppressed_and_active(&self) -> (Vec<Value>, Vec<Value>) {
        let alerts: Value = serde_json::from_str(&get(self.port, "/api/v2/alerts")).unwrap();
        let (suppressed, active): (Vec<&Value>, Vec<&Value>) = alerts
            .as_array()
            .unwrap()
            .iter()
            .partition(|one| one["status"]["state"] == "suppressed");
        let labels = |all: Vec<&Value>| all.iter().map(|one| one["labels"].clone()).collect();
        (labels(suppressed), labels(active))
    }

    /// What was notified so far.
    pub fn notifications(&self) -> Vec<Value> {
        self.notifications.lock().unwrap().clone()
    }
}
