use super::*;
use crate::probe::report::{sample, samples};
use crate::probe::verdict::CauseCode;
use std::process::{Command, Stdio};

/// So long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

fn token(number: i64) -> String {
    format!("e2e-probe-{number}")
}

fn run(number: i64, probe: &str, success: bool) -> Stored {
    let ended_at = DateTime::from_timestamp(1_795_600_800 + number * 60, 0).unwrap();
    let token = token(number);
    let mut report = sample(probe, &token, ended_at);
    if !success {
        report.seen_at = None;
    }
    let text = serde_json::to_string(&report).unwrap();
    Stored {
        probe: probe.to_owned(),
        mark: Mark {
            ended_at,
            verdict: if success {
                Verdict::Delivered
            } else {
                Verdict::Missing
            },
            success,
            delivery_seconds: success.then_some(1.0),
        },
        report: Arc::new(Text::new(token, text.into())),
        gauges: Arc::new(Gauges::of(&report)),
    }
}

/// The run as it is read again: those of the kinds that are shown, with what is shown of them.
fn kept(run: &Stored, report: bool, gauges: bool) -> Kept {
    Kept {
        probe: run.probe.clone(),
        mark: run.mark.clone(),
        token: report.then(|| run.report.token().to_owned()),
        gauges: gauges.then(|| run.gauges.as_ref().clone()),
    }
}

struct Opened {
    history: History,
    kept: Vec<Kept>,
    warning: Option<String>,
}

/// Opens the history in a directory, as it goes the first time.
fn open_in(directory: &Path) -> Result<Opened, String> {
    let (history, opening) = History::begin(directory).unwrap();
    let Found { kept, warning } = opening.recv().unwrap()?;
    Ok(Opened {
        history,
        kept,
        warning,
    })
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_the_last_failure_included() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    assert_eq!(opened.kept, Vec::new());
    opened.history.add(run(0, "a", false));
    for number in 1..100 {
        opened.history.add(run(number, "a", true));
    }
    opened.history.add(run(100, "b", true));
    opened.history.close().await;
    let first = run(0, "a", false).report.held();
    assert_eq!(opened.history.get("e2e-probe-0").await, Ok(first));
    assert_eq!(opened.history.get("e2e-probe-none").await, Ok(None));
    let again = open_in(directory.path()).unwrap();
    assert_eq!(again.warning, None);
    let of_a: Vec<&Kept> = again.kept.iter().filter(|one| one.probe == "a").collect();
    assert_eq!(of_a.len(), DRAWN + 1);
    assert_eq!(*of_a[0], kept(&run(0, "a", false), true, false));
    assert_eq!(*of_a[DRAWN - 1], kept(&run(98, "a", true), false, false));
    assert_eq!(*of_a[DRAWN], kept(&run(99, "a", true), true, true));
    let of_b = kept(&run(100, "b", true), true, true);
    assert_eq!(again.kept.last(), Some(&of_b));
}

#[tokio::test]
async fn the_last_success_and_arrival_are_read_again_however_many_failures_came_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    opened.history.add(run(0, "a", true));
    for number in 1..100 {
        opened.history.add(run(number, "a", false));
    }
    opened.history.close().await;
    let again = open_in(directory.path()).unwrap().kept;
    assert_eq!(again.len(), DRAWN + 1);
    assert_eq!(again[0], kept(&run(0, "a", true), false, true));
    assert_eq!(again[DRAWN], kept(&run(99, "a", false), true, true));
}

#[tokio::test]
async fn histories_of_earlier_versions_are_taken_over() {
    let columns = "DROP INDEX runs_by_kind; ALTER TABLE runs DROP COLUMN interrupted; ALTER TABLE runs DROP COLUMN seen;";
    for (version, missing) in [
        (
            1,
            "ALTER TABLE runs DROP COLUMN gauges; PRAGMA user_version = 1",
        ),
        (2, "PRAGMA user_version = 2"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let old = run(1, "a", true);
        let mut interrupted = run(0, "a", false);
        let text = "{\"cause\":{\"code\":\"interrupted\"}}";
        interrupted.report = Arc::new(Text::new(token(0), text.into()));
        {
            let file = connect(&path).unwrap();
            insert(&file, &old).unwrap();
            insert(&file, &interrupted).unwrap();
            file.execute_batch(&format!("{columns}{missing}")).unwrap();
        }
        let opened = open_in(directory.path()).unwrap();
        assert_eq!(opened.warning, None);
        assert_eq!(opened.kept, [kept(&old, true, version > 1)]);
        opened.history.add(run(2, "a", false));
        opened.history.close().await;
        let again = open_in(directory.path()).unwrap().kept;
        assert_eq!(again[0], kept(&old, false, version > 1));
        assert_eq!(again[1], kept(&run(2, "a", false), true, true));
    }
}

#[tokio::test]
async fn nobody_else_reads_it_nor_what_sqlite_puts_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    opened.history.add(run(0, "a", true));
    opened.history.close().await;
    let mut files: Vec<(String, u32)> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    let expected = ["history.db", "history.db-shm", "history.db-wal"];
    assert_eq!(files, expected.map(|name| (name.to_owned(), 0o600)));
}

