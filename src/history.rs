//! The last runs, kept on disk: SQLite in `[serve] state_dir`.
//!
//! One thread has the file; runs are handed to it and never wait for it. A disk that is full or broken costs the history
//! and nothing else, which is said once when it begins and once when it ends.

use crate::metrics::Gauges;
use crate::probe::verdict::Verdict;
use crate::scheduler::logbook::{DRAWN, Mark};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The file in the directory.
const FILE: &str = "history.db";
/// Older runs are forgotten.
const KEPT: TimeDelta = TimeDelta::days(30);
/// And more are, oldest first: some 150 MB.
const MOST: u32 = 50_000;
/// The last runs of a probe stay longer, whatever the others do: one that runs once a year finds them.
const LAST_KEPT: TimeDelta = TimeDelta::days(400);
/// How often that is seen to, in runs.
const PRUNE_EVERY: u32 = 200;
/// Runs that wait for a slow disk; beyond that they are not kept.
const WAITING: usize = 1000;
/// A second process that has the file open is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// How long whoever asks for a report waits for the disk.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// And how long the end of the process.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// A history that cannot be opened is tried again after this time.
const RETRY: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS runs (
    token TEXT PRIMARY KEY,
    probe TEXT NOT NULL,
    ended_at INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    success INTEGER NOT NULL,
    delivery_seconds REAL,
    report TEXT NOT NULL,
    gauges TEXT,
    interrupted INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS runs_by_kind ON runs (probe, success, seen, ended_at) WHERE NOT interrupted;
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (ended_at);
PRAGMA user_version = 3;
";
/// The first version kept no gauges.
const FROM_FIRST: &str = "
BEGIN IMMEDIATE;
ALTER TABLE runs ADD COLUMN gauges TEXT;
PRAGMA user_version = 2;
COMMIT;
";
/// The second one said only in the report what a run is to its probe.
const FROM_SECOND: &str = "
BEGIN IMMEDIATE;
ALTER TABLE runs ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET
    interrupted = json_extract(report, '$.cause.code') IS 'interrupted',
    seen = json_extract(report, '$.seen_at') IS NOT NULL
WHERE json_valid(report);
DROP INDEX IF EXISTS runs_by_probe;
PRAGMA user_version = 3;
COMMIT;
";

/// One run, to be kept.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its probe.
    pub probe: String,
    /// How it ended.
    pub mark: Mark,
    /// The report.
    pub report: Arc<Text>,
    /// What metrics say of it.
    pub gauges: Arc<Gauges>,
}

/// The report of a run as JSON: in memory until the history has it, for it is long, and there are many.
#[derive(Debug)]
pub struct Text {
    token: String,
    held: Mutex<Option<Arc<str>>>,
}

/// The disk does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

/// One run that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its probe.
    pub probe: String,
    /// How it ended.
    pub mark: Mark,
    /// The token, of the last run and of the last failure: their reports can be asked for.
    pub token: Option<String>,
    /// What metrics say of it, of the last run and of the last one whose message was seen.
    pub gauges: Option<Gauges>,
}

/// The way to the thread that has the file.
#[derive(Debug, Clone)]
pub struct History {
    thread: SyncSender<Task>,
    /// More runs wait than there is room for.
    is_full: Arc<AtomicBool>,
}

enum Task {
    Add(Stored),
    Get(String, oneshot::Sender<Option<Arc<str>>>),
    Close(oneshot::Sender<()>),
}

/// What the history holds when it has opened.
#[derive(Debug)]
pub struct Found {
    /// The last runs of each probe, and its last failure, success and arrival, oldest first.
    pub kept: Vec<Kept>,
    /// What went wrong on the way and was got over.
    pub warning: Option<String>,
}

/// Hears how the opening went: first a failure, for a person, where there was one; then, once, what was found.
pub type Opening = Receiver<Result<Found, String>>;

impl Text {
    /// That of the run with this token.
    #[must_use]
    pub fn new(token: String, text: Arc<str>) -> Self {
        Self {
            token,
            held: Mutex::new(Some(text)),
        }
    }

    /// One that the history has.
    #[must_use]
    pub fn kept(token: String) -> Self {
        Self {
            token,
            held: Mutex::new(None),
        }
    }

    /// The token of the run.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The report, where it is in memory.
    #[must_use]
    pub fn held(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    fn let_go(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Has the history in this directory opened, made if it is not there, on a thread of its own: a disk may never
    /// answer. Where it cannot be opened, that is tried again for as long as the process lives.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn begin(directory: &Path) -> std::io::Result<(Self, Opening)> {
        Self::begin_again_after(RETRY, directory)
    }

    fn begin_again_after(retry: Duration, directory: &Path) -> std::io::Result<(Self, Opening)> {
        let directory = directory.to_owned();
        let (thread, tasks) = sync_channel(WAITING);
        let (tell, opening) = channel();
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || {
                if let Some(file) = open_until(&directory, retry, &tasks, &tell) {
                    Keeper::new(file).work(&tasks);
                }
            })?;
        let is_full = Arc::default();
        Ok((Self { thread, is_full }, opening))
    }

