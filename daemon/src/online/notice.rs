//! Notices on the desktop of the user: shown by `notify-send`, where that and a session bus are there.
//!
//! A program of its own, so that nothing that the bus does is done by the process that has the keys. Its
//! arguments can be seen by every user of the machine, so they name nobody and nothing.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Notices that are being shown at most; more would tell no more.
const AT_ONCE: usize = 3;

/// What there is to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Somebody asks for something.
    Request,
    /// Somebody was given something.
    Widening,
    /// Something was given to the user.
    Arrival,
}

impl Notice {
    fn text(self) -> &'static str {
        match self {
            Self::Request => "Somebody asks for something of yours. See .keyfold/inbox.",
            Self::Widening => "Somebody was given something of yours. See .keyfold/activity.",
            Self::Arrival => "Something was given to you. See .keyfold/activity.",
        }
    }
}

static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// Shows a notice, if there is a desktop. Returns at once.
pub(super) fn show(notice: Notice) {
    let bus = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("bus").exists());
    if !bus {
        return;
    }
    if SHOWN.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
        SHOWN.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let shown = thread::Builder::new()
        .name("keyfold-notice".to_owned())
        .spawn(move || {
            let done = Command::new("notify-send")
                .args(["--app-name=Keyfold", "Keyfold", notice.text()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if let Err(error) = done {
                tracing::debug!(%error, "a notice is not shown");
            }
            SHOWN.fetch_sub(1, Ordering::Relaxed);
        });
    if shown.is_err() {
        SHOWN.fetch_sub(1, Ordering::Relaxed);
    }
}
