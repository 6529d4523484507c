//! `mailprobe serve`: every probe on its schedule until stopped.

use super::run::Signals;
use super::{Common, USAGE, output};
use crate::config::plan::Plan;
use crate::config::{self, ConfigError};
use crate::files;
use crate::history::{self, History};
use crate::http::{self, App};
use crate::metrics::Counters;
use crate::probe::budget::{Budget, Fit};
use crate::scheduler::logbook::Logbook;
use crate::scheduler::stage::Stage;
use crate::scheduler::{Cast, Command, Scheduler};
use chrono::Utc;
use clap::Args;
use sd_notify::NotifyState;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// From a signal to the end of the process; service managers and Kubernetes wait for 30 s and more.
const END_LIMIT: Duration = Duration::from_secs(24);
/// Requests that wait for the scheduler.
const WAITING: usize = 64;
/// How long a start waits for the disk of the history.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// An edge that a new config has no use for serves the runs that have it, and this much longer.
const AFTERGLOW: Duration = Duration::from_secs(60);

/// The scheduler: run every probe on its schedule until stopped
///
/// Serves metrics, a status page and an API on `[serve] listen`. SIGHUP reads the config again; SIGTERM ends it in
/// good order.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 after SIGTERM or SIGINT · 2 wrong usage or config, or the address is taken

Examples:
  mailprobe serve --config /etc/mailprobe/mailprobe.toml
  curl http://127.0.0.1:9797/metrics
  curl -X POST http://127.0.0.1:9797/api/probes/external/run
  curl -X POST http://127.0.0.1:9797/-/reload"
)]
pub(super) struct Arguments {}

/// Carries the command out; the exit code.
pub(super) async fn run(common: &Common) -> u8 {
    match set_up(common).await {
        Ok(service) => service.run().await,
        Err(error) => {
            output::error(error.trim_end());
            USAGE
        }
    }
}

/// Everything that is needed to serve.
struct Service {
    signals: Signals,
    hang_up: Signal,
    stage: Arc<Mutex<Stage>>,
    scheduler: Scheduler,
    logbook: Arc<Logbook>,
    listener: TcpListener,
    app: Arc<App>,
    commands: mpsc::Receiver<Command>,
}

