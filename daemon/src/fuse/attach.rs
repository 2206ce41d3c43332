//! Attaching a FUSE connection to a directory and detaching it, as root or through `fusermount3`.
//!
//! Detaching must not wait for ever, must be possible again after a busy attempt, and must never take
//! somebody else's mount when ours was unmounted from outside.
#![allow(
    unsafe_code,
    reason = "taking over a descriptor received through a socket"
)]

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::unistd::{getgid, getuid};

use super::device::PATH as DEVICE;
use super::{Access, Audience, FuseOptions, MountError, Unmount, UnmountError};
use crate::mount_table;

const KIND: &str = "fuse.keyfold";
const SUBTYPE: &str = "keyfold";
/// Where the setuid helper lies when `PATH` does not name it.
const HELPERS: [&str; 4] = [
    "fusermount3",
    "/usr/bin/fusermount3",
    "/bin/fusermount3",
    "fusermount",
];
/// Largest read ahead of a sequential reader, in KiB. The kernel's own 128 KiB starve a reader of
/// decrypted data.
const READ_AHEAD_KIB: &str = "1024";
/// Largest read of the kernel, in bytes: what is read, verified, decrypted and copied piece by piece
/// stays in a processor's own cache.
const MAX_READ: u32 = 128 << 10;

/// A mount of ours: the directory and the device number the kernel gave it.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    place: PathBuf,
    /// `major:minor`, where `/proc` tells. The kernel gives the number to the next mount as soon as
    /// this one is gone.
    device: Option<String>,
    /// Set when the kernel has closed the connection.
    ended: Arc<AtomicBool>,
}

/// Options every filesystem has, as words and as flags of `mount(2)`.
const FLAGS: [(&str, MsFlags); 8] = [
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
    ("sync", MsFlags::MS_SYNCHRONOUS),
    ("dirsync", MsFlags::MS_DIRSYNC),
];
/// Options that take a flag back, or say what holds anyway.
const OPPOSITES: [(&str, MsFlags); 8] = [
    ("suid", MsFlags::MS_NOSUID),
    ("dev", MsFlags::MS_NODEV),
    ("exec", MsFlags::MS_NOEXEC),
    ("atime", MsFlags::MS_NOATIME),
    ("diratime", MsFlags::MS_NODIRATIME),
    ("norelatime", MsFlags::MS_RELATIME),
    ("async", MsFlags::MS_SYNCHRONOUS),
    ("nodirsync", MsFlags::MS_DIRSYNC),
];
/// Options of the FUSE connection that are handed on as they are.
const HANDED_ON: [&str; 5] = [
    "max_read=",
    "context=",
    "fscontext=",
    "defcontext=",
    "rootcontext=",
];

/// Options in the form `mount(2)` and the helper want.
#[derive(Debug, PartialEq, Eq)]
struct Prepared {
    flags: MsFlags,
    data: Vec<String>,
}

fn prepare(options: &FuseOptions) -> Result<Prepared, MountError> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut data = vec![
        "default_permissions".to_owned(),
        format!("max_read={MAX_READ}"),
    ];
    for option in &options.mount_options {
        let is = |(word, _): &&(&str, MsFlags)| *word == option.as_str();
        if let Some((_, flag)) = FLAGS.iter().find(is) {
            flags |= *flag;
        } else if let Some((_, flag)) = OPPOSITES.iter().find(is) {
            flags -= *flag;
        } else if HANDED_ON.iter().any(|start| option.starts_with(start)) {
            data.push(option.clone());
        } else {
            return Err(MountError::UnknownOption(option.clone()));
        }
    }
    if options.access == Access::ReadOnly {
        flags |= MsFlags::MS_RDONLY;
    }
    if options.audience == Audience::Everyone {
        data.push("allow_other".to_owned());
    }
    Ok(Prepared { flags, data })
}

/// Mounts at `place` and returns the connection, not yet initialised.
pub(crate) fn attach(
    place: &Path,
    options: &FuseOptions,
) -> Result<(OwnedFd, Attachment), MountError> {
    let prepared = prepare(options)?;
    let place = place.canonicalize().map_err(MountError::MountPoint)?;
    let meta = fs::metadata(&place).map_err(MountError::MountPoint)?;
    if !meta.is_dir() {
        return Err(MountError::MountPoint(Errno::ENOTDIR.into()));
    }
    let connection = match attach_directly(&place, meta.mode(), options, &prepared)? {
        Some(connection) => connection,
        None => attach_with_helper(&place, options, &prepared)?,
    };
    let device = mounted_at(&place);
    Ok((
        connection,
        Attachment {
            place,
            device,
            ended: Arc::default(),
        },
    ))
}

/// Mounts with `mount(2)`; `None` for users who may not.
fn attach_directly(
    place: &Path,
    mode: u32,
    options: &FuseOptions,
    prepared: &Prepared,
) -> Result<Option<OwnedFd>, MountError> {
    if !getuid().is_root() {
        return Ok(None);
    }
    let device = match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(device) => device,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(MountError::Unavailable(format!("{DEVICE} is missing")));
        }
        Err(e) => {
            return Err(MountError::Unavailable(format!(
                "{DEVICE} cannot be opened: {e}"
            )));
        }
    };
    let data = format!(
        "fd={},rootmode={:o},user_id={},group_id={},{}",
        device.as_raw_fd(),
        mode & libc::S_IFMT,
        getuid(),
        getgid(),
        prepared.data.join(",")
    );
    let source = OsStr::new(&options.fs_name);
    match mount(
        Some(source),
        place,
        Some(KIND),
        prepared.flags,
        Some(data.as_str()),
    ) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::EPERM) => Ok(None),
        Err(Errno::ENODEV) => Err(MountError::Unavailable(
            "the kernel has no FUSE filesystem".to_owned(),
        )),
        Err(e) => Err(MountError::Refused(e.desc().to_owned())),
    }
}

