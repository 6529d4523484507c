//! `[dns]` in `run`: the keys that a delivered message was signed with are asked for, whatever the config names.

use crate::world::{Stage, run};
use mailprobe::demo::Fault;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

/// A resolver that knows of no name, and the names that it was asked for.
fn empty_resolver() -> (String, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let names = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            names.lock().unwrap().push(name_in(&packet[..length]));
            // The query again, as an answer (QR, RD, RA) with NXDOMAIN (RFC 1035 section 4.1.1).
            packet[2..4].copy_from_slice(&[0x81, 0x83]);
            socket.send_to(&packet[..length], from).unwrap();
        }
    });
    (address, asked)
}

fn name_in(packet: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = &packet[12..];
    while rest[0] != 0 {
        let (label, after) = rest[1..].split_at(usize::from(rest[0]));
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        rest = after;
    }
    labels.join(".").to_ascii_lowercase()
}

fn run_junked(dns: &str) -> (Stage, crate::world::Ran) {
    let stage = Stage::new(Some(Fault::Junked));
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let config = stage.directory().join("dns.toml");
    std::fs::write(&config, format!("{text}\n{dns}")).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let ran = run(&["run", "--config", &config, "--output", "json", "--push"]);
    (stage, ran)
}

#[test]
fn the_key_that_a_junked_message_was_signed_with_is_asked_for_warned_of_and_counted() {
    let (address, asked) = empty_resolver();
    let dns = format!("[dns]\nresolver = \"{address}\"\n");
    let (stage, ran) = run_junked(&dns);
    let report = ran.report();
    assert_eq!(report["verdict"], "junked");
    let key = "brevo1._domainkey.example.org";
    assert!(
        asked.lock().unwrap().iter().any(|one| one == key),
        "{asked:?}"
    );
    let warnings = report["warnings"].as_array().unwrap();
    let warning = warnings
        .iter()
        .find(|one| one["summary"].as_str().unwrap().contains(key));
    let warning = warning.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(warning["code"], "dns_drift");
    assert_eq!(
        warning["summary"],
        format!("the DKIM key `{key}` does not exist")
    );
    assert!(warning["hint"].as_str().unwrap().contains("selector"));
    let counted = "mailprobe_dns_records_faulty{record=\"dkim\"} 1";
    let pushes = stage.world().gateway().requests();
    let last = pushes
        .iter()
        .map(|one| String::from_utf8_lossy(&one.body).into_owned())
        .rfind(|body| body.contains("mailprobe_dns_records_faulty"));
    assert!(
        last.as_ref().is_some_and(|body| body.contains(counted)),
        "{last:?}"
    );
}
