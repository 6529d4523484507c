//! One watcher a folder for all runs, against the server of the demo world, with every connection counted.

use super::super::*;
use crate::config;
use crate::demo::World;
use crate::demo::faults::Fault;
use crate::probe::token::Keyring;
use chrono::TimeDelta;
use std::sync::atomic::AtomicUsize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// So long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// A proxy before the IMAP server: it counts connections, and cuts them when told.
struct Gate {
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    cut: tokio::sync::watch::Sender<u32>,
    accepting: JoinSet<()>,
}

impl Gate {
    async fn before(port: u16) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let gate = Self {
            opened: Arc::default(),
            open: Arc::default(),
            cut: tokio::sync::watch::channel(0).0,
            accepting: JoinSet::new(),
        };
        let (opened, open, cut) = (gate.opened.clone(), gate.open.clone(), gate.cut.clone());
        let mut gate = gate;
        gate.accepting.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (open, mut cut) = (Arc::clone(&open), cut.subscribe());
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                            _ = cut.changed() => {}
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        (gate, own)
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    async fn until_open(&self, count: usize) {
        let wait = async {
            while self.open.load(Ordering::SeqCst) != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, wait).await.expect("the connections close");
    }
}

struct Scene {
    world: World,
    gate: Gate,
    mailbox: Arc<ImapMailbox>,
    keyring: Arc<Keyring>,
    nonce: u32,
}

impl Scene {
    async fn new(fault: Option<Fault>) -> Self {
        crate::net::tls::install_crypto_provider();
        let world = World::start(fault).await.unwrap();
        let plan = config::load(&world.config(), &[], &|_| None).unwrap();
        let mut mailbox = MailboxPlan::clone(&plan.probes[0].mailbox);
        let (gate, port) = Gate::before(mailbox.port).await;
        mailbox.port = port;
        Self {
            world,
            gate,
            mailbox: Arc::new(ImapMailbox::new(Arc::new(mailbox)).unwrap()),
            keyring: plan.keyring,
            nonce: 0,
        }
    }

    /// A token of the config's first probe, sent so many seconds ago, to wait for a minute.
    fn token(&mut self, seconds_ago: i64) -> String {
        self.nonce += 1;
        let sent_at = Utc::now() - TimeDelta::seconds(seconds_ago);
        let identity = self.keyring.identity("demo").unwrap();
        let wait = Duration::from_secs(60);
        identity.mint(sent_at, wait, false, self.nonce.to_be_bytes())
    }

    fn deliver(&self, folder: &str, token: &str) {
        let raw = format!(
            "X-Mailprobe-Token: {token}\r\nSubject: [E2E Monitor] {token}\r\n\r\nhello\r\n"
        );
        self.world.store().deliver(folder, raw.into_bytes(), &[]);
    }

    fn count(&self, folder: &str) -> usize {
        self.world.store().folder(folder).unwrap().messages.len()
    }

    async fn watch(&self, token: &str) -> Watch {
        let joined = self.mailbox.join(LIMIT).await.unwrap();
        let watch = ImapMailbox::watch(
            joined,
            Wanted {
                token: token.to_owned(),
                keyring: Arc::clone(&self.keyring),
                deadline: Instant::now() + LIMIT,
            },
        );
        watch.set(Phase::Look(Instant::now()));
        watch
    }

    fn task(&self, token: &str, seen: Option<Seen>) -> CleanUp {
        CleanUp {
            token: token.to_owned(),
            keep: false,
            keyring: Arc::clone(&self.keyring),
            now: Utc::now(),
            previous_fire: None,
            seen,
        }
    }

    async fn clean(&self, watch: &mut Watch, token: &str, seen: Option<Seen>) -> Cleaned {
        watch.set(Phase::Stop);
        watch.clean_up(&self.task(token, seen), LIMIT).await
    }
}

async fn seen(watch: &mut Watch) -> Seen {
    let wait = async {
        loop {
            if let Observation::Seen(seen) = watch.observation().await.unwrap() {
                return seen;
            }
        }
    };
    timeout(LIMIT, wait).await.expect("the message is seen")
}

