//! A server that lies: whatever it says, no message is touched but those whose fields it showed, in this session and
//! under this UIDVALIDITY, to be ours and finished.

use super::fake::{Does, Fake, Mail, say};
use super::fake_tests::{LIMIT, Scene, now, ours, stored, token};
use super::*;
use std::fmt::Write;
use std::sync::atomic::AtomicUsize;

/// The answer of a FETCH about one message, as a right server would give it about its own.
fn told(uid: u32, fields: &str) -> String {
    let (stored, length) = (now(), fields.len() + 2);
    format!(
        "* 1 FETCH (UID {uid} INTERNALDATE \"{stored}\" BODY[]<0> {{{length}}}\r\n{fields}\r\n)\r\n"
    )
}

/// Every command that changes something.
fn changes(fake: &Fake) -> Vec<String> {
    let heard = fake.heard.lock().unwrap();
    let harmless = [
        "CAPABILITY",
        "AUTHENTICATE",
        "LIST",
        "EXAMINE",
        "SELECT",
        "NOOP",
        "IDLE",
        "DONE",
        "LOGOUT",
        "UID FETCH",
        "UID SEARCH",
        "STATUS",
    ];
    let changes = heard
        .iter()
        .filter(|line| !harmless.iter().any(|verb| line.starts_with(verb)));
    changes.cloned().collect()
}

#[track_caller]
fn assert_touched(scene: &Scene, uids: &[u32]) {
    let set = fetch::set(uids);
    let expected = if uids.is_empty() {
        Vec::new()
    } else {
        vec![
            format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"),
            format!("UID EXPUNGE {set}"),
        ]
    };
    assert_eq!(changes(&scene.fake), expected);
}

/// What `reading` says, where the server is asked for the fields of messages by their numbers, as at clean-up.
fn lying_at_clean_up(reading: String) -> Fake {
    Fake::deciding(move |_, line| match line {
        line if line.starts_with("UID FETCH") && line.contains("BODY") && !line.contains(":*") => {
            Does::Say(format!("{reading}{{tag}} OK done\r\n"))
        }
        _ => Does::Right,
    })
}

#[tokio::test]
async fn a_message_that_was_not_asked_for_is_not_deleted_though_it_is_said_to_be_ours() {
    let left = token(5000);
    let reading = format!("{}{}", told(777, &ours(&left)), told(100, &ours(&left)));
    let mut scene = Scene::new(lying_at_clean_up(reading)).await;
    scene.fake.deliver(&ours(&left), &stored(4990));
    scene.clean(None).await;
    assert_touched(&scene, &[100]);
}

#[tokio::test]
async fn a_message_that_is_told_in_two_ways_is_not_deleted() {
    let left = token(5000);
    let foreign = "Subject: Invoice\r\n";
    for (first, second) in [
        (foreign.to_owned(), ours(&left)),
        (ours(&left), foreign.to_owned()),
        (ours(&left), ours(&token(6000))),
    ] {
        let reading = format!("{}{}", told(100, &first), told(100, &second));
        let mut scene = Scene::new(lying_at_clean_up(reading)).await;
        scene.fake.deliver(&ours(&left), &stored(4990));
        let cleaned = scene.clean(None).await;
        assert_touched(&scene, &[]);
        assert_eq!((cleaned.own, cleaned.left_over), (0, 0));
    }
}

#[tokio::test]
async fn a_number_that_was_ours_and_anothers_while_watching_is_not_deleted() {
    for is_ours_first in [true, false] {
        let own = Arc::new(std::sync::Mutex::new(String::new()));
        let knows = Arc::clone(&own);
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with("UID FETCH") && line.contains("BODY") => {
                let token = knows.lock().unwrap().clone();
                if token.is_empty() {
                    return say("{tag} OK nothing\r\n");
                }
                let mut both = [told(100, &ours(&token)), told(100, "Subject: Invoice\r\n")];
                if !is_ours_first {
                    both.reverse();
                }
                Does::Say(format!("{}{{tag}} OK done\r\n", both.concat()))
            }
            _ => Does::Right,
        });
        let mut scene = Scene::new(fake).await;
        scene.token.clone_into(&mut own.lock().unwrap());
        scene.fake.deliver(&ours(&scene.token), &now());
        let seen = scene.seen().await;
        scene.clean(Some(seen)).await;
        assert_touched(&scene, &[]);
    }
}

