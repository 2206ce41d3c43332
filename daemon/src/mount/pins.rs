//! Where it is kept what was last seen of each vault.

use std::path::PathBuf;

use etcetera::{BaseStrategy, base_strategy::Xdg};

/// `$XDG_STATE_HOME/keyfold/pins`, or `/var/lib/keyfold/pins` for a process without a home.
pub(crate) fn directory() -> PathBuf {
    let state = Xdg::new().ok().and_then(|dirs| dirs.state_dir());
    state
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("keyfold/pins")
}