#[tokio::test]
async fn a_log_line_about_many_runs_names_some_and_counts_the_others() {
    let mut scene = Scene::new(None).await;
    let shared = shared::Shared::new(1);
    let mut waiting = Vec::new();
    for count in 1..=12_usize {
        let token = scene.token(0);
        waiting.push(shared.add(Wanted {
            token: token.clone(),
            keyring: Arc::clone(&scene.keyring),
            deadline: Instant::now() + LIMIT,
        }));
        let (named, more) = shared.some_waiting(10);
        assert_eq!(
            (named.len(), more),
            (count.min(10), count.saturating_sub(10))
        );
        assert!(named.iter().all(|(probe, _)| probe == "demo"), "{named:?}");
        if count <= 10 {
            assert!(named.iter().any(|(_, one)| *one == token), "{named:?}");
        }
    }
    let token = scene.token(0);
    assert_eq!(shared.named(&token), ("demo".to_owned(), token));
}

#[tokio::test]
async fn twenty_runs_at_once_share_one_connection_a_folder_and_each_sees_its_own_message() {
    let mut scene = Scene::new(None).await;
    let tokens: Vec<String> = (0..20).map(|_| scene.token(0)).collect();
    let mut watches = join_all(tokens.iter().map(|token| scene.watch(token))).await;
    for (index, token) in tokens.iter().enumerate() {
        scene.deliver(if index % 5 == 0 { "Junk" } else { "INBOX" }, token);
    }
    let all_seen = join_all(watches.iter_mut().map(seen)).await;
    for (index, seen) in all_seen.iter().enumerate() {
        assert_eq!(seen.is_junk, index % 5 == 0, "{index}: {seen:?}");
    }
    let endings = watches.iter_mut().zip(&tokens).zip(&all_seen);
    let endings = endings.map(|((watch, token), seen)| async {
        let raw = watch.read(seen, LIMIT).await.expect("it can be read");
        assert!(String::from_utf8(raw).unwrap().contains(token.as_str()));
        scene.clean(watch, token, Some(seen.clone())).await
    });
    for cleaned in join_all(endings).await {
        let expected = Cleaned {
            own: 1,
            is_thorough: true,
            ..Cleaned::default()
        };
        assert_eq!(cleaned, expected);
    }
    assert_eq!((scene.count("INBOX"), scene.count("Junk")), (0, 0));
    join_all(watches.into_iter().map(Watch::close)).await;
    scene.gate.until_open(0).await;
    assert_eq!(scene.gate.opened(), 2);
}

#[tokio::test]
async fn connections_that_linger_serve_the_next_run_and_end_when_the_mailbox_is_closed() {
    let mut scene = Scene::new(None).await;
    scene.mailbox.linger();
    for _ in 0..3 {
        let token = scene.token(0);
        let mut watch = scene.watch(&token).await;
        scene.deliver("INBOX", &token);
        let seen = seen(&mut watch).await;
        let cleaned = scene.clean(&mut watch, &token, Some(seen)).await;
        assert_eq!(cleaned.own, 1);
        watch.close().await;
    }
    assert_eq!(scene.gate.opened(), 2);
    scene.mailbox.close().await;
    scene.gate.until_open(0).await;
}

#[tokio::test]
async fn connections_that_were_cut_between_runs_are_got_back_before_the_next_one() {
    let mut scene = Scene::new(None).await;
    scene.mailbox.linger();
    let token = scene.token(0);
    scene.watch(&token).await.close().await;
    scene.gate.cut.send_replace(1);
    scene.gate.until_open(0).await;
    let token = scene.token(0);
    // The session answered a moment ago, so the loss may show only now: it costs the run nothing but time.
    let mut watch = scene.watch(&token).await;
    scene.deliver("INBOX", &token);
    seen(&mut watch).await;
}

#[tokio::test]
async fn a_loss_in_mid_wait_is_told_to_every_run_and_costs_none_its_message() {
    let mut scene = Scene::new(None).await;
    let tokens: Vec<String> = (0..3).map(|_| scene.token(0)).collect();
    let mut watches = join_all(tokens.iter().map(|token| scene.watch(token))).await;
    scene.gate.cut.send_replace(1);
    for watch in &mut watches {
        let wait = async {
            let mut lost = Vec::new();
            let mut back = Vec::new();
            while back.len() < 2 {
                match watch.observation().await.unwrap() {
                    Observation::Lost { folder, .. } => lost.push(folder),
                    Observation::Back { folder } => back.push(folder),
                    other => panic!("{other:?}"),
                }
            }
            back.sort();
            assert_eq!(back, ["INBOX", "Junk"]);
            assert!(lost.contains(&"INBOX".to_owned()) && lost.contains(&"Junk".to_owned()));
        };
        timeout(LIMIT, wait).await.expect("lost and back");
    }
    for token in &tokens {
        scene.deliver("INBOX", token);
    }
    join_all(watches.iter_mut().map(seen)).await;
    assert_eq!(scene.gate.opened(), 4);
}

