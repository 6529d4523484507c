//! The image, as its recipe makes it, run as a cluster runs it: an unprivileged user, a root that cannot be written, no
//! shell, and no network but loopback, where the test servers are.

use crate::common::alone::on_loopback_alone;
use crate::common::image::{USER, in_the_image, rootfs};
use crate::common::process::{open_to_all, owned_directory, run};
use crate::common::{API_KEY, KUMA_TOKEN, Outcome, PASSWORD, SECRETS, Site};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn recipe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container/Containerfile");
    std::fs::read_to_string(path).unwrap()
}

/// The program in the image, waited for.
#[track_caller]
fn see(mounts: &[(&Path, &str)], arguments: &[&str]) -> Outcome {
    let mut command = in_the_image(rootfs(), mounts, arguments);
    let command = command.stdin(Stdio::null());
    Outcome::of(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

/// A command in the image, of which GNU time writes the most memory that it held, in KiB, into a file.
fn measured(mounts: &[(&Path, &str)], arguments: &[&str], peak: &Path) -> Command {
    let whole = in_the_image(rootfs(), mounts, arguments);
    let mut command = Command::new(whole.get_program());
    for argument in whole.get_args() {
        // Next to the program: what bubblewrap counts ends with the namespace.
        if argument == "chroot" {
            command.args(["/usr/bin/time", "--format=%M", "--output"]);
            command.arg(peak);
        }
        command.arg(argument);
    }
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The config of the site, with its secrets in files that only the image's user may read, as a cluster mounts them: links
/// through `..data`, which points at another directory as soon as a Secret changes.
fn mounted(site: &Site) -> PathBuf {
    let mounted = site.path().join("etc-mailprobe");
    let directory = mounted.join("..2026_11_25_12_00_00.1");
    let secrets = directory.join("secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    open_to_all(&mounted);
    open_to_all(&directory);
    symlink(directory.file_name().unwrap(), mounted.join("..data")).unwrap();
    for name in ["mailprobe.toml", "ca.pem", "secrets"] {
        symlink(Path::new("..data").join(name), mounted.join(name)).unwrap();
    }
    let mut text = std::fs::read_to_string(site.config()).unwrap();
    let kuma = format!("http://127.0.0.1:{}/api/push/{KUMA_TOKEN}", site.kuma_port);
    for (variable, value) in [
        ("BREVO_API_KEY", API_KEY),
        ("EMAIL_MONITOR_IMAP_PASSWORD", PASSWORD),
        ("UPTIME_KUMA_PUSH_URL", kuma.as_str()),
    ] {
        std::fs::write(secrets.join(variable), value).unwrap();
        run(Command::new("chmod")
            .arg("0400")
            .arg(secrets.join(variable)));
        let by_file = format!("{{ file = \"/etc/mailprobe/secrets/{variable}\" }}");
        text = text.replace(&format!("{{ env = \"{variable}\" }}"), &by_file);
    }
    run(Command::new("chown").args(["-R", USER]).arg(&secrets));
    owned_directory(&secrets, USER, 0o500);
    let authority = site.path().join("ca.pem");
    text = text.replace(authority.to_str().unwrap(), "/etc/mailprobe/ca.pem");
    std::fs::copy(authority, directory.join("ca.pem")).unwrap();
    std::fs::write(directory.join("mailprobe.toml"), text).unwrap();
    mounted
}

/// The memory in KiB that the CronJob asks the cluster for.
fn requested() -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/base/mailprobe.yaml");
    let manifests = std::fs::read_to_string(path).unwrap();
    let (_, requests) = manifests.split_once(" requests:\n").unwrap();
    let (_, memory) = requests.split_once("memory: \"").unwrap();
    let (mebibytes, _) = memory.split_once("Mi\"").unwrap();
    mebibytes.parse::<u64>().unwrap() * 1024
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
    let parts = bill["components"].as_array().unwrap();
    let licences = rootfs().join("usr/share/doc/mailprobe/licences.txt");
    let licences = std::fs::read_to_string(licences).unwrap();
    assert_eq!(licences.lines().count(), parts.len());
    for part in parts {
        let line = format!("\n{} {}: ", part["name"], part["version"]).replace('"', "");
        assert!(format!("\n{licences}").contains(&line), "{line}");
    }
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_recipe_runs_that_script_on_what_docker_is_shown_and_names_that_user() {
    let recipe = recipe();
    assert!(recipe.contains("deploy/container/build-rootfs /rootfs ${TARGET}\n"));
    assert!(recipe.contains("\nCOPY --from=build /rootfs/ /\n"));
    assert!(recipe.contains(&format!("\nUSER {USER}\n")));
    // Kubernetes refuses `runAsNonRoot` where the user is a name, or root.
    assert!(USER.split(':').all(|id| id.parse::<u32>().unwrap() > 0));
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
fn the_image_is_labelled_with_the_programs_own_words() {
    let recipe = recipe();
    assert!(recipe.contains(concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")));
    let labels: Vec<(&str, &str)> = recipe
        .lines()
        .filter_map(|line| line.split_once("org.opencontainers.image."))
        .filter_map(|(_, label)| label.split_once('='))
        .map(|(name, value)| (name, value.trim_end_matches(" \\").trim_matches('"')))
        .collect();
    assert_eq!(
        labels,
        [
            ("title", env!("CARGO_PKG_NAME")),
            ("description", "End-to-end mail delivery probe"),
            ("licenses", env!("CARGO_PKG_LICENSE")),
            ("version", "${VERSION}"),
            ("revision", "${REVISION}"),
        ]
    );
    assert!(env!("CARGO_PKG_DESCRIPTION").starts_with(labels[1].1));
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn a_run_in_the_image_is_delivered_and_pushed() {
    rootfs();
    let name = "container::a_run_in_the_image_is_delivered_and_pushed";
    on_loopback_alone(name, || {
        let site = Site::start();
        let directory = mounted(&site);
        let mounts = [(directory.as_path(), "/etc/mailprobe")];
        let config = ["--config", "/etc/mailprobe/mailprobe.toml"];

        let checked = see(&mounts, &["/mailprobe", "check", config[0], config[1]]);
        assert_eq!(checked.code, Some(0), "{checked:#?}");
        let peak = site.path().join("peak");
        let arguments = ["/mailprobe", "run", "--output", "json"];
        let arguments = [&arguments[..], &config].concat();
        let outcome = Outcome::of(measured(&mounts, &arguments, &peak).spawn().unwrap());
        outcome.assert("delivered", None, 0);
        assert_eq!(outcome.warnings(), Vec::<String>::new(), "{outcome:#?}");
        assert_eq!(
            site.gateway.of_probe("email_roundtrip_success", ""),
            Some("1".to_owned())
        );
        let kuma = site.kuma_text();
        assert!(kuma.contains("delivered in"), "{kuma}");
        let all = format!("{checked:#?}{outcome:#?}");
        for secret in SECRETS {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        let peak: u64 = std::fs::read_to_string(peak)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        println!("a run in the image: {peak} KiB at its peak");
        assert!(
            (1_000..=requested()).contains(&peak),
            "a run takes {peak} KiB, and the CronJob asks for {}",
            requested()
        );

        // Neither root nor its group: what only they may read is out of reach, and nothing can be written.
        let secret = directory.join("secrets/BREVO_API_KEY");
        run(Command::new("chown").arg("root:root").arg(&secret));
        let refused = see(&mounts, &["/mailprobe", "check", config[0], config[1]]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("Permission denied"), "{refused:#?}");
        let whole = in_the_image(rootfs(), &mounts, &[]);
        let mounting = whole
            .get_args()
            .take_while(|argument| *argument != "chroot");
        let mut touch = Command::new(whole.get_program());
        let touched = touch.args(mounting).args(["touch", "/mnt/new"]).output();
        let said = String::from_utf8(touched.unwrap().stderr).unwrap();
        assert!(said.contains("Read-only file system"), "{said}");
    });
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn the_image_tells_its_version_plays_the_demo_and_has_no_shell() {
    rootfs();
    on_loopback_alone(
        "container::the_image_tells_its_version_plays_the_demo_and_has_no_shell",
        || {
            let version = see(&[], &["/mailprobe", "--version"]);
            assert_eq!(
                version.stdout.trim_end(),
                concat!("mailprobe ", env!("CARGO_PKG_VERSION"))
            );
            let demo = see(&[], &["/mailprobe", "demo"]);
            assert_eq!(demo.code, Some(0), "{demo:#?}");
            assert!(demo.stdout.contains("\ndemo: delivered in "), "{demo:#?}");
            let shell = see(&[], &["/bin/sh", "-c", "true"]);
            assert_eq!(shell.code, Some(127), "{shell:#?}");
        },
    );
}