#[tokio::test]
async fn a_number_from_before_a_reconnection_is_read_again_before_anything_is_deleted() {
    for is_still_ours in [false, true] {
        let breaks = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&breaks);
        let fake = Fake::deciding(move |number, line| {
            if number == 0 && line != "LOGOUT" && broken.load(Ordering::SeqCst) {
                return Does::Last("* BYE restarting\r\n".to_owned());
            }
            Does::Right
        });
        let mut scene = Scene::new(fake).await;
        scene.fake.deliver(&ours(&scene.token), &now());
        let seen = scene.seen().await;
        breaks.store(true, Ordering::SeqCst);
        loop {
            if let Observation::Back { .. } = scene.observe().await {
                break;
            }
        }
        if !is_still_ours {
            // Restored from a backup, say: the same UIDVALIDITY, and another message under the number.
            scene.fake.inbox.lock().unwrap()[0].fields = "Subject: Invoice\r\n\r\n".to_owned();
        }
        let cleaned = scene.clean(Some(seen)).await;
        assert_touched(&scene, if is_still_ours { &[100] } else { &[] });
        assert_eq!(cleaned.own, usize::from(is_still_ours));
    }
}

#[tokio::test]
async fn where_uidvalidity_is_another_missing_or_changes_on_the_way_nothing_more_is_deleted() {
    let opened = "* 1 EXISTS\r\n* OK [UIDNEXT 101] x\r\n";
    let store = "UID STORE 100 +FLAGS.SILENT (\\Deleted)".to_owned();
    for (at, says, expected) in [
        (
            "SELECT",
            format!("{opened}* OK [UIDVALIDITY 8] x\r\n{{tag}} OK done\r\n"),
            vec![],
        ),
        ("SELECT", format!("{opened}{{tag}} OK done\r\n"), vec![]),
        (
            "UID STORE",
            "* OK [UIDVALIDITY 8] x\r\n{tag} OK done\r\n".to_owned(),
            vec![store],
        ),
    ] {
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with(at) => Does::Say(says.clone()),
            _ => Does::Right,
        });
        let mut scene = Scene::new(fake).await;
        scene.fake.deliver(&ours(&scene.token), &now());
        let seen = scene.seen().await;
        let cleaned = scene.clean(Some(seen)).await;
        assert_eq!(changes(&scene.fake), expected, "{at}");
        let [warning] = cleaned.warnings.as_slice() else {
            panic!("{cleaned:?}")
        };
        assert_eq!(warning.code, CauseCode::MessageNotDeleted);
        assert!(
            warning.summary.contains("UIDVALIDITY was 7 and is"),
            "{warning:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_uidvalidity_is_watched_and_nothing_is_deleted() {
    let fake = Fake::deciding(|_, line| match line {
        line if line.starts_with("EXAMINE") || line.starts_with("SELECT") => {
            say("* 0 EXISTS\r\n* OK [UIDNEXT 100] x\r\n{tag} OK done\r\n")
        }
        _ => Does::Right,
    });
    let mut scene = Scene::new(fake).await;
    scene.fake.deliver(&ours(&scene.token), &now());
    let seen = scene.seen().await;
    let cleaned = scene.clean(Some(seen)).await;
    assert_touched(&scene, &[]);
    assert!(
        cleaned.warnings[0].summary.contains("UIDVALIDITY was 0"),
        "{cleaned:?}"
    );
}