#[tokio::test]
async fn a_run_that_a_signal_ended_is_kept_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    let mut interrupted = run(0, "a", false);
    interrupted.gauges = Arc::new(Gauges::of(&samples::blind(CauseCode::Interrupted)));
    opened.history.add(interrupted);
    opened.history.close().await;
    assert!(opened.history.get("e2e-probe-0").await.unwrap().is_some());
    assert_eq!(open_in(directory.path()).unwrap().kept, Vec::new());
}

#[tokio::test]
async fn a_file_that_is_no_history_is_put_aside_and_a_new_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), "rubbish ".repeat(1000)).unwrap();
    let opened = open_in(directory.path()).unwrap();
    assert!(opened.warning.unwrap().contains("history.db.broken"));
    opened.history.add(run(1, "a", true));
    opened.history.close().await;
    assert_eq!(open_in(directory.path()).unwrap().kept.len(), 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_names_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open_in(&file.path().join("below")).err().unwrap();
    assert!(error.contains("below/history.db"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("mkfifo")
        .arg(directory.path().join(FILE))
        .status();
    assert!(made.unwrap().success());
    let (_history, opening) = History::begin(directory.path()).unwrap();
    let error = opening.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(
        error.ends_with("history.db`: it is no regular file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_history_that_does_not_open_at_first_is_opened_once_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("below");
    std::fs::write(&below, "in the way").unwrap();
    let (history, opening) = History::begin_again_after(Duration::from_millis(20), &below).unwrap();
    assert!(opening.recv_timeout(LIMIT).unwrap().is_err());
    let early = run(0, "a", true);
    history.add(early.clone());
    assert_eq!(history.get("e2e-probe-0").await, Ok(None));
    assert!(early.report.held().is_some());
    std::fs::remove_file(&below).unwrap();
    // However often it failed, that is told once.
    let found = opening.recv_timeout(LIMIT).unwrap().unwrap();
    assert_eq!(found.kept, []);
    history.add(run(1, "a", true));
    assert!(history.get("e2e-probe-1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_row_is_passed_over_and_costs_no_other_one() {
    let directory = tempfile::tempdir().unwrap();
    let (sound, last) = (run(0, "a", true), run(1, "a", true));
    {
        let file = connect(&directory.path().join(FILE)).unwrap();
        insert(&file, &sound).unwrap();
        let damages = [
            "verdict = 'fabulous'",
            "verdict = CAST(x'22ff22' AS TEXT)",
            "probe = CAST(x'ff' AS TEXT)",
        ];
        for (number, damage) in damages.iter().enumerate() {
            let token = format!("e2e-probe-{}", number + 2);
            let text = Text::new(token.clone(), "{}".into());
            let stored = Stored {
                report: Arc::new(text),
                ..run(9, "a", true)
            };
            insert(&file, &stored).unwrap();
            let damage = format!("UPDATE runs SET {damage} WHERE token = '{token}'");
            file.execute(&damage, []).unwrap();
        }
        insert(&file, &last).unwrap();
    }
    let opened = open_in(directory.path()).unwrap();
    assert_eq!(opened.warning, None);
    let marks: Vec<&Mark> = opened.kept.iter().map(|one| &one.mark).collect();
    assert_eq!(marks, [&sound.mark, &last.mark]);
    opened.history.add(run(20, "a", true));
    assert!(opened.history.get("e2e-probe-20").await.unwrap().is_some());
}

/// The tokens that are kept, oldest run first.
fn tokens(file: &Connection) -> Vec<String> {
    let mut query = file
        .prepare("SELECT token FROM runs ORDER BY ended_at")
        .unwrap();
    let tokens = query.query_map([], |row| row.get(0)).unwrap();
    tokens.map(Result::unwrap).collect()
}

#[test]
fn old_runs_and_those_beyond_the_number_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = connect(&directory.path().join(FILE)).unwrap();
    for number in 0..10 {
        insert(&file, &run(number, "a", true)).unwrap();
    }
    let last = run(9, "a", true).mark.ended_at;
    let old = run(2, "a", true).mark.ended_at;
    prune(&file, old + KEPT + TimeDelta::seconds(1), 50).unwrap();
    assert_eq!(tokens(&file), [3, 4, 5, 6, 7, 8, 9].map(token));
    prune(&file, last, 4).unwrap();
    assert_eq!(tokens(&file), [6, 7, 8, 9].map(token));
    prune(&file, last + LAST_KEPT + TimeDelta::seconds(1), 4).unwrap();
    assert_eq!(tokens(&file), [""; 0]);
}

#[test]
fn the_last_runs_of_each_kind_of_a_rare_probe_outlast_those_of_busy_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = connect(&directory.path().join(FILE)).unwrap();
    // A success, late ones that are failures and seen, and one that is neither; each of them twice.
    let late = |number| {
        let seen = run(number, "rare", true);
        let mut late = run(number, "rare", false);
        (late.report, late.gauges) = (seen.report, seen.gauges);
        late
    };
    for stored in [
        run(0, "rare", true),
        run(1, "rare", true),
        late(2),
        late(3),
        run(4, "rare", false),
        run(5, "rare", false),
    ] {
        insert(&file, &stored).unwrap();
    }
    let mut interrupted = run(6, "rare", false);
    interrupted.gauges = Arc::new(Gauges::of(&samples::blind(CauseCode::Interrupted)));
    insert(&file, &interrupted).unwrap();
    for number in 10..60 {
        insert(&file, &run(number, "busy", true)).unwrap();
    }
    let now = run(59, "busy", true).mark.ended_at;
    let left = [1, 3, 5, 58, 59].map(token);
    prune(&file, now, 2).unwrap();
    assert_eq!(tokens(&file), left);
    prune(&file, now + KEPT + TimeDelta::days(1), 2).unwrap();
    assert_eq!(tokens(&file), [1, 3, 5, 59].map(token));
}

#[test]
fn pruning_holds_nobody_up_where_a_thousand_probes_fill_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let file = connect(&directory.path().join(FILE)).unwrap();
    file.execute_batch("BEGIN").unwrap();
    for number in 0..i64::from(MOST) + 200 {
        insert(
            &file,
            &run(number, &format!("p{}", number % 1000), number % 7 > 0),
        )
        .unwrap();
    }
    file.execute_batch("COMMIT").unwrap();
    let now = run(i64::from(MOST) + 199, "a", true).mark.ended_at;
    let begun = Instant::now();
    prune(&file, now, MOST).unwrap();
    let took = begun.elapsed();
    // Runs that wait have room for more than this.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_the_history_and_nothing_else() {
    let file = Connection::open_in_memory().unwrap();
    file.execute_batch(SCHEMA).unwrap();
    file.execute_batch("PRAGMA query_only = 1").unwrap();
    let mut keeper = Keeper::new(file);
    let (one, other) = (run(1, "a", true), run(2, "a", true));
    keeper.add(&one);
    keeper.add(&other);
    assert!(keeper.failing);
    assert!(one.report.held().is_some() && other.report.held().is_some());
    keeper.file.execute_batch("PRAGMA query_only = 0").unwrap();
    let kept = run(3, "a", true);
    keeper.add(&kept);
    assert!(!keeper.failing);
    assert_eq!(kept.report.held(), None, "the history has it");
    assert_eq!(keeper.get("e2e-probe-1").unwrap(), None);
    assert!(keeper.get("e2e-probe-3").unwrap().is_some());
}

#[test]
fn a_disk_that_is_too_slow_is_told_of_once_and_what_it_did_not_take_stays_in_memory() {
    // A thread that takes nothing until it is asked to.
    let (thread, tasks) = sync_channel(1);
    let history = History {
        thread,
        is_full: Arc::default(),
    };
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = log.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || file.try_clone().unwrap())
        .finish();
    let lost = run(1, "a", true);
    tracing::subscriber::with_default(subscriber, || {
        history.add(run(0, "a", true));
        history.add(lost.clone());
        history.add(run(2, "a", true));
        drop(tasks.recv().unwrap());
        history.add(run(3, "a", true));
        drop(tasks.recv().unwrap());
        history.add(run(4, "a", true));
    });
    let told = std::fs::read_to_string(log.path()).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("the disk is too slow") && told[0].contains("e2e-probe-1"));
    assert!(told[1].contains("the disk has caught up"));
    assert!(lost.report.held().is_some());
}

/// Written to by the test below, in a process of its own, until that is killed.
#[test]
#[ignore = "part of another test"]
fn write_until_killed() {
    let Ok(directory) = std::env::var("HISTORY_TO_WRITE") else {
        return;
    };
    let opened = open_in(Path::new(&directory)).unwrap();
    for number in 0.. {
        opened.history.add(run(number, "a", true));
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_process_that_is_killed_leaves_a_history_that_opens_without_a_gap() {
    for round in 0..10_u64 {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "history::tests::write_until_killed"])
            .env("HISTORY_TO_WRITE", directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let count = || -> Option<u32> {
            let file = Connection::open(directory.path().join(FILE)).ok()?;
            file.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
                .ok()
        };
        let begun = std::time::Instant::now();
        while count().is_none_or(|runs| runs < 5) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "nothing is written"
            );
            std::thread::yield_now();
        }
        // A moment of its own each round.
        std::thread::sleep(Duration::from_micros(round * 1733));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let opened = open_in(directory.path()).unwrap();
        assert_eq!(opened.warning, None);
        let last =
            run(0, "a", true).mark.ended_at + TimeDelta::minutes(i64::from(count().unwrap()) - 1);
        assert_eq!(
            opened.kept.last().unwrap().mark.ended_at,
            last,
            "round {round}"
        );
    }
}
