use super::*;
use crate::config::plan::{PushgatewayPlan, SinkPlan};
use crate::demo::sinks::{Received, serve_pushgateway};
use crate::probe::report::sample;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use tokio::net::TcpListener;

/// So long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

type Counts = Arc<Mutex<BTreeMap<&'static str, u32>>>;

fn queue(port: u16) -> (Arc<Queue>, Counts) {
    crate::net::tls::install_crypto_provider();
    let plan = SinkPlan::Pushgateway(PushgatewayPlan {
        url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        job: "mailprobe".to_owned(),
        labels: BTreeMap::new(),
        credentials: None,
        ca_file: None,
    });
    let counts = Counts::default();
    let count = Arc::clone(&counts);
    let heard: Heard = Arc::new(move |_, result| {
        *count.lock().unwrap().entry(result.name()).or_default() += 1;
    });
    let sink = Arc::new(Sink::new(&plan).unwrap());
    (Queue::begin(sink, heard), counts)
}

fn report(probe: &str, number: u32) -> Arc<Report> {
    let at: DateTime<Utc> = "2026-11-25T10:00:00Z".parse().unwrap();
    Arc::new(sample(probe, &format!("e2e-probe-{number}"), at))
}

async fn gateway() -> (u16, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Received::default();
    tokio::spawn(serve_pushgateway(listener, received.clone()));
    (port, received)
}

#[tokio::test]
async fn a_thousand_reports_at_once_all_arrive() {
    let (port, received) = gateway().await;
    let (queue, counts) = queue(port);
    for number in 0..1000 {
        queue.put(&report(&format!("probe-{number}"), number));
    }
    queue.close(Instant::now() + LIMIT).await;
    assert_eq!(received.requests().len(), 1000);
    assert_eq!(*counts.lock().unwrap(), BTreeMap::from([("ok", 1000)]));
}

#[tokio::test]
async fn while_a_sink_hangs_the_newest_report_of_each_probe_waits_and_what_it_replaced_is_counted()
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (queue, counts) = queue(listener.local_addr().unwrap().port());
    queue.put(&report("a", 1));
    // The gateway has the connection, and says nothing.
    let hanging = listener.accept().await.unwrap();
    for number in 2..=4 {
        queue.put(&report("a", number));
    }
    queue.put_overdue("a", "e2e-probe-5", "not there after 300 s");
    assert_eq!(*counts.lock().unwrap(), BTreeMap::from([("dropped", 2)]));
    {
        let state = queue.state();
        assert_eq!(state.order, ["a"]);
        let waits = &state.posts["a"];
        assert!(
            matches!(waits, Post::Report(report) if report.run == "e2e-probe-4"),
            "{waits:?}"
        );
    }
    // The one that waits and the one that is on its way.
    queue.close(Instant::now()).await;
    assert_eq!(*counts.lock().unwrap(), BTreeMap::from([("dropped", 4)]));
    // A push that fails after that is not counted again.
    drop(hanging);
    while Arc::strong_count(&queue) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*counts.lock().unwrap(), BTreeMap::from([("dropped", 4)]));
}
