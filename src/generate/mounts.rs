//! Secrets and files of a config in a cluster: the key under which each lies, and where it is mounted.

use super::kubernetes::NAME;
use super::yaml::{Node, map};
use crate::config::plan::{Plan, SecretSource};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Where the config is mounted.
const CONFIG: &str = "/etc/mailprobe/mailprobe.toml";
/// Directories that the cluster and the container's runtime have files of their own in.
const NOT_OURS: [&str; 4] = ["/", "/dev", "/etc", "/run"];
/// The ConfigMap of what the config names besides secrets.
const FILES: &str = "mailprobe-files";

/// Each place that the config names, with the key under which a cluster has it.
pub(super) struct Mounts<'p> {
    variables: Vec<(&'p str, String)>,
    secrets: Vec<(&'p Path, String)>,
    files: Vec<(&'p Path, String)>,
}

impl<'p> Mounts<'p> {
    /// Of this config. A key is the variable's or the file's name, and begins with folders of the path where several would
    /// have the same.
    pub(super) fn of(plan: &'p Plan) -> Self {
        let mut variables = Vec::new();
        let mut secrets = Vec::new();
        for source in &plan.secrets {
            match source {
                SecretSource::Variable(name) => variables.push(name.as_str()),
                SecretSource::File(path) => secrets.push(path.as_path()),
                SecretSource::Literal => {}
            }
        }
        let names = variables.iter().map(|name| vec![valid(name)]);
        let mut keys = keys(
            names
                .chain(secrets.iter().map(|path| parts(path)))
                .collect(),
        );
        let keys_of_secrets = keys.split_off(variables.len());
        let keys_of_files = self::keys(plan.files.iter().map(|path| parts(path)).collect());
        let files = plan.files.iter().map(PathBuf::as_path);
        Self {
            variables: variables.into_iter().zip(keys).collect(),
            secrets: secrets.into_iter().zip(keys_of_secrets).collect(),
            files: files.zip(keys_of_files).collect(),
        }
    }

    /// The paths that no file can be mounted at: relative ones, those in a directory that is not ours to hide, and those
    /// through names that Kubernetes keeps for itself.
    pub(super) fn unmountable(&self) -> Vec<&'p Path> {
        let is_reserved = |part: Component<'_>| {
            let name = part.as_os_str();
            name.as_encoded_bytes().starts_with(b"..")
        };
        let is_mountable = |path: &Path| {
            path.parent()
                .is_some_and(|parent| NOT_OURS.iter().all(|one| parent != Path::new(one)))
                && path.is_absolute()
                && !path.components().any(is_reserved)
        };
        let all = self.secrets.iter().chain(&self.files);
        all.map(|(path, _)| *path)
            .filter(|path| !is_mountable(path))
            .collect()
    }

    /// The directories that are mounted, all read-only: that of each file, but for those that lie below another of them.
    pub(super) fn directories(&self) -> Vec<&'p Path> {
        let paths = self
            .secrets
            .iter()
            .chain(&self.files)
            .map(|(path, _)| *path);
        let paths = paths.chain([Path::new(CONFIG)]);
        // In order: what lies below a directory comes right behind it.
        let parents: BTreeSet<&Path> = paths.filter_map(Path::parent).collect();
        let mut directories: Vec<&Path> = Vec::new();
        for parent in parents {
            let above = directories.last();
            if above.is_none_or(|above| !parent.starts_with(above)) {
                directories.push(parent);
            }
        }
        directories
    }

    /// For who makes the Secret, in lines of comments: which key is what.
    pub(super) fn comment(&self) -> String {
        let line = |key: &str, what: String| format!("#   {key}: {what}\n");
        let file = |(path, key): &(&Path, String)| {
            // Without line breaks, which would end the comment.
            line(key, path.to_string_lossy().escape_debug().to_string())
        };
        let mut text = String::new();
        if !self.variables.is_empty() || !self.secrets.is_empty() {
            text.push_str("# Yours to make: the Secret `mailprobe`, with these keys.\n");
        }
        for (name, key) in &self.variables {
            text.push_str(&line(key, format!("variable {}", name.escape_debug())));
        }
        text.extend(self.secrets.iter().map(file));
        if !self.files.is_empty() {
            text.push_str("# Yours to make: the ConfigMap `mailprobe-files`, with these keys.\n");
        }
        text.extend(self.files.iter().map(file));
        text
    }

    /// `env` of the container.
    pub(super) fn variables(&self) -> Vec<Node> {
        let variable = |(name, key): &(&str, String)| {
            let key = map([("name", NAME.into()), ("key", key.as_str().into())]);
            map([
                ("name", (*name).into()),
                ("valueFrom", map([("secretKeyRef", key)])),
            ])
        };
        self.variables.iter().map(variable).collect()
    }

    /// `volumeMounts` of the container, and `volumes` of its pod: the config, secrets that are files, and what else the
    /// config names. Whole directories, as a file that is mounted alone (`subPath`) stays what it was when its Secret
    /// changes; and one volume for each with all that lies below it, as nothing can be mounted within one.
    pub(super) fn volumes(&self) -> (Vec<Node>, Vec<Node>) {
        let config = [(Path::new(CONFIG), "mailprobe.toml".to_owned())];
        let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
        for (number, directory) in (1..).zip(self.directories()) {
            let name = format!("files-{number}");
            let sources: Vec<Node> = [
                ("configMap", NAME, config.as_slice()),
                ("secret", NAME, &self.secrets),
                ("configMap", FILES, &self.files),
            ]
            .into_iter()
            .filter_map(|(kind, object, files)| {
                let items = items(directory, files);
                let is_there = !items.is_empty();
                let source = map([("name", object.into()), ("items", items.into())]);
                is_there.then(|| map([(kind, source)]))
            })
            .collect();
            mounts.push(map([
                ("name", name.as_str().into()),
                ("mountPath", directory.to_string_lossy().as_ref().into()),
                ("readOnly", true.into()),
            ]));
            volumes.push(map([
                ("name", name.into()),
                ("projected", map([("sources", sources.into())])),
            ]));
        }
        (mounts, volumes)
    }
}