#[tokio::test]
async fn a_folder_that_is_made_anew_under_the_watch_is_lost_and_read_from_its_start() {
    let looks = AtomicUsize::new(0);
    let fake = Fake::deciding(move |_, line| match line {
        "NOOP" if looks.fetch_add(1, Ordering::SeqCst) == 1 => {
            say("* OK [UIDVALIDITY 8] made anew\r\n{tag} OK done\r\n")
        }
        _ => Does::Right,
    });
    fake.deliver("Subject: Invoice\r\n", &now());
    let mut scene = Scene::new(fake).await;
    *scene.fake.uid_validity.lock().unwrap() = 8;
    scene.fake.inbox.lock().unwrap().clear();
    let lost = scene.observe().await;
    let Observation::Lost { cause, .. } = lost else {
        panic!("{lost:?}")
    };
    assert!(
        cause
            .summary
            .contains("made anew (UIDVALIDITY was 7 and is 8)"),
        "{cause:?}"
    );
    let fields = ours(&scene.token);
    scene.fake.inbox.lock().unwrap().push(Mail {
        uid: 1,
        fields: format!("{fields}\r\n"),
        stored: now(),
        is_deleted: false,
    });
    let seen = scene.seen().await;
    assert_eq!(scene.clean(Some(seen)).await.own, 1);
    assert_touched(&scene, &[1]);
}

#[tokio::test]
async fn a_search_that_finds_everything_deletes_nothing_but_what_its_fields_prove() {
    let all: Vec<String> = (1..=20_000).map(|uid: u32| uid.to_string()).collect();
    let answer = format!("* SEARCH {}\r\n{{tag}} OK done\r\n", all.join(" "));
    let left = token(5000);
    let mut mail = String::new();
    for uid in 19_900..=20_000 {
        let fields = if uid == 19_950 {
            ours(&left)
        } else {
            format!("Subject: Invoice {uid}\r\n")
        };
        mail.push_str(&told(uid, &fields));
    }
    let fake = Fake::deciding(move |_, line| match line {
        line if line.starts_with("UID SEARCH") => Does::Say(answer.clone()),
        line if line.starts_with("UID FETCH")
            && line.contains("19950")
            && line.contains("BODY") =>
        {
            Does::Say(format!("{mail}{{tag}} OK done\r\n"))
        }
        _ => Does::Right,
    });
    let mut scene = Scene::new(fake).await;
    scene.clean(None).await;
    assert_touched(&scene, &[19_950]);
}

#[tokio::test]
async fn expunges_and_other_numbers_in_every_answer_move_no_deletion_to_another_message() {
    let mut storm = String::new();
    for _ in 0..2000 {
        let _ = write!(
            storm,
            "* 1 EXPUNGE\r\n* 3 FETCH (UID 4294967295 FLAGS (\\Deleted))\r\n"
        );
    }
    let fake = Fake::deciding(move |_, line| match line {
        "NOOP" => Does::Say(format!("{storm}* 7 EXISTS\r\n{{tag}} OK done\r\n")),
        line if line.starts_with("UID STORE") => Does::Say(format!(
            "{storm}* 1 FETCH (UID 5 FLAGS (\\Deleted))\r\n{{tag}} OK done\r\n"
        )),
        _ => Does::Right,
    });
    fake.deliver("Subject: Invoice\r\n", &now());
    let mut scene = Scene::new(fake).await;
    scene.fake.deliver(&ours(&scene.token), &now());
    scene.fake.deliver("Subject: Invoice\r\n", &now());
    let seen = scene.seen().await;
    scene.clean(Some(seen)).await;
    assert_touched(&scene, &[101]);
}

