//! What cannot be installed: Brevo, which relays to the real Postfix, and Uptime Kuma.

use super::KUMA_TOKEN;
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::ca::Authority;
use mailprobe::demo::sinks::{Received, serve_uptime_kuma};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A thread that the stand-ins run in until it is dropped.
pub struct StandIns {
    pub brevo_port: u16,
    pub kuma_port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIns {
    pub fn start(authority: &Authority, brevo: Brevo, kuma: Received) -> Self {
        let tls = authority.acceptor(&["127.0.0.1"]).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (api, brevo_port) = listener();
        let (push, kuma_port) = listener();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let api = TcpListener::from_std(api).unwrap();
                let push = TcpListener::from_std(push).unwrap();
                tokio::spawn(brevo.serve(api, Some(tls)));
                tokio::spawn(serve_uptime_kuma(push, KUMA_TOKEN.to_owned(), kuma));
                let _ = stopped.await;
            });
        });
        Self {
            brevo_port,
            kuma_port,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listener() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
