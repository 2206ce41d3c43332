//! The FUSE front end: serves a [`Vfs`] at a mount point.
//!
//! [`mount`] attaches and starts serving, [`Mounted`] is a live mount, [`Unmounter`] ends it from
//! another thread. The kernel's protocol is spoken below this module: `device` carries messages,
//! `wire` has the protocol's numbers, `request` decodes, `reply` encodes; `front` knows what requests
//! mean.

mod acl;
mod adapter;
mod attach;
mod buffer;
mod convert;
mod device;
mod errno;
mod filesystem;
mod front;
mod idling;
mod init;
mod listeners;
mod notify;
mod own_attributes;
mod receivers;
mod reply;
mod request;
mod ring;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use keyfold_fs::vfs::Vfs;
use nix::unistd::{getgid, getuid};

use self::adapter::Adapter;
use self::attach::Attachment;
use self::device::Device;
use self::front::Front;
use self::idling::Idling;
use self::init::Transport;
use self::listeners::Listeners;
pub(crate) use self::notify::Notifier;
use self::receivers::{Pool, Receivers};
use self::session::Opened;
pub(crate) use crate::control_dir::{ControlCaller, ControlError, ControlService};
use crate::control_dir::{ControlDir, Owner};

/// The errno that programs see of a volume's error.
pub(crate) fn errno(error: keyfold_fs::error::FsError) -> i32 {
    errno::errno(error) as i32
}

/// Fewest threads that receive requests: one may wait while another is free.
const THREADS_MIN: usize = 2;
/// Most threads that receive requests unless asked for more. The kernel wakes them in turn, so each
/// one beyond need takes a lone program's requests from core to core. Where that is expensive there
/// is one a core: with four threads instead of two on two cores, a single writer of 4 KiB blocks got
/// less than half as far.
const THREADS_USUAL: usize = 4;

/// Who may use a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Audience {
    /// The user who mounts.
    #[default]
    Owner,
    /// Every user, as far as modes and ACLs allow (`allow_other`).
    Everyone,
}

/// Whether a mount can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    /// Yes.
    #[default]
    ReadWrite,
    /// No: the kernel refuses every change.
    ReadOnly,
}

/// How deeply processors may sleep while programs work in the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CpuIdle {
    /// Shallowly during bursts of requests, where the kernel takes the wish from this user.
    #[default]
    Shallow,
    /// As they like.
    Deep,
}

/// Whether requests come through `io_uring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RingUse {
    /// Where the kernel offers it.
    #[default]
    WhereOffered,
    /// Nowhere: they are read from the device.
    Never,
}

/// How to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FuseOptions {
    /// The source shown in the mount table: the vault's path.
    pub(crate) fs_name: String,
    /// Who may use it.
    pub(crate) audience: Audience,
    /// Whether it can be changed.
    pub(crate) access: Access,
    /// Threads that receive requests, at least 2. By default 4 where wake-ups are cheap, and
    /// elsewhere one a core, from 2 to 4.
    pub(crate) threads: Option<usize>,
    /// How deeply processors may sleep meanwhile.
    pub(crate) cpu_idle: CpuIdle,
    /// Whether requests come through `io_uring`. There `threads` counts for each processor.
    pub(crate) ring: RingUse,
    /// Further options by the words of mount(8): `nosuid`, `nodev` (both are the default), `suid`,
    /// `dev`, `noexec`, `exec`, `noatime`, `atime`, `nodiratime`, `diratime`, `relatime`,
    /// `norelatime`, `sync`, `async`, `dirsync`, `nodirsync`, `max_read=`, `context=`,
    /// `fscontext=`, `defcontext=`, `rootcontext=`.
    pub(crate) mount_options: Vec<String>,
}

impl Default for FuseOptions {
    fn default() -> Self {
        Self {
            fs_name: "keyfold".to_owned(),
            audience: Audience::default(),
            access: Access::default(),
            threads: None,
            cpu_idle: CpuIdle::default(),
            ring: RingUse::default(),
            mount_options: Vec::new(),
        }
    }
}

fn usual_threads(idling: &Idling) -> usize {
    if idling.is_watched() {
        return THREADS_USUAL;
    }
    thread::available_parallelism().map_or(THREADS_MIN, |cores| {
        cores.get().clamp(THREADS_MIN, THREADS_USUAL)
    })
}

