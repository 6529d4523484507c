//! What the program uses of `[serve]`.

use super::SecretPlan;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The scheduler's own settings.
#[derive(Debug, Clone)]
pub struct ServePlan {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where the history is kept; none keeps it in memory.
    pub state_dir: Option<PathBuf>,
    /// What a client that wants something done has to show, unless `listen` is loopback. Read by `serve` only.
    pub token: Option<SecretPlan>,
    /// Listeners are checked this often.
    pub listener_interval: Duration,
    /// Runs that are asked for over HTTP lie this far apart.
    pub min_interval: Duration,
}