/// Those of the files that lie below this directory: the key of each, and its path from there.
fn items(directory: &Path, files: &[(&Path, String)]) -> Vec<Node> {
    let below = files
        .iter()
        .filter_map(|(path, key)| Some((path.strip_prefix(directory).ok()?, key)));
    below
        .map(|(path, key)| {
            map([
                ("key", key.as_str().into()),
                ("path", path.to_string_lossy().as_ref().into()),
            ])
        })
        .collect()
}

/// The names in a path, from the root on.
fn parts(path: &Path) -> Vec<String> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(valid(&name.to_string_lossy())),
        _ => None,
    });
    names.collect()
}

/// The name with what no key may have replaced: keys are made of letters, digits, `-`, `_` and `.`, and do not begin with `..`.
fn valid(name: &str) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name
        .chars()
        .map(|c| if is_valid(c) { c } else { '_' })
        .collect();
    match name.strip_prefix("..") {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// A key for each name, no two the same: its last part, with as many before it as tell it from the others.
fn keys(names: Vec<Vec<String>>) -> Vec<String> {
    let mut growing: Vec<(Vec<String>, usize)> = names.into_iter().map(|name| (name, 1)).collect();
    loop {
        let keys: Vec<String> = growing
            .iter()
            .map(|(parts, count)| {
                let skipped = parts.len().saturating_sub(*count);
                let last: Vec<&str> = parts.iter().skip(skipped).map(String::as_str).collect();
                last.join("-")
            })
            .collect();
        let mut is_done = true;
        for ((parts, count), key) in growing.iter_mut().zip(&keys) {
            let is_shared = keys.iter().filter(|other| *other == key).count() > 1;
            if is_shared && *count < parts.len() {
                *count += 1;
                is_done = false;
            }
        }
        if is_done {
            return numbered(&keys);
        }
    }
}

/// The keys, with a number behind those that are still the same: `/a b` and `/a_b` are.
fn numbered(keys: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for key in keys {
        let mut own = key.clone();
        let mut number = 1;
        while taken.contains(&own) || (number > 1 && keys.contains(&own)) {
            number += 1;
            own = format!("{key}-{number}");
        }
        taken.insert(own.clone());
        all.push(own);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(paths: &[&str]) -> Vec<String> {
        keys(paths.iter().map(|path| parts(Path::new(path))).collect())
    }

    #[test]
    fn a_key_is_the_files_name_and_has_folders_before_it_where_names_are_the_same() {
        assert_eq!(keys_of(&["/run/a/key", "/run/b/word"]), ["key", "word"]);
        assert_eq!(
            keys_of(&[
                "/run/secrets/submission/password",
                "/run/secrets/imap/password",
                "/run/secrets/imap2/password",
                "/run/secrets/token",
            ]),
            [
                "submission-password",
                "imap-password",
                "imap2-password",
                "token"
            ]
        );
        assert_eq!(
            keys_of(&["/a/x/key", "/b/x/key", "/key"]),
            ["a-x-key", "b-x-key", "key"]
        );
    }

    #[test]
    fn no_two_keys_are_the_same_whatever_the_names_are() {
        for paths in [
            &["/a-b/c", "/a/b-c", "/a/b/c", "/c"][..],
            &["/x y", "/x_y", "/x:y", "/x_y-2"],
            &["/i/password", "/j/password", "/k/i-password"],
        ] {
            let keys = keys_of(paths);
            let unlike: BTreeSet<&String> = keys.iter().collect();
            assert_eq!(unlike.len(), paths.len(), "{paths:?}: {keys:?}");
        }
    }

    #[test]
    fn a_key_is_made_of_what_kubernetes_takes() {
        assert_eq!(
            keys_of(&["/a/..data/pass word", "/b/..data/pass word", "/..x"]),
            ["a-_data-pass_word", "b-_data-pass_word", "_x"]
        );
    }
}
