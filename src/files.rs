//! Files that people name. A wrong path can lead to anything, `/dev/zero` included, so none is read without an end.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// A secret, a key, a token: none is longer (bytes).
pub const LARGEST_SECRET: u64 = 64 * 1024;
/// Every public CA together has a quarter of a megabyte (bytes).
pub const LARGEST_CA_FILE: u64 = 8 * 1024 * 1024;
/// Thousands of probes fit in (bytes).
pub const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;

/// The whole file, which has at most so many bytes.
///
/// # Errors
/// What the system says, or that there is more.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
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
        assert_eq!(endless.kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        let told = read_text(&path, 5).unwrap_err().to_string();
        assert!(told.starts_with("it is not UTF-8: "), "{told}");
    }
}
