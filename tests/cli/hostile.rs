//! Servers that mean harm: the program ends with a clear word, and does not grow with what they send.

use crate::world::{Ran, Stage, finish, program};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc;
use std::time::Duration;

/// So much more memory than a run against a right server a hostile one may cost, in KiB.
const MOST_ADDED: u64 = 8 * 1024;

/// What an IMAP server does when it hears a command that begins so: it says this over and over.
#[derive(Clone, Copy)]
struct Floods {
    at: &'static str,
    with: &'static str,
}

/// An IMAP server on loopback that lets everybody in, has an empty INBOX, and floods.
fn imap(floods: Option<Floods>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // Who hangs up on a flood is no failure of the server.
            std::thread::spawn(move || converse(client, floods));
        }
    });
    port
}

fn converse(mut client: TcpStream, floods: Option<Floods>) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    client.write_all(b"* OK ready\r\n")?;
    let mut tag = String::new();
    while let Some(Ok(line)) = lines.next() {
        let command = match line.split_once(' ') {
            Some((first, rest)) => {
                first.clone_into(&mut tag);
                rest.to_owned()
            }
            None => line,
        };
        if let Some(Floods { at, with }) = floods
            && command.starts_with(at)
        {
            let piece = with.repeat(64 * 1024 / with.len());
            loop {
                client.write_all(piece.as_bytes())?;
            }
        }
        let answer = match command.split(' ').next().unwrap_or_default() {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1 SASL-IR IDLE UIDPLUS AUTH=PLAIN\r\n",
            "LIST" => "* LIST () \"/\" INBOX\r\n",
            "EXAMINE" => "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 1] x\r\n",
            "IDLE" => {
                client.write_all(b"+ idling\r\n")?;
                continue;
            }
            _ => "",
        };
        client.write_all(format!("{answer}{tag} OK done\r\n").as_bytes())?;
    }
    Ok(())
}

/// The config of this world with another mailbox: plain text, on this port.
fn config(stage: &Stage, port: u16) -> PathBuf {
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let mut lines = Vec::new();
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split(' ').next().unwrap();
        match (section, key) {
            ("[mailbox.spam]", "port") => lines.push(format!("port = {port}\ntls = \"none\"")),
            ("[mailbox.spam]", "tls_server_name" | "ca_file") => {}
            _ => lines.push(line.to_owned()),
        }
    }
    let path = stage.directory().join("hostile.toml");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

/// Waits for the end, and measures the most memory that the process had meanwhile, in KiB.
fn measured(child: Child) -> (Ran, u64) {
    let status = format!("/proc/{}/status", child.id());
    let (ended, end) = mpsc::channel();
    let watching = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            // The kernel keeps the peak itself, so nothing between two looks is missed.
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("VmHWM:"));
            if let Some(line) = line {
                let figure = line.split_whitespace().nth(1).unwrap();
                peak = figure.parse().unwrap();
            }
            if end.recv_timeout(Duration::from_millis(2)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return peak;
            }
        }
    });
    let ran = finish(child);
    ended.send(()).unwrap();
    (ran, watching.join().unwrap())
}

fn run_against(floods: Option<Floods>) -> (Ran, u64) {
    let stage = Stage::new(None);
    let config = config(&stage, imap(floods));
    let arguments = ["run", "--output", "json", "--config"];
    let mut command = program(&arguments);
    measured(command.arg(config).spawn().unwrap())
}

#[test]
fn an_imap_server_that_floods_is_told_of_and_costs_no_memory() {
    let (ran, usual) = run_against(None);
    assert_eq!(ran.report()["verdict"], "missing", "{ran:?}");
    let line = "* OK\r\n";
    let search = format!("* SEARCH {}\r\n", "1 ".repeat(1000));
    let search: &'static str = Box::leak(search.into_boxed_str());
    let cut = "the server's answer is larger than 262144 bytes";
    let without_end = "the server does not stop sending: more than";
    // A slow machine may not see the end of it in the time that there is.
    let in_time = ["no answer ", "the mailbox did not answer"];
    let cases = [
        ("CAPABILITY", line, cut),
        ("CAPABILITY", "* CAPABILITY IMAP4rev1 A B C\r\n", cut),
        ("AUTHENTICATE", line, cut),
        ("LIST", "* LIST () \"/\" a\r\n", without_end),
        ("EXAMINE", line, without_end),
        ("NOOP", "* 1 EXISTS\r\n", without_end),
        ("UID FETCH", "* 1 FETCH (UID 1 FLAGS ())\r\n", without_end),
        ("NOOP", search, without_end),
    ];
    std::thread::scope(|scope| {
        for (at, with, says) in cases {
            scope.spawn(move || {
                let (ran, peak) = run_against(Some(Floods { at, with }));
                let report = ran.report();
                assert_eq!(report["verdict"], "undetermined", "{at}: {ran:?}");
                let summary = report["cause"]["summary"].as_str().unwrap();
                let is_timed_out = in_time.iter().any(|one| summary.contains(one));
                assert!(is_timed_out || summary.contains(says), "{at}: {summary}");
                assert!(
                    peak < usual + MOST_ADDED,
                    "{at}, {with:.20}: {peak} KiB, and {usual} KiB with a right server"
                );
            });
        }
    });
}
