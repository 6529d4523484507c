//! From the connection to the clean-up, against a server that does as a test says.

use super::fake::{Does, Fake, say};
use super::*;
use crate::config::plan::MailboxAuth;
use crate::probe::run::Again;
use crate::probe::token::{Identity, Keyring, TokenKey};
use chrono::TimeDelta;

pub(super) const LIMIT: Duration = Duration::from_secs(20);

async fn opened(fake: Fake) -> Result<Folders, OpenFailure> {
    let (_fake, plan) = fake.start().await;
    ImapMailbox::new(Arc::new(plan)).unwrap().open(LIMIT).await
}

#[track_caller]
fn assert_shut(opened: Result<Folders, OpenFailure>, code: CauseCode, again: Again, says: &str) {
    let failure = opened.unwrap_err();
    let found = (failure.cause.code, failure.again);
    assert_eq!(found, (code, again), "{failure:?}");
    assert!(
        failure.cause.summary.contains(says),
        "{}",
        failure.cause.summary
    );
    assert!(!failure.cause.summary.contains("pass\"word"), "{failure:?}");
}

#[tokio::test]
async fn greetings_that_are_none_are_told_word_for_word_and_may_pass() {
    for (greeting, says) in [
        (
            Does::Last("* BYE too busy\r\n".to_owned()),
            "no greeting from imap `127.0.0.1:",
        ),
        (
            Does::Last("* BYE too busy\r\n".to_owned()),
            "the server turned the connection away: BYE too busy",
        ),
        (
            Does::Last(String::new()),
            "the server closed the connection",
        ),
        (
            Does::Last("220 mail.example.org ESMTP\r\n".to_owned()),
            "not an IMAP server: 220 mail.example.org ESMTP",
        ),
        (
            Does::Last("\0\u{1}\u{2}garbage\r\n".to_owned()),
            "not an IMAP server",
        ),
    ] {
        let fake = Fake {
            greeting,
            ..Fake::default()
        };
        assert_shut(
            opened(fake).await,
            CauseCode::MailboxUnreachable,
            Again::Yes,
            says,
        );
    }
}

#[tokio::test]
async fn a_connection_that_somebody_else_logged_in_is_not_used() {
    let fake = Fake {
        greeting: say("* PREAUTH welcome\r\n"),
        ..Fake::default()
    };
    let opened = opened(fake).await;
    let hint = opened.as_ref().unwrap_err().cause.hint.clone();
    assert!(
        hint.contains("asks `spam@example.org` for its password"),
        "{hint}"
    );
    assert_shut(
        opened,
        CauseCode::MailboxLoginRefused,
        Again::No,
        "as `spam@example.org`: the server takes the connection as logged in already, without asking for whom: PREAUTH welcome",
    );
}

#[tokio::test]
async fn a_server_that_greets_twice_is_understood() {
    let greeting = say("* OK Waiting for authentication process to respond..\r\n* OK ready\r\n");
    let folders = opened(Fake {
        greeting,
        ..Fake::default()
    })
    .await
    .unwrap();
    assert_eq!(folders.names(), ["INBOX"]);
}

#[tokio::test]
async fn a_refused_log_in_ends_it_and_a_busy_server_may_pass() {
    use CauseCode::{MailboxLoginRefused, MailboxUnreachable};
    for (reply, code, again) in [
        (
            "NO [AUTHENTICATIONFAILED] Authentication failed.",
            MailboxLoginRefused,
            Again::No,
        ),
        ("NO no such user", MailboxLoginRefused, Again::No),
        (
            "NO [EXPIRED] password expired",
            MailboxLoginRefused,
            Again::No,
        ),
        ("BAD invalid base64", MailboxLoginRefused, Again::No),
        (
            "NO [UNAVAILABLE] Temporary authentication failure.",
            MailboxUnreachable,
            Again::Yes,
        ),
        (
            "NO [LIMIT] Maximum number of connections from user+IP exceeded",
            MailboxUnreachable,
            Again::Yes,
        ),
        (
            "NO [ALERT] Too many simultaneous connections. (Failure)",
            MailboxUnreachable,
            Again::Yes,
        ),
        (
            "BAD Request is throttled. Suggested Backoff Time: 107 milliseconds",
            MailboxUnreachable,
            Again::Yes,
        ),
    ] {
        let answer = format!("{{tag}} {reply}\r\n");
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with("AUTHENTICATE") => Does::Say(answer.clone()),
            _ => Does::Right,
        });
        let says = format!("as `spam@example.org`: {reply}");
        assert_shut(opened(fake).await, code, again, &says);
    }
}