/// Mounts through the setuid helper, which sends the connection through a socket.
fn attach_with_helper(
    place: &Path,
    options: &FuseOptions,
    prepared: &Prepared,
) -> Result<OwnedFd, MountError> {
    let mut words = prepared.data.clone();
    words.push(format!("fsname={}", escaped(&options.fs_name)));
    words.push(format!("subtype={SUBTYPE}"));
    words.push(
        if options.access == Access::ReadOnly {
            "ro"
        } else {
            "rw"
        }
        .to_owned(),
    );
    let set = FLAGS
        .iter()
        .filter(|(_, flag)| prepared.flags.contains(*flag));
    words.extend(set.map(|(word, _)| (*word).to_owned()));
    // Without close-on-exec: the helper inherits its end and finds it by number.
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )
    .map_err(|e| MountError::Refused(e.desc().to_owned()))?;
    let child = start_helper(|command| {
        command
            .arg("-o")
            .arg(words.join(","))
            .arg("--")
            .arg(place)
            .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    })
    .map_err(|e| MountError::Unavailable(format!("fusermount3 cannot be run: {e}")))?;
    drop(theirs);
    let received = receive(&ours);
    drop(ours);
    let output = child
        .wait_with_output()
        .map_err(|e| MountError::Refused(e.to_string()))?;
    match received {
        Ok(Some(connection)) => Ok(connection),
        Ok(None) => Err(MountError::Refused(said(&output.stderr))),
        Err(e) => Err(MountError::Refused(e.desc().to_owned())),
    }
}

fn start_helper(arguments: impl Fn(&mut Command)) -> io::Result<Child> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for helper in HELPERS {
        let mut command = Command::new(helper);
        arguments(&mut command);
        let command = command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        match command.stderr(Stdio::piped()).spawn() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing = e,
            started => return started,
        }
    }
    Err(missing)
}

/// What a helper printed, without its own name.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    text.split_once("fusermount3: ")
        .map_or(text, |(_, rest)| rest)
        .to_owned()
}

/// A comma ends an option, so one within a value is escaped for the helper.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// Receives the connection; `None` where the helper ended without sending one.
fn receive(socket: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut space = nix::cmsg_space!(RawFd);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let Some(descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made this descriptor for us; nothing else owns it. There
            // is no second one, as the buffer has room for one only.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(*descriptor) }));
        }
    }
    Ok(None)
}

impl Attachment {
    /// The mount point, absolute and without symlinks.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Notes that the kernel has closed the connection: nothing of ours is mounted any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// The mount's device number, `major:minor`, where `/proc` tells.
    #[cfg(test)]
    pub(crate) fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// Lets sequential readers read further ahead. Only root may; others keep the kernel's default.
    pub(crate) fn raise_read_ahead(&self) {
        let Some(device) = &self.device else { return };
        let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(e) = fs::write(knob, READ_AHEAD_KIB) {
            tracing::debug!(error = %e, "the kernel's read-ahead stays as it is");
        }
    }

    /// Unmounts, unless the mount is gone already or another one took its place.
    pub(crate) fn detach(&self, how: Unmount) -> Result<(), UnmountError> {
        let replaced = self.device.is_some() && mounted_at(&self.place) != self.device;
        if replaced || self.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut flags = MntFlags::UMOUNT_NOFOLLOW;
        if how == Unmount::Detach {
            flags |= MntFlags::MNT_DETACH;
        }
        match umount2(&self.place, flags) {
            // Not mounted there: unmounted from outside since we looked.
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(Errno::EBUSY) => Err(UnmountError::Busy),
            Err(Errno::EPERM) => self.detach_with_helper(how),
            Err(e) => Err(UnmountError::Failed(e.desc().to_owned())),
        }
    }

    fn detach_with_helper(&self, how: Unmount) -> Result<(), UnmountError> {
        let failed = |e: io::Error| UnmountError::Failed(format!("fusermount3: {e}"));
        let child = start_helper(|command| {
            command.arg("-u");
            if how == Unmount::Detach {
                command.arg("-z");
            }
            command.arg("--").arg(&self.place);
        })
        .map_err(failed)?;
        let output = child.wait_with_output().map_err(failed)?;
        let said = said(&output.stderr);
        if output.status.success() || mounted_at(&self.place) != self.device {
            Ok(())
        } else if said.contains("resource busy") {
            Err(UnmountError::Busy)
        } else {
            Err(UnmountError::Failed(said))
        }
    }
}

/// The device number of what is mounted at `place`, without touching it.
fn mounted_at(place: &Path) -> Option<String> {
    let record = mount_table::mount_at(place).ok()??;
    Some(record.device.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_unknown_ones_are_refused() {
        let with = |words: &[&str]| {
            let mount_options = words.iter().map(ToString::to_string).collect();
            prepare(&FuseOptions {
                mount_options,
                ..FuseOptions::default()
            })
        };
        let plain = with(&[]).unwrap();
        assert_eq!(plain.flags, MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        assert_eq!(plain.data, ["default_permissions", "max_read=131072"]);
        assert_eq!(
            with(&["suid", "dev", "noexec"]).unwrap().flags,
            MsFlags::MS_NOEXEC
        );
        assert_eq!(
            with(&["context=x"]).unwrap().data,
            ["default_permissions", "max_read=131072", "context=x"]
        );
        assert!(matches!(with(&["fd=3"]), Err(MountError::UnknownOption(o)) if o == "fd=3"));
    }

    #[test]
    fn a_comma_in_the_vaults_path_does_not_end_the_option() {
        assert_eq!(escaped("/a,b\\c"), "/a\\,b\\\\c");
    }
}
