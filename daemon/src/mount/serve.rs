//! The life of a mount in the process that serves it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keyfold_fs::vault::{Access, LockedVault};
use keyfold_fs::volume::BarredSymlinks;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::secret::SecretText;
use crate::control::{About, VolumeControl};
use crate::control_dir::Owner;
use crate::engine::{Engine, EngineOptions};
use crate::fuse::{self, Activity, FuseOptions, Mounted, Unmount, UnmountError, Unmounter};
use crate::mount::front::FrontError;
use crate::mount::harden;
use crate::mount::log;
use crate::mount::options::{
    Audience, CpuIdle, ForeignSymlinks, KernelFlag, MountAccess, MountOptions, RingUse,
};
use crate::mount::pins;
use crate::mount::point::MountPoint;
use crate::mount::swap::Swap;
use crate::online::Online;
use crate::orders::Seal;

/// How long programs that keep the mount busy have to finish after we were told to end.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time between two looks at whether the mount is idle.
const IDLE_LOOK: Duration = Duration::from_secs(10);

/// What is to be mounted where, and how.
pub(crate) struct Job {
    /// The vault's directory, absolute.
    pub(crate) vault: PathBuf,
    /// The mount point, absolute.
    pub(crate) point: PathBuf,
    /// How.
    pub(crate) options: MountOptions,
    /// What unlocks the vault.
    pub(crate) secret: SecretText,
    /// Where messages go.
    pub(crate) log: LogTo,
}

/// Where a serving process sends its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTo {
    /// Standard error.
    Stderr,
    /// A file in the user's state directory.
    File,
}

/// What happens to a mount.
enum Event {
    /// It is gone; carries how serving it ended.
    Ended(io::Result<()>),
    /// We were told to end it.
    Signal,
}

/// What is served.
struct Served {
    engine: Arc<Engine>,
    online: Arc<Online>,
}

impl Served {
    /// Ends syncing, and makes the last changes durable.
    fn close(&self) -> Result<(), CliError> {
        self.online.stop();
        close(&self.engine)
    }
}

/// When a mount ends by itself.
struct Idle {
    /// After this time without use.
    time: Duration,
    activity: Activity,
}

impl Idle {
    fn is_due(&self) -> bool {
        self.activity
            .last()
            .is_some_and(|last| last.elapsed() >= self.time)
    }
}