#[tokio::test]
async fn every_way_to_log_in_sends_what_the_server_expects() {
    for (capabilities, auth, start) in [
        (
            "IMAP4rev1 AUTH=PLAIN SASL-IR",
            MailboxAuth::Auto,
            "AUTHENTICATE PLAIN AHNwYW1A",
        ),
        (
            "IMAP4rev1",
            MailboxAuth::Auto,
            "LOGIN \"spam@example.org\" \"pass\\\"word of the fake\"",
        ),
        ("IMAP4rev1 AUTH=PLAIN SASL-IR", MailboxAuth::Login, "LOGIN "),
        (
            "IMAP4rev1 AUTH=XOAUTH2 SASL-IR",
            MailboxAuth::XOauth2,
            "AUTHENTICATE XOAUTH2 dXNlcj1zcGFt",
        ),
    ] {
        let (fake, mut plan) = Fake {
            capabilities,
            ..Fake::default()
        }
        .start()
        .await;
        plan.auth = auth;
        let mailbox = ImapMailbox::new(Arc::new(plan)).unwrap();
        mailbox.open(LIMIT).await.unwrap().close().await;
        assert_eq!(fake.heard(start), 1, "{:?}", fake.heard);
        assert_eq!(fake.heard("LOGOUT"), 1);
    }
}

#[tokio::test]
async fn a_refused_access_token_is_answered_with_an_empty_line_so_that_nobody_waits_for_ever() {
    let fake = Fake::deciding(|_, line| match line {
        line if line.starts_with("AUTHENTICATE XOAUTH2") => say("+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
        // The empty line.
        "DONE" => say("A0002 NO [AUTHENTICATIONFAILED] Invalid credentials\r\n"),
        _ => Does::Right,
    });
    let (fake, mut plan) = Fake {
        capabilities: "IMAP4rev1 AUTH=XOAUTH2 SASL-IR",
        ..fake
    }
    .start()
    .await;
    plan.auth = MailboxAuth::XOauth2;
    let opened = ImapMailbox::new(Arc::new(plan)).unwrap().open(LIMIT).await;
    assert_shut(
        opened,
        CauseCode::MailboxLoginRefused,
        Again::No,
        "Invalid credentials",
    );
    assert_eq!(fake.heard("DONE"), 1);
}

#[tokio::test]
async fn a_password_is_not_sent_where_the_server_forbids_it() {
    let (fake, plan) = Fake {
        capabilities: "IMAP4rev1 STARTTLS LOGINDISABLED",
        ..Fake::default()
    }
    .start()
    .await;
    let opened = ImapMailbox::new(Arc::new(plan)).unwrap().open(LIMIT).await;
    assert_shut(
        opened,
        CauseCode::MailboxLoginRefused,
        Again::No,
        "LOGINDISABLED",
    );
    assert_eq!(fake.heard("LOGIN") + fake.heard("AUTHENTICATE"), 0);
}

#[tokio::test]
async fn starttls_that_is_refused_ends_it_before_the_password() {
    let fake = Fake::deciding(|_, line| match line {
        "STARTTLS" => say("{tag} BAD TLS support isn't enabled.\r\n"),
        _ => Does::Right,
    });
    let (fake, mut plan) = fake.start().await;
    plan.tls = TlsMode::StartTls;
    let opened = ImapMailbox::new(Arc::new(plan)).unwrap().open(LIMIT).await;
    assert_shut(
        opened,
        CauseCode::MailboxTlsInvalid,
        Again::No,
        "refuses STARTTLS: BAD TLS support",
    );
    assert_eq!(fake.heard("LOGIN") + fake.heard("AUTHENTICATE"), 0);
}

#[tokio::test]
async fn a_goodbye_in_place_of_an_answer_to_the_log_in_is_told_with_its_words() {
    for (at, goodbye) in [
        ("CAPABILITY", "BYE Too many connections from your address"),
        ("AUTHENTICATE", "BYE Too many connections from your address"),
        ("AUTHENTICATE", "bye for now"),
    ] {
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with(at) => Does::Last(format!("* {goodbye}\r\n")),
            _ => Does::Right,
        });
        let opened = opened(fake).await;
        let hint = opened.as_ref().unwrap_err().cause.hint.clone();
        let is_crowded = goodbye.contains("Too many");
        assert_eq!(hint.contains("limits connections"), is_crowded, "{hint}");
        let says =
            format!("as `spam@example.org`: the server turned the connection away: {goodbye}");
        assert_shut(opened, CauseCode::MailboxUnreachable, Again::Yes, &says);
    }
}

