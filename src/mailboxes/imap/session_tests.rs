//! The regression suite for async-imap: each of these once read as success, or never ended.

use super::super::script::Line::{Close, On, Say};
use super::super::script::{Line, session};
use super::*;

const LIMIT: Duration = Duration::from_secs(5);

async fn outcome(command: &str, script: Vec<Line>) -> Result<(), Fault> {
    let (mut session, _server) = session(script).await;
    session.command(command, LIMIT, |_| ()).await
}

#[tokio::test]
async fn a_refused_command_is_an_error_with_the_servers_words_for_every_command_that_we_send() {
    for command in [
        "NOOP",
        "UID SEARCH ALL",
        "UID FETCH 1:* (UID)",
        "UID STORE 1 +FLAGS.SILENT (\\Deleted)",
        "UID EXPUNGE 1",
        "UID MOVE 1 \"Trash\"",
        "EXAMINE \"INBOX\"",
        "LIST \"\" \"*\"",
        "CAPABILITY",
    ] {
        let no = outcome(command, vec![On("", "{tag} NO [INUSE] try later\r\n")]).await;
        let expected = Fault::No {
            reply: "NO [INUSE] try later".to_owned(),
        };
        assert_eq!(no, Err(expected), "{command}");
        let bad = outcome(command, vec![On("", "{tag} BAD what?\r\n")]).await;
        let expected = Fault::Bad {
            reply: "BAD what?".to_owned(),
        };
        assert_eq!(bad, Err(expected), "{command}");
    }
}

#[tokio::test]
async fn a_closed_connection_is_an_error_and_no_empty_answer() {
    let closed = outcome("UID SEARCH ALL", vec![On("SEARCH", ""), Close]).await;
    assert!(matches!(closed, Err(Fault::Lost { .. })), "{closed:?}");
    let half = vec![On("SEARCH", "* SEARCH 1 2"), Close];
    let half = outcome("UID SEARCH ALL", half).await;
    assert!(matches!(half, Err(Fault::Lost { .. })), "{half:?}");
}

#[tokio::test]
async fn a_goodbye_in_the_middle_of_a_command_is_quoted() {
    let script = vec![On("NOOP", "* BYE [UNAVAILABLE] going down\r\n")];
    let Err(fault) = outcome("NOOP", script).await else {
        panic!("a goodbye is no success")
    };
    assert!(fault.to_string().contains("[UNAVAILABLE] going down"));
    assert_eq!(fault.code().as_deref(), Some("UNAVAILABLE"));
}

