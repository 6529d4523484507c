//! What ships: the files of the image, as `deploy/container/build-rootfs` makes them, and the image as it is run.

use super::{alone, process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The user that the image names.
pub const USER: &str = "65532:65532";

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()))
}

/// A script in `deploy/` that calls cargo, without what cargo tells its tests: build scripts look at that, and everything
/// would be built anew.
pub fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut script = Command::new(root.join("deploy").join(name));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*text) {
            script.env_remove(&name);
        }
    }
    script
}

/// Where the files of the image are, built once for all tests; cargo knows what is as it was.
pub fn rootfs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let rootfs = target().join("rootfs");
        // Not a second time: the tests beside this one read the files just now.
        if !alone::is_alone() {
            process::run(script("container/build-rootfs").arg(&rootfs));
        }
        rootfs
    })
}

/// The program in the image: its files alone, read-only, as its user, without privileges, and with these mounts: what is
/// here, and where it is in there.
pub fn in_the_image(rootfs: &Path, mounts: &[(&Path, &str)], arguments: &[&str]) -> Command {
    // The image's root, in here.
    const ROOT: &str = "/mnt";
    let mut command = Command::new("bwrap");
    command.args(["--dev-bind", "/", "/", "--tmpfs", ROOT]);
    for entry in std::fs::read_dir(rootfs).unwrap() {
        let entry = entry.unwrap();
        let inside = Path::new(ROOT).join(entry.file_name());
        command.arg("--ro-bind").args([entry.path(), inside]);
    }
    for (here, there) in mounts {
        // Those that bubblewrap makes by itself are root's alone.
        let mut parents: Vec<&Path> = Path::new(there).ancestors().skip(1).collect();
        parents.retain(|parent| parent.parent().is_some());
        for parent in parents.iter().rev() {
            command.args(["--perms", "0755", "--dir"]);
            command.arg(format!("{ROOT}{}", parent.display()));
        }
        command
            .arg("--ro-bind")
            .arg(here)
            .arg(format!("{ROOT}{there}"));
    }
    command
        .args(["--dev", "/mnt/dev", "--proc", "/mnt/proc"])
        .args(["--remount-ro", ROOT])
        // Like an emptyDir; the image's own cannot be written.
        .args(["--perms", "1777", "--tmpfs", "/mnt/tmp"])
        .args(["--unshare-pid", "--unshare-ipc", "--unshare-uts"])
        .args(["--cap-drop", "ALL", "--cap-add", "CAP_SYS_CHROOT"])
        .args(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"])
        .args(["chroot", "--groups=", &format!("--userspec={USER}"), ROOT])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