/// Serves a mount until it is ended. Calls `ready` once programs can use it; when that fails,
/// the mount is ended again.
pub(crate) fn serve(job: Job, ready: impl FnOnce() -> io::Result<()>) -> Result<(), CliError> {
    let setup = |what| {
        move |e: nix::Error| FrontError::Setup {
            what,
            source: e.into(),
        }
    };
    harden::forbid_core_dumps().map_err(setup("forbidding core dumps"))?;
    harden::settle().map_err(setup("preparing the process"))?;
    let idle = job.options.idle;
    let (events, happenings) = mpsc::channel();
    let (served, mounted) = start(job, &events).inspect_err(|e| {
        if matches!(e.exit(), Exit::Damaged | Exit::OlderThanSeen) {
            tracing::error!(error = %e, "security event: the vault is not mounted");
        }
    })?;
    let unmounter = mounted.unmounter();
    let activity = mounted.activity();
    thread::spawn(move || events.send(Event::Ended(mounted.wait())));
    if let Err(source) = ready() {
        // Whoever waited for us is gone; the mount has no user yet.
        let _ = end(&served.engine, &unmounter, &happenings);
        served.close()?;
        return Err(FrontError::Setup {
            what: "reporting that it is mounted",
            source,
        }
        .into());
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    if Swap::now() == Swap::Exposed {
        tracing::warn!("swap is not encrypted: keys and contents in memory may be written to it");
    }
    tracing::info!("mounted");
    let idle = idle.map(|time| Idle { time, activity });
    let ended = attend(&served.engine, &unmounter, &happenings, idle.as_ref());
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    let closed = served.close();
    tracing::info!("unmounted");
    closed?;
    Ok(ended.map_err(FrontError::Session)?)
}

/// Unlocks, opens and mounts. Until shortly before the last, a signal ends the process at once; then
/// it is an event, as a process that just ends leaves a dead mount.
fn start(job: Job, events: &Sender<Event>) -> Result<(Served, Mounted), CliError> {
    let Job {
        vault,
        point,
        options,
        secret,
        log,
    } = job;
    let access = match options.access {
        MountAccess::ReadWrite => Access::ReadWrite,
        MountAccess::ReadOnly => Access::ReadOnly,
    };
    let locked = LockedVault::open(&vault, access)?;
    let place = MountPoint::check(&point, &vault, options.cover)?;
    begin_log(log, &locked);
    let mut unlocked = locked.unlock(&secret.to_secret()?)?;
    drop(secret);
    unlocked.hold_to_pin(&pins::directory(), options.rollback)?;
    if !unlocked.health().is_sound() {
        tracing::warn!(health = ?unlocked.health(), "a copy of the superblock is damaged");
        if access == Access::ReadWrite {
            unlocked.heal()?;
        }
    }
    let about = About {
        vault: unlocked.dir().path().to_path_buf(),
        vault_id: unlocked.id().to_string(),
        point: place.path().to_path_buf(),
        since: SystemTime::now(),
        access: options.control,
    };
    let fuse_options = fuse_options(&options, &about);
    let seal = Seal::new(unlocked.id(), unlocked.master());
    let engine = Arc::new(Engine::open(
        unlocked,
        EngineOptions {
            dirty_limit: options.dirty_limit,
            verify: options.verify,
            snapshot_interval: options.snapshot_interval,
            foreign_symlinks: match options.foreign_symlinks {
                ForeignSymlinks::Followed => BarredSymlinks::Followed,
                ForeignSymlinks::Refused => BarredSymlinks::Refused,
            },
        },
    )?);
    let online = Arc::new(Online::prepare(
        &engine,
        options.cache_limit,
        access == Access::ReadWrite,
    )?);
    let control = VolumeControl::new(Arc::clone(&engine), about, &online, seal);
    let control = Arc::new(control);
    let vfs = engine.vfs_with_snapshots(Owner::of_process());
    let mounted = watch_signals(events.clone())
        .map_err(|source| FrontError::Setup {
            what: "watching for signals",
            source,
        })
        .and_then(|()| {
            fuse::mount(vfs, control, place.path(), &fuse_options).map_err(|error| {
                FrontError::Mount {
                    point: place.path().to_path_buf(),
                    error,
                }
            })
        });
    match mounted {
        Ok(mounted) => {
            if access == Access::ReadWrite
                && let Err(error) = online.start(mounted.notifier())
            {
                tracing::error!(%error, "shares are not synced");
            }
            Ok((Served { engine, online }, mounted))
        }
        Err(error) => {
            close(&engine)?;
            Err(error.into())
        }
    }
}

fn begin_log(to: LogTo, vault: &LockedVault) {
    match to {
        LogTo::Stderr => log::to_stderr(),
        LogTo::File => {
            // The id is unverified, but nothing but hexadecimal digits.
            let name = vault
                .claimed_id()
                .map_or_else(|| "mount".to_owned(), |id| id.to_string());
            if log::to_file(&name).is_err() {
                eprintln!(
                    "keyfold: cannot write a log in {}; going on without",
                    log::directory().display()
                );
            }
        }
    }
}

fn fuse_options(options: &MountOptions, about: &About) -> FuseOptions {
    FuseOptions {
        fs_name: about.vault.to_string_lossy().into_owned(),
        audience: match options.audience {
            Audience::Owner => fuse::Audience::Owner,
            Audience::Everyone => fuse::Audience::Everyone,
        },
        access: match options.access {
            MountAccess::ReadWrite => fuse::Access::ReadWrite,
            MountAccess::ReadOnly => fuse::Access::ReadOnly,
        },
        threads: options.threads,
        cpu_idle: match options.cpu_idle {
            CpuIdle::Shallow => fuse::CpuIdle::Shallow,
            CpuIdle::Deep => fuse::CpuIdle::Deep,
        },
        ring: match options.ring {
            RingUse::WhereOffered => fuse::RingUse::WhereOffered,
            RingUse::Never => fuse::RingUse::Never,
        },
        mount_options: options.flags.iter().copied().map(word).collect(),
    }
}

fn word(flag: KernelFlag) -> String {
    flag.word().to_owned()
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new()
        .name("keyfold-signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if events.send(Event::Signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// Waits until the mount has ended, ending it when told to or when it has been idle for long.
fn attend(
    engine: &Engine,
    unmounter: &Unmounter,
    happenings: &Receiver<Event>,
    idle: Option<&Idle>,
) -> io::Result<()> {
    let look = idle.map_or(Duration::MAX, |idle| IDLE_LOOK.min(idle.time / 4));
    loop {
        // A wait without bound cannot be told as a duration to every clock.
        match happenings.recv_timeout(look.min(Duration::from_hours(1))) {
            Ok(Event::Ended(how)) => return how,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Event::Signal) => return end(engine, unmounter, happenings),
            Err(RecvTimeoutError::Timeout) => {
                if idle.is_some_and(Idle::is_due) {
                    end_if_unused(unmounter);
                }
            }
        }
    }
}

/// Ends the mount unless programs hold something open in it, however quietly.
fn end_if_unused(unmounter: &Unmounter) {
    match unmounter.unmount(Unmount::IfIdle) {
        Ok(()) => tracing::info!("unmounted after a long time without use"),
        Err(UnmountError::Busy) => {}
        Err(error) => tracing::warn!(%error, "the idle mount cannot be ended"),
    }
}

/// Commits and detaches, and gives programs that still use the mount a little time.
fn end(engine: &Engine, unmounter: &Unmounter, happenings: &Receiver<Event>) -> io::Result<()> {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    if let Err(error) = engine.vfs().sync() {
        tracing::error!(%error, "the commit before unmounting failed");
    }
    if let Err(UnmountError::Busy) = unmounter.unmount(Unmount::IfIdle) {
        tracing::warn!("programs use the mount; it is detached all the same");
        if let Err(error) = unmounter.unmount(Unmount::Detach) {
            tracing::error!(%error, "the mount cannot be detached");
        }
    }
    let deadline = Instant::now() + GRACE;
    loop {
        match happenings.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Ended(how)) => return how,
            Ok(Event::Signal) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Makes the last changes durable.
fn close(engine: &Engine) -> Result<(), CliError> {
    engine.close().map_err(|e| {
        tracing::error!(error = %e, "the last changes could not be made durable");
        CliError::from(e)
    })
}