/// Why a mount failed. Nothing is left mounted.
#[derive(Debug)]
pub(crate) enum MountError {
    /// FUSE cannot be used on this machine, or not by this user; says what is missing.
    Unavailable(String),
    /// The mount point is missing, not a directory, or out of reach.
    MountPoint(io::Error),
    /// An option nobody knows.
    UnknownOption(String),
    /// The kernel or `fusermount3` refused; says why.
    Refused(String),
    /// The kernel was reached, but serving it could not begin.
    Start(io::Error),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => {
                write!(
                    f,
                    "FUSE is not available: {why}. Install fuse3 and load the fuse module"
                )
            }
            Self::MountPoint(e) => write!(f, "the mount point cannot be used: {e}"),
            Self::UnknownOption(option) => write!(f, "unknown mount option {option:?}"),
            Self::Refused(why) => write!(f, "the mount was refused: {why}"),
            Self::Start(e) => write!(f, "serving the mount could not begin: {e}"),
        }
    }
}

impl std::error::Error for MountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::MountPoint(e) | Self::Start(e) => Some(e),
            Self::Unavailable(_) | Self::UnknownOption(_) | Self::Refused(_) => None,
        }
    }
}

impl From<MountError> for io::Error {
    fn from(error: MountError) -> Self {
        let kind = match &error {
            MountError::Unavailable(_) => io::ErrorKind::Unsupported,
            MountError::UnknownOption(_) => io::ErrorKind::InvalidInput,
            MountError::Refused(_) => io::ErrorKind::PermissionDenied,
            MountError::MountPoint(e) | MountError::Start(e) => e.kind(),
        };
        Self::new(kind, error)
    }
}

/// How to end a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmount {
    /// Only where no program uses it.
    IfIdle,
    /// Take it out of the tree now; programs that have files open go on until they close them.
    Detach,
}

/// Why a mount did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnmountError {
    /// Programs use it.
    Busy,
    /// The kernel or `fusermount3` refused; says why.
    Failed(String),
}

impl fmt::Display for UnmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "programs use the mount"),
            Self::Failed(why) => write!(f, "unmounting was refused: {why}"),
        }
    }
}

impl std::error::Error for UnmountError {}

