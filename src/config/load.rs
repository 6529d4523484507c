//! From the file to the plan.

use super::document::{Document, Section};
use super::edges::{self, Probes};
use super::plan::{DnsPlan, ListenerPlan, MailboxPlan, Plan, ProbePlan, SenderPlan, SinkPlan};
use super::values::{address, probe_name};
use super::{ConfigError, Environment};
use super::{dns, listeners};
use crate::files::{LARGEST_CONFIG, read_text};
use crate::probe::schedule::Schedule;
use crate::probe::token::{Identity, Keyring, TokenKey};
use crate::probe::verdict::Verdict;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

const DEFAULT_SCHEDULE: &str = "*/20 * * * *";
const DEFAULT_LATE_AFTER: Duration = Duration::from_secs(5 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A run that waits longer is no measurement.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// No message is there sooner; what waits is told in seconds.
pub const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// As for any HMAC key of worth (RFC 2104 section 3).
const SHORTEST_TOKEN_KEY: usize = 16;

/// Reads the config for these probes; for all where none is named. Only the secrets that these need are read.
///
/// # Errors
/// A file that cannot be read, a probe that is not in it, and every fault of the file in one go.
pub fn load(
    path: &Path,
    selected: &[String],
    environment: Environment<'_>,
) -> Result<Plan, ConfigError> {
    let text = read(path)?;
    let document = Document::new(path, &text);
    parse(document, path, &text, selected, environment, false)
}

/// Reads the config of all probes for the scheduler, with the secrets of `[serve]`, which a single run does without.
///
/// # Errors
/// As [`load`].
pub fn load_to_serve(path: &Path, environment: Environment<'_>) -> Result<Plan, ConfigError> {
    let text = read(path)?;
    let document = Document::new(path, &text);
    parse(document, path, &text, &[], environment, true)
}

/// Reads the config of all probes where its secrets and the files that it names need not exist. What stands in the
/// place of a secret is of no use.
///
/// # Errors
/// As [`load`], without the faults of secrets.
pub fn load_without_secrets(path: &Path) -> Result<Plan, ConfigError> {
    let text = read(path)?;
    let document = Document::new(path, &text).without_references();
    parse(document, path, &text, &[], &|_| None, true)
}

fn parse<'t>(
    document: Document<'t>,
    path: &'t Path,
    text: &'t str,
    selected: &[String],
    environment: Environment<'_>,
    serves: bool,
) -> Result<Plan, ConfigError> {
    let root = DeTable::parse(text).map_err(|error| {
        let document = Document::new(path, text);
        // The message alone: what the parser displays quotes lines, and lines hold secrets.
        let offset = error.span().map_or(0, |span| span.start);
        document.fault(offset, error.message().replace('\n', " "));
        ConfigError::Faulty(document.into_findings().faults)
    })?;
    // What stands at its top needs no title: file and line are told anyway.
    let file = Section::new(&document, String::new(), 0, root.get_ref());
    let plan = Loader {
        document: &document,
        file: &file,
        environment,
        serves,
    }
    .plan(path, selected);
    drop(file);
    let found = document.into_findings();
    match plan {
        Ok(_) | Err(None) if !found.faults.is_empty() => Err(ConfigError::Faulty(found.faults)),
        Ok(plan) => Ok(Plan {
            warnings: found.warnings,
            secrets: found.secrets,
            files: found.files,
            ..plan
        }),
        Err(Some(error)) => Err(error),
        Err(None) => Err(ConfigError::Faulty(vec![format!(
            "{}: nothing can be made of it",
            path.display()
        )])),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    read_text(path, LARGEST_CONFIG).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// A probe whose sender and mailbox are names still.
struct RawProbe {
    name: String,
    to: String,
    schedule: Schedule,
    jitter: Duration,
    late_after: Duration,
    timeout: Duration,
    accept: Vec<Verdict>,
    sender: String,
    mailbox: String,
}

/// A `[[probe]]` of the file, as far as it could be read.
struct Listed {
    name: Option<String>,
    /// The names of sender and mailbox, where there are such.
    sender: Option<String>,
    mailbox: Option<String>,
    /// None where anything is wrong with it.
    probe: Option<RawProbe>,
}

/// The senders, or the mailboxes, whose secrets are read.
struct Wanted<'p> {
    names: BTreeSet<&'p str>,
    /// The name that a probe meant is lost in a fault: any part that no probe names may be meant.
    or_all_but: Option<BTreeSet<&'p str>>,
}

impl<'p> Wanted<'p> {
    /// Those that these probes name.
    fn new(
        probes: &'p [Listed],
        asked: &[&'p Listed],
        part: impl Fn(&'p Listed) -> &'p Option<String>,
    ) -> Self {
        let is_lost = asked.iter().any(|one| part(one).is_none());
        let named = || probes.iter().filter_map(|one| part(one).as_deref());
        Self {
            names: asked
                .iter()
                .filter_map(|one| part(one).as_deref())
                .collect(),
            or_all_but: is_lost.then(|| named().collect()),
        }
    }

    fn includes(&self, name: &str) -> bool {
        self.names.contains(name)
            || self
                .or_all_but
                .as_ref()
                .is_some_and(|named| !named.contains(name))
    }
}

/// Those read already: thousands of probes may have the same.
type Schedules = HashMap<(String, Tz), Schedule>;

/// Parts by name; none where a part has faults, or where its secrets were not asked for.
type Parts<T> = BTreeMap<String, Option<Arc<T>>>;

struct Loader<'d> {
    document: &'d Document<'d>,
    file: &'d Section<'d>,
    environment: Environment<'d>,
    /// The secrets of `[serve]` are wanted, too.
    serves: bool,
}

impl<'d> Loader<'d> {
    /// The plan, its warnings not yet in it; none of it where the file has faults.
    fn plan(&self, path: &Path, selected: &[String]) -> Result<Plan, Option<ConfigError>> {
        let token_key = self.token_key();
        let previous_keys = self.previous_keys();
        let senders = self.names("sender");
        let mailboxes = self.names("mailbox");
        let probes = self.probes(&senders, &mailboxes);
        let names: Vec<String> = probes.iter().filter_map(|one| one.name.clone()).collect();
        let all = selected.is_empty();
        let selected = select(path, &names, selected)?;
        let wanted: BTreeSet<&str> = selected.iter().map(String::as_str).collect();
        // A probe without a name can be no other's.
        let is_wanted = |name: &Option<String>| match name {
            Some(name) => wanted.contains(name.as_str()),
            None => all,
        };
        let is_selected = |probe: &&RawProbe| wanted.contains(probe.name.as_str());
        let complete = || probes.iter().filter_map(|one| one.probe.as_ref());
        let asked: Vec<&Listed> = probes.iter().filter(|one| is_wanted(&one.name)).collect();
        let wanted_senders = Wanted::new(&probes, &asked, |one| &one.sender);
        let wanted_mailboxes = Wanted::new(&probes, &asked, |one| &one.mailbox);
        let senders = self.parts("sender", |name, section, environment| {
            edges::sender(
                name,
                section,
                environment.filter(|_| wanted_senders.includes(name)),
            )
        });
        let mailboxes = self.parts("mailbox", |name, section, environment| {
            edges::mailbox(
                name,
                section,
                environment.filter(|_| wanted_mailboxes.includes(name)),
            )
        });
        let known = Probes {
            all: &names,
            selected: &selected,
        };
        let sinks = self.sinks(&known);
        let way = super::path::path(self.file);
        let listeners = self.listeners();
        let dns = self.dns();
        let serve = super::serve::serve(self.file, self.serves.then_some(self.environment));
        self.file.end();
        if self.file.entry("token_key").is_none() {
            self.demand_token_key(&wanted_senders);
        }
        let keyring = keyring(complete(), &senders, token_key.as_ref(), &previous_keys);
        let probes = complete()
            .filter(is_selected)
            .map(|probe| assemble(probe, &senders, &mailboxes))
            .collect::<Option<Vec<_>>>()
            .filter(|probes| !probes.is_empty())
            .ok_or(None)?;
        Ok(Plan {
            source: path.to_owned(),
            probes,
            all_probes: names,
            sinks,
            listeners,
            dns,
            serve,
            keyring: Arc::new(keyring),
            path: Arc::new(way),
            warnings: Vec::new(),
            secrets: Vec::new(),
            files: Vec::new(),
        })
    }

    fn token_key(&self) -> Option<TokenKey> {
        let key = self.file.secret("token_key", Some(self.environment))?;
        let bytes = key.value.expose().as_bytes();
        if bytes.len() < SHORTEST_TOKEN_KEY
            && let Some(entry) = self.file.entry("token_key")
        {
            entry.hidden_fault(&format!(
                "has {} bytes, expected {SHORTEST_TOKEN_KEY} or more; `openssl rand -hex 16` makes one",
                bytes.len()
            ));
        }
        Some(TokenKey::from_bytes(bytes))
    }

    /// Notes every wanted sender from which no key can be derived, whatever else is wrong with it.
    fn demand_token_key(&self, wanted: &Wanted<'_>) {
        let Some(DeValue::Table(senders)) =
            self.file.entry("sender").map(|one| one.value.get_ref())
        else {
            return;
        };
        for (name, sender) in senders {
            let kind = match sender.get_ref() {
                DeValue::Table(keys) => keys.get("type").and_then(|kind| kind.get_ref().as_str()),
                _ => None,
            };
            let name = name.get_ref();
            if wanted.includes(name) && kind.is_some_and(|kind| !edges::has_api_key(kind)) {
                self.file.fault(&format!(
                    "`token_key` is missing: sender `{name}` has no API key to derive one from; write token_key = {{ env = \"MAILPROBE_TOKEN_KEY\" }}, and make the key by `openssl rand -hex 16`"
                ));
            }
        }
    }

    fn previous_keys(&self) -> Vec<TokenKey> {
        let Some(entry) = self.file.entry("previous_token_keys") else {
            return Vec::new();
        };
        let DeValue::Array(keys) = entry.value.get_ref() else {
            entry.hidden_fault("is no list of secrets");
            return Vec::new();
        };
        keys.iter()
            .filter_map(|value| {
                let secret = entry.at(value).secret(Some(self.environment))?;
                // Keys of runs before `token_key` was set were derived from the sender's API key.
                let value = secret.value.expose();
                Some([
                    TokenKey::from_bytes(value.as_bytes()),
                    TokenKey::derived_from(value),
                ])
            })
            .flatten()
            .collect()
    }

    /// The NAMEs of `[kind.NAME]`.
    fn names(&self, kind: &'static str) -> Vec<String> {
        match self.file.entry(kind).map(|entry| entry.value.get_ref()) {
            Some(DeValue::Table(table)) => table
                .keys()
                .map(|name| name.get_ref().to_string())
                .collect(),
            _ => Vec::new(),
        }
    }

    fn parts<T>(
        &self,
        kind: &'static str,
        read: impl Fn(&str, &Section<'_>, Option<Environment<'_>>) -> Option<T>,
    ) -> Parts<T> {
        let Some(entry) = self.file.entry(kind) else {
            return Parts::new();
        };
        let DeValue::Table(table) = entry.value.get_ref() else {
            entry.hidden_fault(&format!("is no table; write [{kind}.NAME]"));
            return Parts::new();
        };
        table
            .iter()
            .filter_map(|(name, value)| {
                let name = name.get_ref().to_string();
                let section = self.document.section(format!("{kind} `{name}`"), value)?;
                let part = read(&name, &section, Some(self.environment));
                Some((name, part.map(Arc::new)))
            })
            .collect()
    }

    /// Each element of a `[[kind]]`.
    fn list(&self, kind: &'static str) -> Vec<Section<'d>> {
        let Some(entry) = self.file.entry(kind) else {
            return Vec::new();
        };
        let DeValue::Array(array) = entry.value.get_ref() else {
            entry.hidden_fault(&format!("is no list; write [[{kind}]]"));
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|value| self.document.section(format!("a [[{kind}]]"), value))
            .collect()
    }

    /// Every probe, those that have faults too.
    fn probes(&self, senders: &[String], mailboxes: &[String]) -> Vec<Listed> {
        let mut probes: Vec<Listed> = Vec::new();
        let mut names = BTreeSet::new();
        let mut schedules = Schedules::new();
        for section in self.list("probe") {
            let name = section.required("name", probe_name);
            let section = match &name {
                Some(name) => section.titled(format!("probe `{name}`")),
                None => section,
            };
            if let (Some(name), Some(entry)) = (&name, section.entry("name"))
                && !names.insert(name.clone())
            {
                entry.fault("names a second probe of this name");
            }
            probes.push(probe(&section, name, senders, mailboxes, &mut schedules));
            section.end();
        }
        let is_empty =
            |value: &DeValue<'_>| matches!(value, DeValue::Array(list) if list.is_empty());
        let entry = self.file.entry("probe");
        if entry.is_none_or(|entry| is_empty(entry.value.get_ref())) {
            self.file
                .fault("there is no [[probe]], so there is nothing to do");
        }
        probes
    }

    fn sinks(&self, probes: &Probes<'_>) -> Vec<Arc<SinkPlan>> {
        self.list("sink")
            .into_iter()
            .filter_map(|section| edges::sink(section, probes, self.environment))
            .map(Arc::new)
            .collect()
    }

    fn listeners(&self) -> Vec<Arc<ListenerPlan>> {
        let mut names = Vec::new();
        self.list("listener")
            .into_iter()
            .filter_map(|section| {
                let listener = listeners::listener(section, &names)?;
                names.push(listener.name.clone());
                Some(Arc::new(listener))
            })
            .collect()
    }

    fn dns(&self) -> Option<DnsPlan> {
        let entry = self.file.entry("dns")?;
        let section = self.document.section("dns".to_owned(), entry.value)?;
        dns::dns(&section)
    }
}

/// The probes that were asked for, in the order of the file.
fn select(
    path: &Path,
    names: &[String],
    selected: &[String],
) -> Result<Vec<String>, Option<ConfigError>> {
    if let Some(unknown) = selected.iter().find(|name| !names.contains(name)) {
        // A file without probes has a fault of its own.
        return Err((!names.is_empty()).then(|| ConfigError::UnknownProbe {
            path: path.to_owned(),
            name: unknown.clone(),
            known: names.to_vec(),
        }));
    }
    let is_selected = |name: &&String| selected.is_empty() || selected.contains(name);
    Ok(names.iter().filter(is_selected).cloned().collect())
}

fn probe(
    section: &Section<'_>,
    name: Option<String>,
    senders: &[String],
    mailboxes: &[String],
    schedules: &mut Schedules,
) -> Listed {
    let one_of = |names: &[String], kind: &str, name: &str| {
        if names.iter().any(|one| one == name) {
            Ok(name.to_owned())
        } else if names.is_empty() {
            Err(format!("names no {kind}; write a [{kind}.{name}]"))
        } else {
            Err(format!("names no {kind}; there are: {}", names.join(", ")))
        }
    };
    let sender = section.required("sender", |name| one_of(senders, "sender", name));
    let mailbox = section.required("mailbox", |name| one_of(mailboxes, "mailbox", name));
    let to = section.required("to", address);
    let zone = match section.entry("timezone") {
        Some(_) => section.checked("timezone", |name| {
            name.parse::<Tz>()
                .map_err(|_| "is no IANA time zone, such as \"Europe/Berlin\"".to_owned())
        }),
        None => Some(Tz::UTC),
    };
    let mut read = |text: &str| {
        let zone = zone.unwrap_or(Tz::UTC);
        if let Some(known) = schedules.get(&(text.to_owned(), zone)) {
            return Ok(known.clone());
        }
        let schedule = Schedule::parse(text, zone)?;
        schedules.insert((text.to_owned(), zone), schedule.clone());
        Ok(schedule)
    };
    let schedule = match section.entry("schedule") {
        Some(_) => section.checked("schedule", &mut read),
        None => read(DEFAULT_SCHEDULE).ok(),
    };
    let jitter = section.duration("jitter", Duration::ZERO);
    let late_after = section.duration("late_after", DEFAULT_LATE_AFTER);
    let timeout = section.duration("timeout", DEFAULT_TIMEOUT);
    let accept = accept(section);
    check_limits(section, late_after, timeout);
    let whole = || {
        zone?;
        Some(RawProbe {
            name: name.clone()?,
            to: to?,
            schedule: schedule?,
            jitter: jitter?,
            late_after: late_after?,
            timeout: timeout?,
            accept: accept?,
            sender: sender.clone()?,
            mailbox: mailbox.clone()?,
        })
    };
    Listed {
        probe: whole(),
        name,
        sender,
        mailbox,
    }
}

fn accept(section: &Section<'_>) -> Option<Vec<Verdict>> {
    let Some(entry) = section.entry("accept") else {
        return Some(Vec::new());
    };
    let words = section.strings("accept")?;
    let verdicts: Option<Vec<Verdict>> = words
        .iter()
        .map(|word| match word.as_str() {
            "late" => Some(Verdict::Late),
            "junked" => Some(Verdict::Junked),
            _ => None,
        })
        .collect();
    if verdicts.is_none() {
        entry.fault("can have \"late\" and \"junked\" only");
    }
    verdicts
}

fn check_limits(section: &Section<'_>, late_after: Option<Duration>, timeout: Option<Duration>) {
    if let (Some(timeout), Some(entry)) = (timeout, section.entry("timeout"))
        && !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout)
    {
        return entry.fault("is out of range, expected 1s to 24h");
    }
    if let (Some(late_after), Some(timeout)) = (late_after, timeout) {
        if let Some(entry) = section.entry("late_after")
            && late_after.is_zero()
        {
            entry.fault("must be more than 0");
        } else if late_after >= timeout {
            // One of the two is written: the defaults go together.
            let (key, bound, other, value) = match section.entry("late_after") {
                Some(_) => ("late_after", "less", "timeout", timeout),
                None => ("timeout", "more", "late_after", late_after),
            };
            let default = match section.entry(other) {
                Some(_) => "",
                None => ", which is the default",
            };
            if let Some(entry) = section.entry(key) {
                entry.fault(&format!(
                    "must be {bound} than `{other}` ({}{default})",
                    humantime::format_duration(value)
                ));
            }
        }
    }
}

/// Every probe of the file whose key is known: what one of them left in a mailbox, another may find.
fn keyring<'p>(
    probes: impl Iterator<Item = &'p RawProbe>,
    senders: &Parts<SenderPlan>,
    token_key: Option<&TokenKey>,
    previous_keys: &[TokenKey],
) -> Keyring {
    let identities = probes.filter_map(|probe| {
        let key = match (token_key, senders.get(&probe.sender)) {
            (Some(key), _) => key.clone(),
            (None, Some(Some(sender))) => derived(sender)?,
            (None, _) => return None,
        };
        Some(Identity {
            probe: probe.name.clone(),
            to: probe.to.clone(),
            key,
            previous_keys: previous_keys.to_vec(),
        })
    });
    Keyring::new(identities.collect())
}

/// The key that comes from the sender's API key; none where it has none.
fn derived(sender: &SenderPlan) -> Option<TokenKey> {
    match sender {
        SenderPlan::Brevo(brevo) => Some(TokenKey::derived_from(brevo.api_key.value.expose())),
        SenderPlan::Smtp(_) => None,
        SenderPlan::Api(api) => {
            let key = api.provider.key();
            Some(TokenKey::derived_from(key.value.expose()))
        }
    }
}

fn assemble(
    probe: &RawProbe,
    senders: &Parts<SenderPlan>,
    mailboxes: &Parts<MailboxPlan>,
) -> Option<Arc<ProbePlan>> {
    Some(Arc::new(ProbePlan {
        name: probe.name.clone(),
        to: probe.to.clone(),
        schedule: probe.schedule.clone(),
        jitter: probe.jitter,
        late_after: probe.late_after,
        timeout: probe.timeout,
        accept: probe.accept.clone(),
        sender: Arc::clone(senders.get(&probe.sender)?.as_ref()?),
        mailbox: Arc::clone(mailboxes.get(&probe.mailbox)?.as_ref()?),
    }))
}
