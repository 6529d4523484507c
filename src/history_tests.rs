use super::*;
use crate::probe::report::sample;
use std::process::{Command, Stdio};

/// So long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

fn run(number: i64, probe: &str, success: bool) -> Stored {
    let ended_at = DateTime::from_timestamp(1_795_600_800 + number * 60, 0).unwrap();
    let token = format!("e2e-probe-{number}");
    let mut report = sample(probe, &token, ended_at);
    if !success {
        report.seen_at = None;
    }
    Stored {
        token,
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
        report: serde_json::to_string(&report).unwrap().into(),
        gauges: Arc::new(Gauges::of(&report)),
    }
}

/// The run as it is read again: those of the kinds that are shown, with what is shown of them.
fn kept(run: &Stored, report: bool, gauges: bool) -> Kept {
    Kept {
        probe: run.probe.clone(),
        mark: run.mark.clone(),
        report: report.then(|| Arc::clone(&run.report)),
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
    assert!(opened.history.get("e2e-probe-0").await.is_some());
    assert_eq!(opened.history.get("e2e-probe-none").await, None);
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
async fn a_history_of_the_first_version_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let old = run(1, "a", true);
    {
        let file = connect(&path).unwrap();
        insert(&file, &old).unwrap();
        file.execute_batch("ALTER TABLE runs DROP COLUMN gauges; PRAGMA user_version = 1")
            .unwrap();
    }
    let opened = open_in(directory.path()).unwrap();
    assert_eq!(opened.warning, None);
    assert_eq!(opened.kept, [kept(&old, true, false)]);
    opened.history.add(run(2, "a", true));
    opened.history.close().await;
    let again = open_in(directory.path()).unwrap().kept;
    assert_eq!(again[1], kept(&run(2, "a", true), true, true));
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
    interrupted.report = "{\"cause\":{\"code\":\"interrupted\"}}".into();
    opened.history.add(interrupted);
    opened.history.close().await;
    assert!(opened.history.get("e2e-probe-0").await.is_some());
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
    history.add(run(0, "a", true));
    assert_eq!(history.get("e2e-probe-0").await, None);
    std::fs::remove_file(&below).unwrap();
    // However often it failed, that is told once.
    let found = opening.recv_timeout(LIMIT).unwrap().unwrap();
    assert_eq!(found.kept, []);
    history.add(run(1, "a", true));
    assert!(history.get("e2e-probe-1").await.is_some());
}

#[tokio::test]
async fn a_damaged_row_is_passed_over_and_costs_no_other_one() {
    let directory = tempfile::tempdir().unwrap();
    let (sound, last) = (run(0, "a", true), run(1, "a", true));
    {
        let file = connect(&directory.path().join(FILE)).unwrap();
        insert(&file, &sound).unwrap();
        let damages = [
            "report = '{\"seen_at\": '",
            "report = CAST(x'22ff22' AS TEXT)",
            "probe = CAST(x'ff' AS TEXT)",
        ];
        for (number, damage) in damages.iter().enumerate() {
            let token = format!("e2e-probe-{}", number + 2);
            insert(
                &file,
                &Stored {
                    token: token.clone(),
                    ..run(9, "a", true)
                },
            )
            .unwrap();
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
    assert!(opened.history.get("e2e-probe-20").await.is_some());
}

#[test]
fn old_runs_and_those_beyond_the_number_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = connect(&directory.path().join(FILE)).unwrap();
    let old = run(0, "a", true);
    let now = old.mark.ended_at + KEPT + TimeDelta::seconds(1);
    insert(&file, &old).unwrap();
    insert(&file, &run(1, "a", true)).unwrap();
    prune(&file, now).unwrap();
    let left: u32 = file
        .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_the_history_and_nothing_else() {
    let file = Connection::open_in_memory().unwrap();
    file.execute_batch(SCHEMA).unwrap();
    file.execute_batch("PRAGMA query_only = 1").unwrap();
    let mut keeper = Keeper::new(file);
    keeper.add(&run(1, "a", true));
    keeper.add(&run(2, "a", true));
    assert!(keeper.failing);
    keeper.file.execute_batch("PRAGMA query_only = 0").unwrap();
    keeper.add(&run(3, "a", true));
    assert!(!keeper.failing);
    assert_eq!(keeper.get("e2e-probe-1").unwrap(), None);
    assert!(keeper.get("e2e-probe-3").unwrap().is_some());
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