#[tokio::test]
async fn a_late_arrival_and_a_left_over_are_each_counted_once_by_whichever_run_comes_first() {
    let mut scene = Scene::new(None).await;
    // Its deadline was a minute after the send: stored now, it is late.
    let late = scene.token(600);
    scene.deliver("INBOX", &late);
    let tokens: Vec<String> = (0..4).map(|_| scene.token(0)).collect();
    let mut watches = join_all(tokens.iter().map(|token| scene.watch(token))).await;
    // This one comes while others wait, so that no search is needed to find it.
    let second = scene.token(700);
    scene.deliver("Junk", &second);
    for token in &tokens {
        scene.deliver("INBOX", token);
    }
    let all_seen = join_all(watches.iter_mut().map(seen)).await;
    let endings = watches.iter_mut().zip(&tokens).zip(all_seen);
    let endings = endings.map(|((watch, token), seen)| scene.clean(watch, token, Some(seen)));
    let cleaned = join_all(endings).await;
    let mut runs: Vec<_> = cleaned
        .iter()
        .flat_map(|one| &one.late)
        .map(|one| one.run.clone())
        .collect();
    runs.sort();
    let mut expected = vec![late, second];
    expected.sort();
    assert_eq!(runs, expected);
    assert_eq!((scene.count("INBOX"), scene.count("Junk")), (0, 0));
}

#[tokio::test]
async fn a_message_of_another_run_that_waits_still_is_not_touched() {
    let mut scene = Scene::new(None).await;
    let (mine, other) = (scene.token(0), scene.token(0));
    let mut watch = scene.watch(&mine).await;
    scene.deliver("INBOX", &other);
    scene.deliver("INBOX", &mine);
    let seen = seen(&mut watch).await;
    let cleaned = scene.clean(&mut watch, &mine, Some(seen)).await;
    assert_eq!((cleaned.own, cleaned.left_over), (1, 0));
    assert_eq!(scene.count("INBOX"), 1);
}

#[tokio::test]
async fn runs_that_join_together_make_one_attempt_to_log_in_with_a_wrong_password() {
    let scene = Scene::new(Some(Fault::ImapPassword)).await;
    let joined = join_all((0..10).map(|_| scene.mailbox.join(LIMIT))).await;
    for outcome in joined {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.cause.code, CauseCode::MailboxLoginRefused);
    }
    assert_eq!(scene.gate.opened(), 1);
}

#[tokio::test]
async fn the_last_look_is_answered_for_every_folder_and_by_the_runs_that_asked_alone() {
    let mut scene = Scene::new(None).await;
    let (first, second) = (scene.token(0), scene.token(0));
    let mut asks = scene.watch(&first).await;
    let mut waits = scene.watch(&second).await;
    asks.set(Phase::LastLook);
    let wait = async {
        let mut folders = Vec::new();
        while folders.len() < 2 {
            let Some(Observation::LastLook { folder, trouble }) = asks.observation().await else {
                panic!("nothing else is to be told")
            };
            assert_eq!(trouble, None);
            folders.push(folder);
        }
        folders.sort();
        assert_eq!(folders, ["INBOX", "Junk"]);
    };
    timeout(LIMIT, wait).await.expect("both folders answer");
    assert!(waits.observations.try_recv().is_err());
}

#[tokio::test]
async fn the_bound_of_a_sighting_is_never_from_before_the_send() {
    let mut scene = Scene::new(None).await;
    let (first, second) = (scene.token(0), scene.token(0));
    let mut eager = scene.watch(&first).await;
    scene.deliver("INBOX", &first);
    let earlier = seen(&mut eager).await;
    let sent = Instant::now();
    let mut watch = scene.watch(&second).await;
    scene.deliver("INBOX", &second);
    let later = seen(&mut watch).await;
    assert!(later.not_before.is_none_or(|at| at >= sent), "{later:?}");
    assert!(later.at > earlier.at);
}
