//! The image, as its recipe makes it, run as a cluster runs it: an unprivileged user, a root that cannot be written, no
//! shell, and no network but loopback.

use crate::common::Outcome;
use crate::common::alone::on_loopback_alone;
use crate::common::image::{USER, in_the_image, rootfs};
use crate::common::process::run;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn recipe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container/Containerfile");
    std::fs::read_to_string(path).unwrap()
}

/// The program in the image, waited for.
#[track_caller]
fn see(arguments: &[&str]) -> Outcome {
    let mut command = in_the_image(rootfs(), &[], arguments);
    let command = command.stdin(Stdio::null());
    Outcome::of(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

/// The path and size of every file below a directory.
fn files(directory: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_image_holds_one_static_program_its_licences_and_no_more_than_12_mib() {
    let mut found = Vec::new();
    files(rootfs(), &mut found);
    let size: u64 = found.iter().map(|(_, size)| size).sum();
    let mut names: Vec<&str> = found
        .iter()
        .map(|(path, _)| path.strip_prefix(rootfs()).unwrap().to_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "mailprobe",
            "usr/share/doc/mailprobe/copyright",
            "usr/share/doc/mailprobe/licences.txt",
            "usr/share/doc/mailprobe/mailprobe.cdx.json",
        ]
    );
    println!(
        "image: {:.1} MiB in files",
        size as f64 / f64::from(1 << 20)
    );
    assert!(size <= 12 << 20, "{size} bytes: {found:#?}");
    let said = run(Command::new("ldd")
        .arg(rootfs().join("mailprobe"))
        .env("LC_ALL", "C"));
    assert!(said.contains("statically linked"), "{said}");
    let bill = rootfs().join("usr/share/doc/mailprobe/mailprobe.cdx.json");
    let bill: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(bill).unwrap()).unwrap();
    assert_eq!(bill["metadata"]["component"]["name"], "mailprobe");
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_recipe_runs_that_script_on_what_docker_is_shown_and_names_that_user() {
    let recipe = recipe();
    assert!(recipe.contains("deploy/container/build-rootfs /rootfs ${TARGET}\n"));
    assert!(recipe.contains("\nCOPY --from=build /rootfs/ /\n"));
    assert!(recipe.contains(&format!("\nUSER {USER}\n")));
    assert!(recipe.contains("\nENTRYPOINT [\"/mailprobe\"]\nCMD [\"run\", \"--push\"]\n"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shown = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    let copied: Vec<&str> = recipe
        .lines()
        .take_while(|line| *line != "FROM scratch")
        .filter_map(|line| line.strip_prefix("COPY "))
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    assert!(copied.contains(&"src"), "{copied:?}");
    for one in copied {
        assert!(root.join(one).exists(), "{one}");
        assert!(
            shown
                .lines()
                .any(|line| line.strip_prefix('!') == Some(one)),
            "{one} is copied, and .dockerignore hides it"
        );
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_image_tells_its_version_plays_the_demo_and_has_no_shell() {
    rootfs();
    on_loopback_alone(
        "container::the_image_tells_its_version_plays_the_demo_and_has_no_shell",
        || {
            let version = see(&["/mailprobe", "--version"]);
            assert_eq!(
                version.stdout.trim_end(),
                concat!("mailprobe ", env!("CARGO_PKG_VERSION"))
            );
            let demo = see(&["/mailprobe", "demo"]);
            assert_eq!(demo.code, Some(0), "{demo:#?}");
            assert!(demo.stdout.contains("\ndemo: delivered in "), "{demo:#?}");
            let shell = see(&["/bin/sh", "-c", "true"]);
            assert_eq!(shell.code, Some(127), "{shell:#?}");
        },
    );
}
