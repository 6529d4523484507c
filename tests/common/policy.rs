//! What Postfix asks before it takes mail: policy servers, filters and maps, also such as do not answer.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A policy server that puts everybody off for some time, counted from the first question; its port.
pub fn greylist(delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut first = None;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.is_empty())
            {
                let since = *first.get_or_insert_with(Instant::now);
                let action = if since.elapsed() < delay {
                    "451 4.7.1 Greylisted, try again later"
                } else {
                    "DUNNO"
                };
                if write!(stream, "action={action}\n\n").is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// Takes connections and never says a word; its port.
pub fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let _connections: Vec<_> = listener.incoming().collect();
    });
    port
}
