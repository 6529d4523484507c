//! Nothing lies below `deploy/` that no test looks at.

use std::path::{Path, PathBuf};

/// The tests that load, render, validate or run what begins with this, by the file that they are in.
const LOOKED_AT: &[(&str, &str, &[&str])] = &[
    (
        "container/Containerfile",
        "servers/container.rs",
        &["the_recipe_runs_that_script_on_what_docker_is_shown_and_names_that_user"],
    ),
    (
        "container/build-rootfs",
        "servers/container.rs",
        &["a_run_in_the_image_is_delivered_and_pushed"],
    ),
    (
        "debian/",
        "servers/debian.rs",
        &[
            "the_package_brings_program_manual_completions_and_licences_and_enables_nothing",
            "the_service_runs_as_a_user_who_alone_reads_the_config_and_outlives_an_upgrade",
        ],
    ),
    (
        "grafana/mailprobe.json",
        "servers/dashboard.rs",
        &["the_preview_is_what_is_drawn_from_the_dashboard_and_the_samples_of_a_real_run"],
    ),
    (
        "grafana/preview",
        "servers/dashboard.rs",
        &["the_preview_is_what_is_drawn_from_the_dashboard_and_the_samples_of_a_real_run"],
    ),
    (
        "kubernetes/",
        "servers/deploy.rs",
        &[
            "kustomize_renders_base_and_overlays_and_every_object_follows_its_schema",
            "the_components_go_together_on_the_cron_job_and_on_the_scheduler",
        ],
    ),
    (
        "mailprobe.schema.json",
        "servers/deploy.rs",
        &["the_schema_takes_every_good_config"],
    ),
    (
        "mailprobe.toml",
        "cli/generate.rs",
        &["the_example_config_is_good_as_it_is_and_with_every_setting_in_it"],
    ),
    (
        "prometheus/",
        "servers/deploy.rs",
        &["promtool_and_amtool_find_nothing_wrong_with_the_rules"],
    ),
    (
        "release/deny.toml",
        "servers/release.rs",
        &["the_policy_of_the_release_is_that_of_every_test_run"],
    ),
    (
        "release/sbom",
        "servers/deploy.rs",
        &["the_bill_of_materials_names_what_is_linked_with_licence_and_checksum"],
    ),
    (
        "systemd/",
        "servers/debian.rs",
        &["systemd_takes_the_installed_units_and_rates_them_as_safe"],
    ),
    (
        "terraform/main.tf",
        "servers/deploy.rs",
        &["terraform_makes_the_same_objects_in_the_namespace_that_it_is_told"],
    ),
];

/// A step of `.ci/run` of its own, as it builds everything twice.
const RUN_BY_CI: &str = "release/reproducible";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory, by its path from there.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let path = path.strip_prefix(directory).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_file_for_deployment_is_looked_at_by_a_test() {
    for (_, file, names) in LOOKED_AT {
        let text = std::fs::read_to_string(root().join("tests").join(file)).unwrap();
        for name in *names {
            assert!(text.contains(&format!("\nfn {name}()")), "{file}: {name}");
        }
    }
    let files = files(&root().join("deploy"));
    assert!(files.len() >= 25, "{files:?}");
    let forgotten: Vec<&String> = files
        .iter()
        .filter(|file| {
            !LOOKED_AT
                .iter()
                .any(|(prefix, ..)| file.starts_with(prefix))
        })
        .filter(|file| *file != RUN_BY_CI)
        .collect();
    assert_eq!(forgotten, Vec::<&String>::new());
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains(&format!("\ndeploy/{RUN_BY_CI}\n")));
}

#[test]
fn every_overlay_and_component_is_rendered_by_a_test() {
    let test = std::fs::read_to_string(root().join("tests/servers/deploy.rs")).unwrap();
    let overlays = files(&root().join("deploy/kubernetes"));
    let overlays = overlays
        .iter()
        .filter_map(|file| file.strip_suffix("/kustomization.yaml"));
    let mut count = 0;
    for overlay in overlays {
        let (group, form) = overlay.rsplit_once('/').unwrap_or(("", overlay));
        let is_named = test.contains(&format!("\"{overlay}\""))
            || test.contains(&format!("\"{group}/{{form}}\""))
                && test.contains(&format!("\"{form}\""));
        assert!(is_named, "{overlay}");
        count += 1;
    }
    assert_eq!(count, 9);
}
