//! What cannot be installed: Brevo, which relays to the real Postfix, and Uptime Kuma.

use super::KUMA_TOKEN;
use super::process::free_port;
use mailprobe::demo::brevo::Brevo;
use mailprobe::demo::ca::Authority;
use mailprobe::demo::sinks::{Received, serve_uptime_kuma};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task;
use tokio_rustls::TlsAcceptor;

/// A thread that the stand-ins run in until it is dropped.
pub struct StandIns {
    pub brevo_port: u16,
    pub kuma_port: u16,
    brevo: Brevo,
    tls: TlsAcceptor,
    /// Brevo's API, while it is there.
    api: Option<task::JoinHandle<()>>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIns {
    pub fn start(authority: &Authority, brevo: Brevo, kuma: Received) -> Self {
        let tls = authority.acceptor(&["127.0.0.1"]).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (brevo_port, kuma_port) = (free_port(), free_port());
        let push = listener(kuma_port);
        let (tell, runtime) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let push = TcpListener::from_std(push).unwrap();
                tokio::spawn(serve_uptime_kuma(push, KUMA_TOKEN.to_owned(), kuma));
                tell.send(Handle::current()).unwrap();
                let _ = stopped.await;
            });
        });
        let mut stand_ins = Self {
            brevo_port,
            kuma_port,
            brevo,
            tls,
            api: None,
            runtime: runtime.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        };
        stand_ins.start_brevo();
        stand_ins
    }

    /// Closes Brevo's port and every connection to it. What it has taken goes out all the same.
    pub fn stop_brevo(&mut self) {
        if let Some(api) = self.api.take() {
            api.abort();
            while !api.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    /// Opens it, or opens it again.
    pub fn start_brevo(&mut self) {
        self.stop_brevo();
        let (brevo, tls) = (self.brevo.clone(), self.tls.clone());
        let api = listener(self.brevo_port);
        self.api = Some(self.runtime.spawn(async move {
            let api = TcpListener::from_std(api).unwrap();
            brevo.serve(api, Some(tls)).await;
        }));
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

fn listener(port: u16) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