impl From<UnmountError> for io::Error {
    fn from(error: UnmountError) -> Self {
        let kind = match error {
            UnmountError::Busy => io::ErrorKind::ResourceBusy,
            UnmountError::Failed(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Ends a mount; can be sent to another thread.
#[derive(Debug, Clone)]
pub(crate) struct Unmounter {
    attachment: Attachment,
}

impl Unmounter {
    /// Unmounts. Succeeds where the mount is gone already, and never touches another mount that
    /// took its place. Can be tried again after [`UnmountError::Busy`].
    pub(crate) fn unmount(&self, how: Unmount) -> Result<(), UnmountError> {
        self.attachment.detach(how)
    }
}

/// A live mount. Dropping it detaches it.
pub(crate) struct Mounted {
    front: Arc<Front>,
    pool: Arc<Pool>,
    unmounter: Unmounter,
    #[cfg(test)]
    listeners: Arc<Listeners>,
    notifier: Arc<Notifier>,
    #[cfg(test)]
    transport: Transport,
    session: Option<JoinHandle<io::Result<()>>>,
}

impl Mounted {
    /// Waits until it is unmounted, by whomever, and every request is answered. Afterwards this
    /// module holds the [`Vfs`] no more.
    pub(crate) fn wait(mut self) -> io::Result<()> {
        let ended = self.session.take().map_or(Ok(Ok(())), JoinHandle::join);
        self.pool.close();
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread serving the mount panicked")))
    }

    /// What ends the mount from another thread.
    pub(crate) fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// When a program last used the mount. `statfs` and forgetting do not count.
    pub(crate) fn activity(&self) -> Activity {
        Activity {
            front: Arc::downgrade(&self.front),
        }
    }

    /// Who tells the kernel what it has to ask for again.
    pub(crate) fn notifier(&self) -> Arc<Notifier> {
        Arc::clone(&self.notifier)
    }

    /// The mount point, absolute and without symlinks.
    pub(crate) fn place(&self) -> &Path {
        self.unmounter.attachment.place()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.is_some()
            && let Err(error) = self.unmounter.unmount(Unmount::Detach)
        {
            tracing::error!(%error, "the mount could not be detached");
        }
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

/// The use of a mount, watched from another thread; does not keep the mount's volume open.
#[derive(Clone)]
pub(crate) struct Activity {
    front: std::sync::Weak<Front>,
}

impl Activity {
    /// When a program last used the mount; `None` when it has ended.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.front.upgrade().map(|front| front.last_active())
    }
}

/// Mounts `vfs` at `mountpoint`. Returns once the kernel and the front end have agreed on how they
/// talk: the mount then works, or the kernel refused it.
pub(crate) fn mount(
    vfs: Arc<dyn Vfs>,
    control: Arc<dyn ControlService>,
    mountpoint: &Path,
    options: &FuseOptions,
) -> Result<Mounted, MountError> {
    let owner = Owner {
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
    };
    let front = Arc::new(Front::new(vfs, ControlDir::new(control, owner)));
    let pool = Arc::new(Pool::start().map_err(MountError::Start)?);
    let idling = match options.cpu_idle {
        CpuIdle::Shallow => Idling::watch(),
        CpuIdle::Deep => Idling::leave_alone(),
    };
    let idling = Arc::new(idling);
    let (connection, attachment) = attach::attach(mountpoint, options)?;
    let unmounter = Unmounter { attachment };
    let attached = Attached {
        device: Arc::new(Device::new(connection)),
        attachment: unmounter.attachment.clone(),
        front: Arc::clone(&front),
        pool: Arc::clone(&pool),
        idling,
    };
    match attached.start(options) {
        Ok(session) => {
            unmounter.attachment.raise_read_ahead();
            Ok(Mounted {
                front,
                pool,
                unmounter,
                #[cfg(test)]
                listeners: session.listeners,
                #[cfg(test)]
                transport: session.transport,
                notifier: session.notifier,
                session: Some(session.thread),
            })
        }
        Err(e) => {
            if let Err(error) = unmounter.unmount(Unmount::Detach) {
                tracing::error!(%error, "the failed mount could not be detached");
            }
            Err(MountError::Start(e))
        }
    }
}

/// A mount before requests are served.
struct Attached {
    device: Arc<Device>,
    attachment: Attachment,
    front: Arc<Front>,
    pool: Arc<Pool>,
    idling: Arc<Idling>,
}

/// A mount whose requests are served.
struct Session {
    thread: JoinHandle<io::Result<()>>,
    notifier: Arc<Notifier>,
    #[cfg(test)]
    listeners: Arc<Listeners>,
    #[cfg(test)]
    transport: Transport,
}

impl Attached {
    /// Agrees with the kernel on how they talk, and starts serving.
    fn start(self, options: &FuseOptions) -> io::Result<Session> {
        let mut prepared = None;
        init::negotiate(&self.device, || {
            prepared = self.prepare_ring(options.ring);
            Transport::of(prepared.as_ref())
        })?;
        let ring = prepared.map_or(Ok(None), |prepared| prepared.begin(options.threads))?;
        let transport = Transport::of(ring.as_ref());
        let (threads, idling) = match transport {
            // What still comes from the device is rare, and nobody waits for it.
            Transport::Ring => (1, Arc::new(Idling::leave_alone())),
            Transport::Device => {
                let threads = options.threads;
                let threads = threads.unwrap_or_else(|| usual_threads(&self.idling));
                (threads.max(THREADS_MIN), self.idling)
            }
        };
        let listeners = Arc::new(Listeners::new(threads, Arc::clone(&idling)));
        let receivers = Receivers::new(threads, idling);
        let adapter = Adapter::new(self.front, receivers, Arc::clone(&listeners), self.pool);
        let notifier = Arc::new(Notifier::start(self.device.duplicate()?)?);
        let opened = Opened {
            device: self.device,
            attachment: self.attachment,
            ring,
        };
        Ok(Session {
            thread: session::start(opened, adapter, &listeners, threads)?,
            notifier,
            #[cfg(test)]
            listeners,
            #[cfg(test)]
            transport,
        })
    }

    fn prepare_ring(&self, wanted: RingUse) -> Option<ring::Prepared> {
        if wanted == RingUse::Never {
            return None;
        }
        let prepared = ring::prepare(&self.device, &self.front, &self.idling);
        prepared
            .inspect_err(|error| tracing::info!(%error, "requests come through the device"))
            .ok()
    }
}