async fn set_up(common: &Common) -> Result<Service, String> {
    let path =
        config::find(common.config.as_deref(), &variable).map_err(|error| error.to_string())?;
    let plan = read(&path).map_err(|error| error.to_string())?;
    let fault = |error: &dyn std::fmt::Display| format!("error: {error}");
    // Before anything is said to be ready: signals that come now must not end the process.
    let signals = Signals::new().map_err(|error| fault(&error))?;
    let hang_up = signal(SignalKind::hangup()).map_err(|error| fault(&error))?;
    let counters = Arc::new(Counters::new().map_err(|error| fault(&error))?);
    let serve = plan.serve.clone();
    let listener = TcpListener::bind(serve.listen).await.map_err(|error| {
        format!(
            "error: cannot listen on `{}`: {error}\nhint: is another mailprobe running? the address is `listen` in [serve]",
            serve.listen
        )
    })?;
    tell_budget(&plan);
    let logbook = Arc::new(open_logbook(serve.state_dir.as_deref()));
    let stage = Stage::new(plan, &counters).map_err(|error| fault(&error))?;
    let cast = stage.cast();
    let stage = Arc::new(Mutex::new(stage));
    let (sender, commands) = mpsc::channel(WAITING);
    let app = Arc::new(App {
        logbook: Arc::clone(&logbook),
        counters: Arc::clone(&counters),
        commands: sender,
        is_loopback: serve.listen.ip().is_loopback(),
        port: listener.local_addr().map_err(|error| fault(&error))?.port(),
        token: RwLock::new(serve.token.map(|token| token.value)),
    });
    let reload = {
        let (stage, app, counters) = (Arc::clone(&stage), Arc::clone(&app), Arc::clone(&counters));
        let renewed = move || {
            let (stage, app) = (Arc::clone(&stage), Arc::clone(&app));
            reload(path.clone(), stage, app, Arc::clone(&counters))
        };
        Box::new(move || Box::pin(renewed()) as _)
    };
    let scheduler = Scheduler::new(
        cast,
        reload,
        Box::new(Utc::now),
        Arc::clone(&logbook),
        counters,
    );
    Ok(Service {
        signals,
        hang_up,
        stage,
        scheduler,
        logbook,
        listener,
        app,
        commands,
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read(path: &Path) -> Result<Plan, ConfigError> {
    let plan = config::load_to_serve(path, &variable)?;
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    Ok(plan)
}

/// The history, where there is to be one; without it the process does its work all the same.
fn open_logbook(state_dir: Option<&Path>) -> Logbook {
    let Some(directory) = state_dir else {
        tracing::info!(
            "the history is in memory only and ends with the process: set `state_dir` in [serve] to keep it"
        );
        return Logbook::new(None, Vec::new());
    };
    let (history, opening) = match History::begin(directory) {
        Ok(begun) => begun,
        Err(error) => {
            tracing::error!("cannot begin a thread for the history: {error}; it is in memory only");
            return Logbook::new(None, Vec::new());
        }
    };
    let error = match opening.recv_timeout(OPEN_LIMIT) {
        Ok(Ok(found)) => {
            if let Some(warning) = found.warning {
                tracing::warn!("{warning}");
            }
            return Logbook::new(Some(history), found.kept);
        }
        Ok(Err(error)) => error,
        Err(_) => format!(
            "the history in `{}` has not opened within {} s",
            directory.display(),
            OPEN_LIMIT.as_secs()
        ),
    };
    tracing::error!(
        "{error}; the history is in memory only until it opens, which is tried every minute; no probe is affected"
    );
    Logbook::awaiting(history, opening)
}

/// Holds the schedules against what each sender may send a day, beside the start: it takes a while to count.
fn tell_budget(plan: &Plan) {
    let probes = plan.probes.clone();
    tokio::task::spawn_blocking(move || {
        let limited = probes.iter().filter_map(|probe| {
            let sender = &probe.sender;
            Some((sender.name(), sender.daily_limit()?, &probe.schedule))
        });
        for (sender, budget) in Budget::of_each(limited, Utc::now()) {
            match budget.fit() {
                Fit::Fits => tracing::info!("sender `{sender}`: {budget}"),
                Fit::Tight | Fit::Exceeds => tracing::warn!("sender `{sender}`: {budget}"),
            }
        }
    });
}

/// Reads the config again, for SIGHUP and `POST /-/reload`.
async fn reload(
    path: PathBuf,
    stage: Arc<Mutex<Stage>>,
    app: Arc<App>,
    counters: Arc<Counters>,
) -> Result<Cast, String> {
    let moment = NotifyState::monotonic_usec_now().ok();
    notify(&[Some(NotifyState::Reloading), moment]);
    let outcome = renew(path, &stage, &app, &counters).await;
    notify(&[Some(NotifyState::Ready), None]);
    outcome
}

async fn renew(
    path: PathBuf,
    in_use: &Arc<Mutex<Stage>>,
    app: &App,
    counters: &Arc<Counters>,
) -> Result<Cast, String> {
    let old = in_use
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let config = path.clone();
    let reading = files::aside(&path, move || {
        let plan = read(&config).map_err(|error| error.to_string())?;
        let edges = old
            .edges_of(&plan)
            .map_err(|error| format!("error: {error}"))?;
        Ok::<_, String>((plan, edges))
    });
    let (plan, edges) = reading.await.map_err(|error| format!("error: {error}"))??;
    let mut stage = in_use.lock().unwrap_or_else(PoisonError::into_inner);
    let new = stage.renewed(plan, edges, counters);
    let (old, now) = (&stage.plan().serve, &new.plan().serve);
    if (old.listen, &old.state_dir) != (now.listen, &now.state_dir) {
        tracing::warn!("`listen` and `state_dir` of [serve] change with the next start only");
    }
    app.set_token(now.token.clone().map(|token| token.value));
    tell_budget(new.plan());
    let longest = stage.plan().probes.iter().map(|probe| probe.timeout).max();
    let retired = new.retired().to_vec();
    let (in_use, counters) = (Arc::clone(in_use), Arc::clone(counters));
    tokio::spawn(async move {
        sleep(longest.unwrap_or_default() + AFTERGLOW).await;
        for queue in retired {
            queue.close(Instant::now() + AFTERGLOW).await;
        }
        let mut stage = in_use.lock().unwrap_or_else(PoisonError::into_inner);
        stage.forget_closed(&counters);
    });
    let cast = new.cast();
    *stage = new;
    Ok(cast)
}

/// Tells systemd, where it started us.
fn notify(states: &[Option<NotifyState<'_>>]) {
    let states: Vec<NotifyState<'_>> = states.iter().flatten().cloned().collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}

impl Service {
    async fn run(self) -> u8 {
        let Self {
            mut signals,
            mut hang_up,
            stage,
            scheduler,
            logbook,
            listener,
            app,
            commands,
        } = self;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                probes = logbook.count(),
                "serving http://{address}"
            );
        }
        let asks = app.commands.clone();
        let serving = tokio::spawn(http::serve(listener, app));
        let looking = tokio::spawn(look_around(Arc::clone(&stage), Arc::clone(&logbook)));
        let (stop, stopped) = watch::channel(false);
        let scheduling = scheduler.run(commands, stopped, heartbeat());
        tokio::pin!(scheduling);
        notify(&[Some(NotifyState::Ready), None]);
        let code = loop {
            tokio::select! {
                code = signals.next() => break code,
                _ = hang_up.recv() => {
                    let (reply, _) = oneshot::channel();
                    let _ = asks.try_send(Command::Reload { reply });
                }
                // It ends by a signal only.
                () = &mut scheduling => return 0,
            }
        };
        tracing::info!("stopping after signal {}", code - 128);
        notify(&[Some(NotifyState::Stopping), None]);
        let end = Instant::now() + END_LIMIT.saturating_sub(history::CLOSE_LIMIT);
        stop.send_replace(true);
        looking.abort();
        let ending = async {
            scheduling.await;
            let stage = {
                let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
                stage.clone()
            };
            stage.close(end).await;
            logbook.close().await;
        };
        tokio::select! {
            () = ending => {}
            // Asked twice: at once, whatever is left undone.
            code = signals.next() => return code,
        }
        serving.abort();
        0
    }
}

/// Checks listeners and DNS once in every `listener_interval`, by the config that is in use then.
async fn look_around(stage: Arc<Mutex<Stage>>, logbook: Arc<Logbook>) {
    loop {
        let begun = Instant::now();
        let now = stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        logbook.set_surroundings(now.look_around().await);
        let interval = now.plan().serve.listener_interval;
        // It holds connections that a reload may let go of in the meantime.
        drop(now);
        sleep_until(begun + interval).await;
    }
}

/// Tells systemd's watchdog that the scheduler is alive, twice as often as it wants to hear it.
fn heartbeat() -> impl FnMut() {
    let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut last: Option<Instant> = None;
    move || {
        if let Some(every) = every
            && last.is_none_or(|last| last.elapsed() >= every)
        {
            last = Some(Instant::now());
            notify(&[Some(NotifyState::Watchdog), None]);
        }
    }
}
