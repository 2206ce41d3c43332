//! `backup-hold`: runs a program on a vault that is held still.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use keyfold_fs::vault::{Access, LockedVault};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::asking;
use crate::cli::error::CliError;
use crate::control::{Command as Control, Held};
use crate::mount::unmount::{self, UnmountError};

/// Where the program finds the vault.
const VARIABLE: &str = "KEYFOLD_VAULT";

/// Runs `command` while the vault at `vault` does not change where the program looks.
pub(crate) fn hold(vault: &Path, command: &[OsString]) -> Result<(), CliError> {
    let record = match unmount::find(vault) {
        Ok(record) => record,
        Err(UnmountError::NotMounted(_)) => {
            // Nobody writes in it while it is locked for reading.
            let locked = LockedVault::open(vault, Access::ReadOnly)?;
            return run(command, locked.dir().path());
        }
        Err(e) => return Err(e.into()),
    };
    let held: Held = asking::answer(&record, &Control::Hold.line())?;
    let ended = match keep(&held.vault) {
        Ok(_lock) => run(command, &held.vault),
        Err(source) => Err(CliError::File {
            verb: "lock",
            path: held.vault.clone(),
            source,
        }),
    };
    if let Err(e) = asking::reply(&record, &Control::Release.line()) {
        // The daemon ends it by itself when it sees that nobody has the lock.
        eprintln!("keyfold: {e}");
    }
    ended
}

/// Takes the lock that tells the daemon that the hold is in use. The program inherits it, so that
/// it keeps the hold even when this process is killed.
fn keep(held: &Path) -> io::Result<File> {
    let lock = File::open(held.join("lock"))?;
    lock.lock_shared()?;
    rustix::io::fcntl_setfd(&lock, FdFlags::empty())?;
    Ok(lock)
}

fn run(command: &[OsString], vault: &Path) -> Result<(), CliError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let failed = |source| CliError::File {
        verb: "run",
        path: PathBuf::from(program),
        source,
    };
    // Before the program starts: no signal is to end this process while it runs.
    let signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]).map_err(failed)?;
    let child = Command::new(program)
        .args(arguments)
        .env(VARIABLE, vault)
        .spawn()
        .map_err(failed)?;
    match code(attend(child, signals).map_err(failed)?) {
        0 => Ok(()),
        code => Err(CliError::Ended { code }),
    }
}

/// Waits for the program, and passes on what asks this process to end.
fn attend(mut child: Child, mut signals: Signals) -> io::Result<ExitStatus> {
    let handle = signals.handle();
    let process = Pid::from_child(&child);
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
    let messenger = std::thread::spawn(move || {
        for signal in &mut signals {
            // A terminal sends these to the program itself.
            let signal = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            // It may have ended by itself.
            let _ = rustix::process::pidfd_send_signal(&process, signal);
        }
    });
    let ended = child.wait();
    handle.close();
    let _ = messenger.join();
    ended
}

/// The status as a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