    /// Keeps a run, soon. Never waits.
    pub fn add(&self, run: Stored) {
        match self.thread.try_send(Task::Add(run)) {
            Err(TrySendError::Full(Task::Add(run))) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        probe = run.probe,
                        token = run.report.token(),
                        "the run is not kept in the history, and more may follow: the disk is too slow; no probe is affected"
                    );
                }
            }
            Ok(()) => {
                if self.is_full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the disk has caught up: runs are kept in the history again");
                }
            }
            Err(_) => {}
        }
    }

    /// The report of a run, if it is kept.
    ///
    /// # Errors
    /// The disk does not answer in time.
    pub async fn get(&self, token: &str) -> Result<Option<Arc<str>>, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let asked = self.thread.try_send(Task::Get(token.to_owned(), reply));
        asked.map_err(|_| NoAnswer)?;
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    /// Waits until all is written.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.thread.try_send(Task::Close(reply)).is_ok() {
            let _ = tokio::time::timeout(CLOSE_LIMIT, answer).await;
        }
    }
}

/// The thread that has the file.
struct Keeper {
    file: Connection,
    added: u32,
    failing: bool,
}

impl Keeper {
    fn new(file: Connection) -> Self {
        Self {
            file,
            added: 0,
            failing: false,
        }
    }

    fn work(mut self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Add(run) => self.add(&run),
                Task::Get(token, reply) => {
                    let found = self.get(&token);
                    let _ = reply.send(found.ok().flatten());
                }
                Task::Close(reply) => {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn add(&mut self, run: &Stored) {
        self.added += 1;
        let outcome = insert(&self.file, run).and_then(|()| {
            run.report.let_go();
            if self.added % PRUNE_EVERY == 1 {
                prune(&self.file, run.mark.ended_at, MOST)
            } else {
                Ok(())
            }
        });
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the history is written again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(
                    probe = run.probe,
                    token = run.report.token(),
                    "the run is not kept in the history: {error}; no probe is affected"
                );
            }
            _ => {}
        }
    }

    fn get(&self, token: &str) -> rusqlite::Result<Option<Arc<str>>> {
        self.file
            .query_row("SELECT report FROM runs WHERE token = ?1", [token], |row| {
                row.get::<_, String>(0)
            })
            .optional()
            .map(|report| report.map(Arc::from))
    }
}