#[tokio::test]
async fn each_step_that_breaks_is_named() {
    for (breaks, says) in [
        ("CAPABILITY", "cannot log in to imap"),
        ("AUTHENTICATE", "cannot log in to imap"),
        ("LIST", "cannot list the folders of `spam@example.org`"),
        ("EXAMINE", "cannot open folder `INBOX`"),
    ] {
        for does in [
            Does::Last(String::new()),
            Does::Last("* BYE going down\r\n".to_owned()),
            say("* 1 FETCH (BODY[] {536000000}\r\n"),
            say("HTTP/1.1 400 Bad Request\r\n\r\n"),
        ] {
            let doing = does.clone();
            let fake = Fake::deciding(move |_, line| match line {
                line if line.starts_with(breaks) => doing.clone(),
                _ => Does::Right,
            });
            let opened = opened(fake).await;
            let failure = opened.as_ref().unwrap_err();
            assert!(failure.cause.summary.len() < 200, "{failure:?}");
            assert_shut(opened, CauseCode::MailboxUnreachable, Again::Yes, says);
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_no_more_than_the_limit() {
    for silent in ["CAPABILITY", "AUTHENTICATE", "LIST", "EXAMINE"] {
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with(silent) => Does::Nothing,
            _ => Does::Right,
        });
        let (_fake, plan) = fake.start().await;
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        let mailbox = ImapMailbox::new(Arc::new(plan)).unwrap();
        let failure = mailbox.open(limit).await.unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{silent}: {:?}",
            begun.elapsed()
        );
        assert_eq!(failure.cause.code, CauseCode::MailboxUnreachable);
        let summary = &failure.cause.summary;
        let (_, within) = summary.split_once(" within ").unwrap();
        assert!(
            within.ends_with(" ms") && !within.starts_with('0'),
            "{summary}"
        );
        let expected = if silent == "AUTHENTICATE" {
            Again::Once
        } else {
            Again::Yes
        };
        assert_eq!(failure.again, expected, "{silent}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named_beside_those_that_are() {
    let fake = Fake::deciding(|_, line| match line {
        "EXAMINE \"Proben\"" => say("{tag} NO [NONEXISTENT] Mailbox doesn't exist: Proben\r\n"),
        _ => Does::Right,
    });
    let (_fake, mut plan) = fake.start().await;
    plan.folders = vec!["Proben".to_owned()];
    let opened = ImapMailbox::new(Arc::new(plan)).unwrap().open(LIMIT).await;
    let evidence = opened.as_ref().unwrap_err().cause.evidence.clone();
    assert_eq!(evidence, ["folders: INBOX, Trash"]);
    assert_shut(
        opened,
        CauseCode::MailboxFolderMissing,
        Again::No,
        "there is no such folder",
    );
}

fn identity() -> Identity {
    Identity {
        probe: "external".to_owned(),
        to: "probe@example.org".to_owned(),
        key: TokenKey::from_bytes(&[7; 16]),
        previous_keys: Vec::new(),
    }
}

/// A token that was sent so many seconds ago, to wait for a minute.
pub(super) fn token(seconds_ago: i64) -> String {
    let sent_at = Utc::now() - TimeDelta::seconds(seconds_ago);
    identity().mint(sent_at, Duration::from_secs(60), false, [1, 2, 3, 4])
}

pub(super) fn ours(token: &str) -> String {
    format!("X-Mailprobe-Token: {token}\r\nSubject: [E2E Monitor] {token}\r\n")
}

pub(super) fn now() -> String {
    stored(0)
}

pub(super) fn stored(seconds_ago: i64) -> String {
    let at = Utc::now() - TimeDelta::seconds(seconds_ago);
    at.format("%d-%b-%Y %H:%M:%S +0000").to_string()
}

/// A run that waits in a fake mailbox.
pub(super) struct Scene {
    pub(super) fake: Arc<Fake>,
    watch: Watch,
    pub(super) token: String,
}

impl Scene {
    pub(super) async fn new(fake: Fake) -> Self {
        let token = token(0);
        let (fake, plan) = fake.start().await;
        let mailbox = ImapMailbox::new(Arc::new(plan)).unwrap();
        let joined = mailbox.join(LIMIT).await.unwrap();
        let wanted = Wanted {
            token: token.clone(),
            keyring: Arc::new(Keyring::new(vec![identity()])),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let watch = ImapMailbox::watch(joined, wanted);
        watch.set(Phase::Look(Instant::now()));
        Self { fake, watch, token }
    }

    pub(super) async fn observe(&mut self) -> Observation {
        let next = timeout(LIMIT, self.watch.observation()).await;
        next.expect("something is observed")
            .expect("the watcher lives")
    }

    pub(super) async fn seen(&mut self) -> Seen {
        loop {
            if let Observation::Seen(seen) = self.observe().await {
                return seen;
            }
        }
    }

    pub(super) async fn clean(&mut self, seen: Option<Seen>) -> Cleaned {
        self.watch.set(Phase::Stop);
        let task = CleanUp {
            token: self.token.clone(),
            keep: false,
            keyring: Arc::new(Keyring::new(vec![identity()])),
            now: Utc::now(),
            previous_fire: Some(Utc::now() - TimeDelta::seconds(1200)),
            seen,
        };
        self.watch.clean_up(&task, LIMIT).await
    }

    fn uids(&self) -> Vec<u32> {
        self.fake
            .inbox
            .lock()
            .unwrap()
            .iter()
            .map(|mail| mail.uid)
            .collect()
    }
}

#[tokio::test]
async fn a_message_is_seen_with_a_bound_and_deleted_by_its_number_alone() {
    let mut scene = Scene::new(Fake::default()).await;
    scene.fake.deliver("Subject: Invoice\r\n", &now());
    scene.fake.inbox.lock().unwrap()[0].is_deleted = true;
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    assert!(seen.at.elapsed() < LIMIT);
    let cleaned = scene.clean(Some(seen)).await;
    assert_eq!((cleaned.own, cleaned.warnings), (1, Vec::new()));
    assert_eq!(
        scene.uids(),
        [100],
        "the message of another, marked by another"
    );
    assert_eq!(scene.fake.heard("UID EXPUNGE 101"), 1);
    for never in ["EXPUNGE", "CLOSE", "UID EXPUNGE 100"] {
        assert_eq!(scene.fake.heard(never), 0, "{never}");
    }
    // Watched read-only until there is something to delete.
    let heard = scene.fake.heard.lock().unwrap();
    let select = heard
        .iter()
        .position(|line| line.starts_with("SELECT"))
        .unwrap();
    let store = heard
        .iter()
        .position(|line| line.starts_with("UID STORE"))
        .unwrap();
    assert!(select + 1 == store, "{heard:?}");
    assert!(
        heard.iter().all(|line| !line.contains("BODY[")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_message_that_was_delivered_twice_is_seen_once_and_deleted_twice() {
    let mut scene = Scene::new(Fake::default()).await;
    scene.fake.deliver(&ours(&scene.token), &now());
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    let cleaned = scene.clean(Some(seen)).await;
    assert_eq!((cleaned.own, cleaned.warnings), (2, Vec::new()));
    assert_eq!(scene.uids(), Vec::<u32>::new());
}

#[tokio::test]
async fn without_uidplus_it_goes_to_the_trash_and_without_that_it_stays_with_a_warning() {
    let capabilities = "IMAP4rev1 SASL-IR IDLE MOVE AUTH=PLAIN";
    let mut scene = Scene::new(Fake {
        capabilities,
        ..Fake::default()
    })
    .await;
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    assert_eq!(scene.clean(Some(seen)).await.own, 1);
    assert_eq!(scene.fake.heard("UID MOVE 100 \"Trash\""), 1);
    assert_eq!(scene.fake.heard("UID STORE"), 0);

    for (capabilities, folders) in [
        ("IMAP4rev1 SASL-IR IDLE AUTH=PLAIN", &["INBOX", "Trash"][..]),
        ("IMAP4rev1 SASL-IR IDLE MOVE AUTH=PLAIN", &["INBOX"]),
        // On Gmail an expunge only takes the label off.
        (
            "IMAP4rev1 SASL-IR IDLE MOVE UIDPLUS X-GM-EXT-1 AUTH=PLAIN",
            &["INBOX"],
        ),
    ] {
        let mut scene = Scene::new(Fake {
            capabilities,
            folders,
            ..Fake::default()
        })
        .await;
        scene.fake.deliver(&ours(&scene.token), &now());
        let seen = scene.seen().await;
        let cleaned = scene.clean(Some(seen)).await;
        assert_eq!(cleaned.own, 0);
        let [warning] = cleaned.warnings.as_slice() else {
            panic!("{cleaned:?}")
        };
        assert_eq!(warning.code, CauseCode::MessageNotDeleted);
        assert!(
            warning.summary.contains("neither UIDPLUS, nor MOVE"),
            "{warning:?}"
        );
        assert_eq!(scene.uids(), [100]);
        for never in ["UID STORE", "UID MOVE", "UID EXPUNGE", "SELECT"] {
            assert_eq!(scene.fake.heard(never), 0, "{never}");
        }
    }
}

#[tokio::test]
async fn a_deletion_that_is_answered_ok_and_does_nothing_is_noticed() {
    let mut scene = Scene::new(Fake::deciding(|_, line| match line {
        line if line.starts_with("UID STORE") => say("{tag} OK ignored\r\n"),
        _ => Does::Right,
    }))
    .await;
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    let cleaned = scene.clean(Some(seen)).await;
    assert_eq!(cleaned.own, 0);
    assert!(
        cleaned.warnings[0]
            .summary
            .contains("UID EXPUNGE had no effect"),
        "{cleaned:?}"
    );
}

#[tokio::test]
async fn only_what_is_proven_ours_and_finished_is_deleted() {
    let mut scene = Scene::new(Fake::default()).await;
    let (live, late, left) = (token(30), token(4000), token(5000));
    let forged = late.replace(late.get(20..30).unwrap(), "aaaaaaaaaa");
    for (fields, at) in [
        (ours(&live), now()),
        (ours(&forged), now()),
        (
            format!("X-Mailprobe-Token: {late}\r\nSubject: Re: [E2E Monitor] {late}\r\n"),
            now(),
        ),
        (format!("{}In-Reply-To: <a@b>\r\n", ours(&late)), now()),
        (format!("{}Resent-From: a@b\r\n", ours(&late)), now()),
        (ours(&late), stored(1000)),
        (ours(&left), stored(4990)),
    ] {
        scene.fake.deliver(&fields, &at);
    }
    let cleaned = scene.clean(None).await;
    assert_eq!(scene.uids(), [100, 101, 102, 103, 104]);
    assert_eq!((cleaned.own, cleaned.left_over), (0, 1));
    let [arrival] = cleaned.late.as_slice() else {
        panic!("{cleaned:?}")
    };
    assert_eq!(arrival.run, late);
    assert!(
        (2990.0..3010.0).contains(&arrival.delivery_seconds),
        "{arrival:?}"
    );
    assert!(cleaned.is_thorough);
}

#[tokio::test]
async fn a_server_that_does_not_search_leaves_late_arrivals_unknown() {
    let mut scene = Scene::new(Fake::deciding(|_, line| match line {
        line if line.starts_with("UID SEARCH") => say("{tag} BAD Unknown argument HEADER\r\n"),
        _ => Does::Right,
    }))
    .await;
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    let cleaned = scene.clean(Some(seen)).await;
    assert_eq!((cleaned.own, cleaned.is_thorough), (1, false));
}

#[tokio::test]
async fn a_reply_that_quotes_the_token_is_told_and_is_no_arrival() {
    let mut scene = Scene::new(Fake::default()).await;
    let fields = format!("{}In-Reply-To: <a@b>\r\n", ours(&scene.token));
    scene.fake.deliver(&fields, &now());
    let quoted = Observation::Quoted {
        folder: "INBOX".to_owned(),
        reason: "it is a reply (In-Reply-To)",
    };
    assert_eq!(scene.observe().await, quoted);
    scene.fake.deliver(&ours(&scene.token), &now());
    assert!(matches!(scene.observe().await, Observation::Seen(_)));
}

#[tokio::test]
async fn a_connection_that_breaks_comes_back_and_a_folder_made_anew_is_read_from_its_start() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let fake = Fake::deciding(move |number, line| {
        if number == 0 && line == "NOOP" && breaks.load(Ordering::SeqCst) {
            return Does::Last("* BYE restarting\r\n".to_owned());
        }
        Does::Right
    });
    fake.deliver("Subject: Invoice\r\n", &now());
    let mut scene = Scene::new(fake).await;
    *scene.fake.uid_validity.lock().unwrap() = 8;
    // The numbers begin anew, so that the message has a lower one than the next that was expected.
    scene.fake.inbox.lock().unwrap().clear();
    let fields = ours(&scene.token);
    scene.fake.inbox.lock().unwrap().push(super::fake::Mail {
        uid: 1,
        fields: format!("{fields}\r\n"),
        stored: now(),
        is_deleted: false,
    });
    broken.store(true, Ordering::SeqCst);
    let lost = scene.observe().await;
    let Observation::Lost { folder, cause } = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(
        (folder.as_str(), cause.code),
        ("INBOX", CauseCode::MailboxConnectionLost)
    );
    assert!(cause.summary.contains("restarting"), "{cause:?}");
    let back = Observation::Back {
        folder: "INBOX".to_owned(),
    };
    assert_eq!(scene.observe().await, back);
    let seen = scene.seen().await;
    assert_eq!(scene.clean(Some(seen)).await.own, 1);
}

#[tokio::test]
async fn mail_that_is_announced_in_any_answer_is_asked_for() {
    // EXISTS comes with the answer to a fetch, and the next NOOP says nothing.
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tells = Arc::clone(&told);
    let fake = Fake::deciding(move |_, line| match line {
        "NOOP" => say("{tag} OK nothing\r\n"),
        line if line.starts_with("UID FETCH") && tells.fetch_add(1, Ordering::SeqCst) == 0 => {
            say("* 1 EXISTS\r\n{tag} OK nothing yet\r\n")
        }
        _ => Does::Right,
    });
    let mut scene = Scene::new(fake).await;
    scene.fake.deliver(&ours(&scene.token), &now());
    let begun = Instant::now();
    scene.seen().await;
    // Without the announcement it would have been asked for every five seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_asks_for_fewer_questions_keeps_the_connection_and_is_asked_less() {
    let fake = Fake::deciding(|_, line| match line {
        "NOOP" => say("{tag} NO [THROTTLED] slow down\r\n"),
        _ => Does::Right,
    });
    let mut scene = Scene::new(fake).await;
    let quiet = timeout(Duration::from_millis(1500), scene.watch.observation()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(scene.fake.heard("NOOP"), 1);
    assert_eq!(scene.fake.heard("AUTHENTICATE"), 1);
}

#[tokio::test]
async fn a_server_that_counts_commands_is_left_in_idle_and_woken_once_a_second_at_the_most() {
    // Foreign mail pours in: IDLE announces some as soon as it begins.
    let fake = Fake::deciding(|_, line| match line {
        "IDLE" => say("+ idling\r\n* 1 EXISTS\r\n"),
        _ => Does::Right,
    });
    let capabilities = "IMAP4rev1 SASL-IR IDLE MOVE X-GM-EXT-1 SPECIAL-USE AUTH=PLAIN";
    let mut scene = Scene::new(Fake {
        capabilities,
        ..fake
    })
    .await;
    let begun = Instant::now();
    let quiet = timeout(Duration::from_millis(2500), scene.watch.observation()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let looks = scene.fake.heard("NOOP");
    assert!(
        (2..=4).contains(&looks),
        "{looks} looks in {:?}",
        begun.elapsed()
    );
    scene.fake.deliver(&ours(&scene.token), &now());
    scene.seen().await;
}

#[tokio::test]
async fn where_nothing_can_be_deleted_a_late_arrival_counts_once() {
    let capabilities = "IMAP4rev1 SASL-IR IDLE AUTH=PLAIN";
    let mut scene = Scene::new(Fake {
        capabilities,
        ..Fake::default()
    })
    .await;
    let (new, old) = (token(4000), token(6000));
    // The run before this one was due 1200 s ago, and has told of what was there then.
    scene.fake.deliver(&ours(&new), &stored(1000));
    scene.fake.deliver(&ours(&old), &stored(3000));
    let cleaned = scene.clean(None).await;
    let runs: Vec<&str> = cleaned.late.iter().map(|late| late.run.as_str()).collect();
    assert_eq!(runs, [new.as_str()]);
    assert_eq!((cleaned.left_over, scene.uids().len()), (0, 2));
}

#[tokio::test]
async fn a_name_with_two_addresses_is_reached_by_the_one_that_answers() {
    let (_fake, mut plan) = Fake::default().start().await;
    // On most machines ::1 as well, where nothing listens.
    plan.host = "localhost".to_owned();
    let mailbox = ImapMailbox::new(Arc::new(plan)).unwrap();
    mailbox.open(LIMIT).await.unwrap().close().await;
}

#[tokio::test]
async fn a_refused_look_is_a_loss_and_never_an_empty_folder() {
    for reply in [
        "{tag} NO [SERVERBUG] internal error\r\n",
        "{tag} BAD what?\r\n",
    ] {
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with("UID FETCH") => say(reply),
            _ => Does::Right,
        });
        let mut scene = Scene::new(fake).await;
        let lost = scene.observe().await;
        assert!(matches!(lost, Observation::Lost { .. }), "{lost:?}");
        scene.watch.set(Phase::LastLook);
        loop {
            match scene.observe().await {
                Observation::LastLook { trouble, .. } => {
                    assert!(
                        trouble.is_some(),
                        "a folder that cannot be read is not clean"
                    );
                    break;
                }
                Observation::Seen(seen) => panic!("{seen:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_crowd_of_foreign_mail_hides_nothing() {
    let mut scene = Scene::new(Fake::default()).await;
    for number in 0..2000 {
        scene
            .fake
            .deliver(&format!("Subject: Invoice {number}\r\n"), &now());
        if number == 1500 {
            scene.fake.deliver(&ours(&scene.token), &now());
        }
    }
    let seen = scene.seen().await;
    let before = scene.uids().len();
    assert_eq!(scene.clean(Some(seen)).await.own, 1);
    assert_eq!(scene.uids().len(), before - 1);
}
