//! Files that people name. A wrong path can lead to anything, `/dev/zero` included, so none is read without an end; and
//! a file system can hang, so whoever has other things to do has them read [`aside`].

use std::cell::RefCell;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long [`aside`] waits.
const ASIDE_LIMIT: Duration = Duration::from_secs(5);

/// A secret, a key, a token: none is longer (bytes).
pub const LARGEST_SECRET: u64 = 64 * 1024;
/// Every public CA together has a quarter of a megabyte (bytes).
pub const LARGEST_CA_FILE: u64 = 8 * 1024 * 1024;
/// Thousands of probes fit in (bytes).
pub const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;

/// The file that a thread is at.
type Place = Mutex<PathBuf>;

thread_local! {
    static PLACE: RefCell<Option<Arc<Place>>> = const { RefCell::new(None) };
}

/// What was given up, and whether its thread still hangs.
static HANGING: Mutex<Vec<(PathBuf, Weak<Place>)>> = Mutex::new(Vec::new());

/// Has work that reads files done on a thread of its own, and waits for it no longer than 5 s. `what` is the file that
/// leads to the others; while a thread hangs over it, no second one is begun.
///
/// # Errors
/// The file at which it hangs, and the limit.
pub async fn aside<T: Send + 'static>(
    what: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    aside_within(ASIDE_LIMIT, what, work).await
}

async fn aside_within<T: Send + 'static>(
    limit: Duration,
    what: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if hanging().iter().any(|(path, _)| path == what) {
        let why = format!(
            "an earlier attempt to read `{}` still hangs",
            what.display()
        );
        return Err(Error::new(ErrorKind::TimedOut, why));
    }
    let place = Arc::new(Mutex::new(what.to_owned()));
    let seen = Arc::downgrade(&place);
    let working = spawn_blocking(move || {
        PLACE.set(Some(place));
        let done = work();
        PLACE.set(None);
        done
    });
    match timeout(limit, working).await {
        Ok(done) => done.map_err(Error::other),
        Err(_) => {
            let at = seen.upgrade().map(|place| lock(&place).clone());
            let at = at.unwrap_or_else(|| what.to_owned());
            hanging().push((what.to_owned(), seen));
            let why = format!(
                "`{}` has not been read within {} s: is it on a file system that hangs?",
                at.display(),
                limit.as_secs_f64()
            );
            Err(Error::new(ErrorKind::TimedOut, why))
        }
    }
}

/// What hangs now.
fn hanging() -> std::sync::MutexGuard<'static, Vec<(PathBuf, Weak<Place>)>> {
    let mut hanging = lock(&HANGING);
    hanging.retain(|(_, place)| place.strong_count() > 0);
    hanging
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole file, which has at most so many bytes.
///
/// # Errors
/// What the system says, or that there is more, or that it is none: a pipe or a terminal would have us wait.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    PLACE.with_borrow(|place| {
        if let Some(place) = place {
            path.clone_into(&mut lock(place));
        }
    });
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let why = "it is no regular file";
        return Err(Error::new(ErrorKind::InvalidInput, why));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        Ok(bytes)
    } else {
        let why = format!("it has more than {most} bytes, so it is another file than was meant");
        Err(Error::new(ErrorKind::FileTooLarge, why))
    }
}

/// The same for text.
///
/// # Errors
/// As [`read`], or that it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let why = |error| Error::new(ErrorKind::InvalidData, format!("it is not UTF-8: {error}"));
    String::from_utf8(read(path, most)?).map_err(|error| why(error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let told = read(&path, 4).unwrap_err().to_string();
        assert!(told.starts_with("it has more than 4 bytes"), "{told}");
        let endless = read(Path::new("/dev/zero"), 100).unwrap_err();
        assert_eq!(endless.to_string(), "it is no regular file");
        std::fs::write(&path, [0xff]).unwrap();
        let told = read_text(&path, 5).unwrap_err().to_string();
        assert!(told.starts_with("it is not UTF-8: "), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_hangs_is_named_and_holds_neither_the_caller_nor_a_second_thread() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (
            directory.path().join("first"),
            directory.path().join("second"),
        );
        std::fs::write(&first, "x").unwrap();
        std::fs::write(&second, "y").unwrap();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(100);
        let (one, other) = (first.clone(), second.clone());
        // In the place of a file system that does not answer.
        let hung = aside_within(limit, &first, move || {
            read(&one, 5).unwrap();
            read(&other, 5).unwrap();
            held.recv()
        });
        let told = hung.await.unwrap_err().to_string();
        let says = format!("`{}` has not been read within 0.1 s", second.display());
        assert!(told.starts_with(&says), "{told}");
        let told = aside(&first, || ()).await.unwrap_err().to_string();
        assert!(told.ends_with("still hangs"), "{told}");
        assert!(aside(&second, || ()).await.is_ok());
        go_on.send(()).unwrap();
        while aside(&first, || ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