/// Opens the history, however often that takes; until then no run is kept, and nobody waits. `None` when nobody needs it
/// any more.
fn open_until(
    directory: &Path,
    retry: Duration,
    tasks: &Receiver<Task>,
    tell: &Sender<Result<Found, String>>,
) -> Option<Connection> {
    let mut has_failed = false;
    loop {
        match open(directory) {
            Ok((file, found)) => {
                // Nobody may listen any more: the process is about to end.
                let _ = tell.send(Ok(found));
                return Some(file);
            }
            Err(error) if !has_failed => {
                has_failed = true;
                let _ = tell.send(Err(error));
            }
            Err(_) => {}
        }
        let again = Instant::now() + retry;
        loop {
            match tasks.recv_timeout(again.saturating_duration_since(Instant::now())) {
                Ok(Task::Add(_)) => {}
                Ok(Task::Get(_, reply)) => {
                    let _ = reply.send(None);
                }
                Ok(Task::Close(reply)) => {
                    let _ = reply.send(());
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// Opens it once. A file that is no history is put aside.
fn open(directory: &Path) -> Result<(Connection, Found), String> {
    let path = directory.join(FILE);
    let fault = |error: &dyn std::fmt::Display| {
        format!("cannot open the history `{}`: {error}", path.display())
    };
    std::fs::create_dir_all(directory).map_err(|error| fault(&error))?;
    // To open a pipe or a device can take for ever.
    if std::fs::metadata(&path).is_ok_and(|file| !file.is_file()) {
        return Err(fault(&"it is no regular file"));
    }
    let mut warning = None;
    let opened = connect(&path).and_then(|file| Ok((read_last(&file)?, file)));
    let (kept, file) = match opened {
        Ok(opened) => opened,
        Err(error) if is_broken(&error) => {
            let aside = put_aside(&path).map_err(|error| fault(&error))?;
            warning = Some(format!(
                "the history was broken ({error}) and is now `{}`; a new one was begun",
                aside.display()
            ));
            (Vec::new(), connect(&path).map_err(|error| fault(&error))?)
        }
        Err(error) => return Err(fault(&error)),
    };
    Ok((file, Found { kept, warning }))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Made here where it is not there yet, so that only our user reads it; SQLite gives what it puts beside it the same
    // permissions. What keeps it from being made, SQLite says in its own words.
    let _ = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    let file = Connection::open(path)?;
    file.busy_timeout(BUSY)?;
    let version: u32 = file.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 1 {
        file.execute_batch(FROM_FIRST)?;
    }
    if (1..=2).contains(&version) {
        file.execute_batch(FROM_SECOND)?;
    }
    file.execute_batch(SCHEMA)?;
    Ok(file)
}

fn insert(file: &Connection, run: &Stored) -> rusqlite::Result<()> {
    file.prepare(
        "INSERT OR REPLACE INTO runs
            (token, probe, ended_at, verdict, success, delivery_seconds, report, gauges, interrupted, seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        run.report.token(),
        run.probe,
        run.mark.ended_at.timestamp_millis(),
        run.mark.verdict.name(),
        run.mark.success,
        run.mark.delivery_seconds,
        run.report.held().unwrap_or_default(),
        serde_json::to_string(run.gauges.as_ref()).ok(),
        run.gauges.is_interrupted(),
        run.gauges.has_arrival(),
    ])
    .map(|_| ())
}

/// Forgets what is too old, and what is more than `most` runs; but of each probe not the last of each kind, failures and
/// successes, seen and not: however rare its runs are among those of others, a start finds what it shows of them.
fn prune(file: &Connection, now: DateTime<Utc>, most: u32) -> rusqlite::Result<()> {
    const SPARED: &str = "SELECT run FROM (
        SELECT rowid AS run, max(ended_at) FROM runs WHERE NOT interrupted GROUP BY probe, success, seen
    )";
    let before = |kept: TimeDelta| (now - kept).timestamp_millis();
    file.execute("DELETE FROM runs WHERE ended_at < ?1", [before(LAST_KEPT)])?;
    file.execute(
        &format!("DELETE FROM runs WHERE ended_at < ?1 AND rowid NOT IN ({SPARED})"),
        [before(KEPT)],
    )?;
    file.execute(
        &format!(
            "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM runs ORDER BY ended_at DESC LIMIT -1 OFFSET ?1)
                AND rowid NOT IN ({SPARED})"
        ),
        [most],
    )?;
    Ok(())
}

/// The last runs of each probe, and its last failure, success and arrival, oldest first; without those that a signal ended,
/// and those that are damaged.
///
/// Reports are long: places are found without them, by the index alone.
fn read_last(file: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut query = file.prepare(
        "WITH placed AS (
            SELECT rowid AS run, seen,
                row_number() OVER (PARTITION BY probe ORDER BY ended_at DESC) AS place,
                row_number() OVER (PARTITION BY probe, success ORDER BY ended_at DESC) AS place_of_kind,
                row_number() OVER (PARTITION BY probe, seen ORDER BY ended_at DESC) AS place_of_sight
            FROM runs WHERE NOT interrupted
        )
        SELECT probe, ended_at, verdict, success, delivery_seconds,
            CASE WHEN place = 1 OR (success = 0 AND place_of_kind = 1) THEN token END,
            CASE WHEN place = 1 OR (placed.seen AND place_of_sight = 1) THEN gauges END
        FROM placed JOIN runs ON runs.rowid = placed.run
        WHERE place <= ?1 OR place_of_kind = 1 OR (placed.seen AND place_of_sight = 1) ORDER BY ended_at",
    )?;
    let rows = query.query_map([u32::try_from(DRAWN).unwrap_or(u32::MAX)], |row| {
        let verdict: String = row.get(2)?;
        let ended_at: i64 = row.get(1)?;
        // A verdict that a later version wrote is none of ours.
        let known = verdict_of(&verdict).zip(DateTime::from_timestamp_millis(ended_at));
        let Some((verdict, ended_at)) = known else {
            return Ok(None);
        };
        let gauges: Option<String> = row.get(6)?;
        Ok(Some(Kept {
            probe: row.get(0)?,
            mark: Mark {
                ended_at,
                verdict,
                success: row.get(3)?,
                delivery_seconds: row.get(4)?,
            },
            token: row.get(5)?,
            gauges: gauges.and_then(|text| serde_json::from_str(&text).ok()),
        }))
    })?;
    // A row that holds something else than ours do is passed over; what the file itself is at fault for is not.
    let is_odd = |error: &rusqlite::Error| error.sqlite_error_code().is_none();
    rows.filter(|row| !row.as_ref().is_err_and(is_odd))
        .filter_map(Result::transpose)
        .collect()
}

fn verdict_of(name: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|one| one.name() == name)
}

/// Whether the file itself is at fault.
fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

/// Puts a broken file aside, for whoever wants to look into it, in the place of the one that was put aside before.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension("db.broken");
    std::fs::rename(path, &aside)?;
    for more in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(path.with_extension(more));
    }
    Ok(aside)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