#[tokio::test]
async fn the_answer_to_another_tag_is_not_taken_for_ours() {
    let script = vec![On("NOOP", "A9999 OK not yours\r\n{tag} NO yours\r\n")];
    let outcome = outcome("NOOP", script).await;
    assert!(matches!(outcome, Err(Fault::No { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_runs_into_the_limit_and_the_session_is_not_used_again() {
    let (mut session, _server) = session(vec![On("NOOP", "")]).await;
    let fault = session.command("NOOP", LIMIT, |_| ()).await.unwrap_err();
    assert_eq!(fault.to_string(), "no answer to NOOP within 5 s");
    assert!(session.is_broken());
    // The late answer to the first would be read as the answer to this one.
    let second = session.command("NOOP", LIMIT, |_| ()).await;
    assert!(matches!(second, Err(Fault::Lost { .. })), "{second:?}");
}

#[tokio::test]
async fn a_command_whose_caller_went_away_leaves_no_usable_session_behind() {
    let (mut session, _server) = session(vec![On("NOOP", "")]).await;
    let short = Duration::from_millis(20);
    let gone = tokio::time::timeout(short, session.command("NOOP", LIMIT, |_| ())).await;
    assert!(gone.is_err());
    assert!(session.is_broken());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let endless = "x".repeat(4 * 1024 * 1024);
    let script = vec![On("FETCH", ""), Say(format!("* OK {endless}"))];
    let (mut session, _server) = session(script).await;
    // On a machine that is busy: each piece that comes is read from the start of the answer.
    let limit = Duration::from_secs(120);
    let fetch = session.command("UID FETCH 1 (BODY.PEEK[])", limit, |_| ());
    let Err(fault) = fetch.await else {
        panic!("four megabytes were read")
    };
    assert!(fault.to_string().contains("larger than"), "{fault}");
}

#[tokio::test]
async fn a_literal_of_half_a_gigabyte_is_refused_when_it_is_announced() {
    let announced = On("FETCH", "* 1 FETCH (BODY[] {536000000}\r\nSubject: x\r\n");
    let Err(fault) = outcome("UID FETCH 1 (BODY.PEEK[])", vec![announced]).await else {
        panic!("half a gigabyte was made room for")
    };
    let expected = "the server's answer is larger than 262144 bytes";
    assert_eq!(fault.to_string(), expected);
}

#[tokio::test]
async fn an_answer_that_is_not_imap_is_an_error_without_the_raw_bytes() {
    let script = vec![On("NOOP", "HTTP/1.1 400 Bad Request\r\n\r\n")];
    let Err(fault) = outcome("NOOP", script).await else {
        panic!("HTTP is no IMAP")
    };
    assert_eq!(fault.to_string(), "the server's answer is not IMAP");
}

#[tokio::test]
async fn many_announcements_in_one_answer_are_all_heard() {
    let many: String = (1..=250).map(|n| format!("* {n} EXISTS\r\n")).collect();
    let (mut session, _server) = session(vec![On("NOOP", ""), Say(many + "{tag} OK\r\n")]).await;
    let mut last = 0;
    let outcome = session
        .command("NOOP", LIMIT, |response| {
            if let Response::MailboxData(MailboxDatum::Exists(n)) = response {
                last = *n;
            }
        })
        .await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(last, 250);
    assert!(session.take_news());
    assert!(!session.take_news());
}

#[tokio::test]
async fn a_line_break_in_a_command_never_reaches_the_server() {
    let (mut session, server) = session(vec![]).await;
    let outcome = session
        .command("NOOP\r\nA9 DELETE INBOX", LIMIT, |_| ())
        .await;
    assert!(outcome.is_err());
    drop(session);
    let heard = server.await.unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

fn phase() -> (watch::Sender<u64>, watch::Receiver<u64>) {
    watch::channel(0)
}

fn in_a_while() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test(start_paused = true)]
async fn mail_announced_before_the_plus_of_idle_wakes_at_once() {
    let script = vec![
        On("IDLE", "* 5 EXISTS\r\n+ idling\r\n"),
        On("DONE", ""),
        Say("{tag} OK done\r\n".to_owned()),
    ];
    let (mut session, _server) = session(script).await;
    let (_keep, mut wanted) = phase();
    let woken = session.idle(in_a_while(), &mut wanted, Heed::NewMail).await;
    assert_eq!(woken, Ok(Woken::NewMail));
}

#[tokio::test(start_paused = true)]
async fn keepalives_do_not_put_off_the_end_of_idle() {
    let mut script = vec![On("IDLE", "+ idling\r\n")];
    for _ in 0..100 {
        script.push(Say("* OK Still here\r\n".to_owned()));
    }
    script.extend([On("DONE", ""), Say("{tag} OK done\r\n".to_owned())]);
    let (mut session, _server) = session(script).await;
    let (_keep, mut wanted) = phase();
    let end = Instant::now() + Duration::from_secs(4);
    let woken = session.idle(end, &mut wanted, Heed::NewMail).await;
    assert_eq!(woken, Ok(Woken::Time));
    assert!(Instant::now() < end + Duration::from_secs(1));
    assert!(!session.is_broken());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_to_idle_leaves_the_session_usable() {
    let script = vec![
        On("IDLE", "{tag} NO not now\r\n"),
        On("NOOP", "{tag} OK\r\n"),
    ];
    let (mut session, _server) = session(script).await;
    let (_keep, mut wanted) = phase();
    let fault = session
        .idle(in_a_while(), &mut wanted, Heed::NewMail)
        .await
        .unwrap_err();
    assert!(fault.leaves_session_usable(), "{fault}");
    assert_eq!(session.command("NOOP", LIMIT, |_| ()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_begins_to_idle_runs_into_a_limit() {
    let (mut session, _server) = session(vec![On("IDLE", "")]).await;
    let (_keep, mut wanted) = phase();
    let fault = session
        .idle(in_a_while(), &mut wanted, Heed::NewMail)
        .await
        .unwrap_err();
    assert_eq!(fault.to_string(), "no answer to IDLE within 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_idle_closes_or_says_goodbye_is_a_loss_and_no_mail() {
    for last in ["A0002 OK ended\r\n", "* BYE bye\r\n", ""] {
        let script = vec![On("IDLE", "+ idling\r\n"), Say(last.to_owned()), Close];
        let (mut session, _server) = session(script).await;
        let (_keep, mut wanted) = phase();
        let outcome = session.idle(in_a_while(), &mut wanted, Heed::NewMail).await;
        assert!(
            matches!(outcome, Err(Fault::Lost { .. })),
            "{last:?}: {outcome:?}"
        );
        assert!(session.is_broken());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_ends_when_the_run_wants_something_else() {
    let script = vec![
        On("IDLE", "+ idling\r\n"),
        On("DONE", ""),
        Say("{tag} OK done\r\n".to_owned()),
    ];
    let (mut session, _server) = session(script).await;
    let (control, mut wanted) = phase();
    let begun = Instant::now();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        control.send_replace(1);
        std::future::pending::<()>().await;
    });
    let woken = session.idle(in_a_while(), &mut wanted, Heed::NewMail).await;
    assert_eq!(woken, Ok(Woken::Wanted));
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn brackets_without_end_do_not_use_up_the_stack() {
    let nested = format!("* 1 FETCH (BODYSTRUCTURE {}", "(".repeat(200_000));
    let script = vec![On("NOOP", ""), Say(nested)];
    let (mut session, _server) = session(script).await;
    let fault = session.command("NOOP", LIMIT, |_| ()).await.unwrap_err();
    assert!(fault.to_string().contains("nested too deeply"), "{fault}");
}

/// More lines than any right server has to say, as fast as they go.
fn flood() -> Line {
    Say("* OK\r\n".repeat(120_000))
}

#[tokio::test]
async fn a_flood_of_short_lines_ends_each_kind_of_wait_with_a_clear_error() {
    let expected =
        "the server does not stop sending: more than 100000 lines since the last command";
    let limit = Duration::from_secs(120);
    let (mut session, _server) = session(vec![On("NOOP", ""), flood()]).await;
    let fault = session.command("NOOP", limit, |_| ()).await.unwrap_err();
    assert_eq!(fault.to_string(), expected);
    assert!(session.is_broken());

    for heed in [Heed::NewMail, Heed::Nothing] {
        let script = vec![On("IDLE", "+ idling\r\n"), flood()];
        let (mut session, _server) = super::super::script::session(script).await;
        let (_keep, mut wanted) = phase();
        let end = Instant::now() + limit;
        let fault = session.idle(end, &mut wanted, heed).await.unwrap_err();
        assert_eq!(fault.to_string(), expected);
        assert!(session.is_broken());
    }
}

#[tokio::test]
async fn many_lines_over_several_commands_are_no_flood() {
    let lines = "* OK\r\n".repeat(60_000) + "{tag} OK done\r\n";
    let script = vec![
        On("NOOP", ""),
        Say(lines.clone()),
        On("NOOP", ""),
        Say(lines),
    ];
    let (mut session, _server) = session(script).await;
    let limit = Duration::from_secs(120);
    for _ in 0..2 {
        assert_eq!(session.command("NOOP", limit, |_| ()).await, Ok(()));
        // async-imap would keep what nobody reads.
        assert!(session.inner.unsolicited_responses.is_empty());
    }
}