#[tokio::test]
async fn nonsense_about_where_a_message_was_moved_to_is_not_acted_upon() {
    for nonsense in [
        "* OK [COPYUID 7 100 4294967295] moved\r\n",
        "* OK [COPYUID 9 1:4294967295 1:4294967295] moved\r\n",
        "* OK [COPYUID what] moved\r\n",
        "* 1 EXPUNGE\r\n* OK [COPYUID 7 1,2,3 4,5,6] moved\r\n",
    ] {
        let fake = Fake::deciding(move |_, line| match line {
            line if line.starts_with("UID MOVE") => {
                Does::Say(format!("{nonsense}{{tag}} OK [COPYUID 1 2 3] done\r\n"))
            }
            _ => Does::Right,
        });
        let capabilities = "IMAP4rev1 SASL-IR IDLE MOVE AUTH=PLAIN";
        let mut scene = Scene::new(Fake {
            capabilities,
            ..fake
        })
        .await;
        scene.fake.deliver(&ours(&scene.token), &now());
        let seen = scene.seen().await;
        let cleaned = scene.clean(Some(seen)).await;
        assert_eq!(
            changes(&scene.fake),
            ["UID MOVE 100 \"Trash\""],
            "{nonsense}"
        );
        // It is still there, whatever the server says.
        assert_eq!((cleaned.own, cleaned.warnings.len()), (0, 1), "{nonsense}");
    }
}

#[tokio::test]
async fn numbers_beyond_those_asked_for_neither_count_nor_hide_what_comes() {
    // Lost and back, with so much foreign mail that it is asked for in parts.
    let breaks = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&breaks);
    let fake = Fake::deciding(move |number, line| {
        if number == 0 && line == "NOOP" && broken.load(Ordering::SeqCst) {
            return Does::Last("* BYE restarting\r\n".to_owned());
        }
        if line.starts_with("UID FETCH 100:") && !line.contains(":*") {
            let beyond = told(4_000_000_000, "Subject: Invoice\r\n");
            return Does::Say(format!("{beyond}{{tag}} OK done\r\n"));
        }
        Does::Right
    });
    let mut scene = Scene::new(fake).await;
    for _ in 0..1200 {
        scene.fake.deliver("Subject: Invoice\r\n", &now());
    }
    scene.fake.deliver(&ours(&scene.token), &now());
    // The first connection must not read them.
    breaks.store(true, Ordering::SeqCst);
    let seen = scene.seen().await;
    scene.clean(Some(seen)).await;
    assert_touched(&scene, &[1300]);
}

/// A server that takes a message by APPEND and answers so.
fn taking(answer: &'static str) -> Fake {
    Fake::deciding(move |_, line| match line {
        line if line.starts_with("APPEND") => say("+ go on\r\n"),
        // The last line of the message.
        line if line.starts_with("by `mailprobe check --write`") => say(answer),
        line if line.starts_with("mailprobe")
            || line.starts_with('<')
            || line.contains(" +0000") =>
        {
            Does::Nothing
        }
        // The empty line behind its header.
        "DONE" => Does::Nothing,
        _ => Does::Right,
    })
}

#[tokio::test]
async fn the_message_that_measures_the_clock_is_deleted_only_where_it_proves_to_be() {
    for (answer, expected) in [
        (
            "A0004 OK [APPENDUID 7 100] stored\r\n",
            Clock::Astray(Some(100)),
        ),
        (
            "A0004 OK [APPENDUID 7 55] stored\r\n",
            Clock::Astray(Some(55)),
        ),
        ("A0004 OK stored\r\n", Clock::Astray(None)),
        (
            "A0004 NO [CANNOT] not here\r\n",
            Clock::Refused("NO [CANNOT] not here".to_owned()),
        ),
    ] {
        let (fake, plan) = taking(answer).start().await;
        fake.deliver("Subject: Invoice\r\n", &now());
        let mailbox = ImapMailbox::new(Arc::new(plan)).unwrap();
        assert_eq!(mailbox.clock(LIMIT).await, Ok(expected), "{answer}");
        let heard = fake.heard.lock().unwrap();
        assert!(
            !heard
                .iter()
                .any(|line| line.contains("STORE") || line.contains("EXPUNGE")),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_append_is_quoted() {
    let fake = Fake::deciding(|_, line| match line {
        line if line.starts_with("APPEND") => say("{tag} BAD Unknown command.\r\n"),
        _ => Does::Right,
    });
    let (_fake, plan) = fake.start().await;
    let clock = ImapMailbox::new(Arc::new(plan)).unwrap().clock(LIMIT).await;
    assert_eq!(clock, Ok(Clock::Refused("BAD Unknown command.".to_owned())));
}
