//! Beginning and end of a mount, and requests that wait or go wrong.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyfold_fs::model::ModelFs;
use nix::sys::stat::{Mode, SFlag, mknod};
use parking_lot::{Condvar, Mutex};

use super::watched::Watched;
use super::{Parrot, Stage, errno, printed, run};
use crate::fuse::idling::Idling;
use crate::fuse::init::Transport;
use crate::fuse::{Access, FuseOptions, MountError, Unmount, UnmountError, mount};

#[test]
fn a_used_mount_is_busy_until_it_is_no_longer_used() {
    let stage = Stage::new();
    let unmounter = stage.mounted().unmounter();
    let file = File::create(stage.path("a")).unwrap();
    assert_eq!(unmounter.unmount(Unmount::IfIdle), Err(UnmountError::Busy));
    fs::read_dir(stage.path("")).unwrap();
    drop(file);
    stage.end();
}

#[test]
fn a_detached_mount_serves_open_files_to_the_end() {
    let mut stage = Stage::new();
    let file = File::create_new(stage.path("a")).unwrap();
    stage
        .mounted()
        .unmounter()
        .unmount(Unmount::Detach)
        .unwrap();
    assert_eq!(fs::read_dir(stage.path("")).unwrap().count(), 0);
    file.write_all_at(b"late", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    stage.mounted.take().unwrap().wait().unwrap();
}

#[test]
fn an_unmount_from_outside_ends_the_mount_and_a_later_one_is_left_alone() {
    let mut stage = Stage::new();
    let point = stage.path("");
    printed(&run([OsStr::new("umount"), point.as_os_str()]));
    let mounted = stage.mounted.take().unwrap();
    let unmounter = mounted.unmounter();
    let activity = mounted.activity();
    mounted.wait().unwrap();
    assert!(activity.last().is_none());

    let next = mount(
        Arc::new(ModelFs::default()),
        Arc::new(Parrot),
        &point,
        &FuseOptions::default(),
    );
    stage.mounted = Some(next.unwrap());
    fs::write(stage.path("a"), b"x").unwrap();
    assert_eq!(unmounter.unmount(Unmount::Detach), Ok(()));
    assert_eq!(fs::read(stage.path("a")).unwrap(), b"x");
    stage.end();
}

#[test]
fn the_mount_table_names_the_vault_and_the_kind() {
    let stage = Stage::new();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = stage.path("").canonicalize().unwrap();
    let place = place
        .to_str()
        .unwrap()
        .trim_end_matches('/')
        .replace(' ', "\\040");
    let line = table.lines().find(|line| line.contains(&place)).unwrap();
    assert!(line.contains("fuse.keyfold /a,vault rw"), "{line}");
    assert!(
        line.contains("nosuid,nodev") && line.contains("default_permissions"),
        "{line}"
    );
    stage.end();
}

#[test]
fn reading_ahead_is_raised_for_root() {
    let stage = Stage::new();
    let device = stage
        .mounted()
        .unmounter()
        .attachment
        .device()
        .unwrap()
        .to_owned();
    let knob = fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
    assert_eq!(knob.trim(), "1024");
    stage.end();
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let options = FuseOptions {
        access: Access::ReadOnly,
        ..FuseOptions::default()
    };
    let stage = Stage::with(Arc::new(ModelFs::default()), &options);
    assert_eq!(errno(fs::write(stage.path("a"), b"")), libc::EROFS);
    stage.end();
}

#[test]
fn a_bad_mount_point_or_option_leaves_nothing_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let attempt = |place: &std::path::Path, options: &FuseOptions| {
        mount(
            Arc::new(ModelFs::default()),
            Arc::new(Parrot),
            place,
            options,
        )
        .unwrap_err()
    };
    let plain = FuseOptions::default();
    let missing = attempt(&directory.path().join("missing"), &plain);
    assert!(matches!(missing, MountError::MountPoint(e) if e.raw_os_error() == Some(libc::ENOENT)));
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let file = attempt(&file, &plain);
    assert!(matches!(file, MountError::MountPoint(e) if e.raw_os_error() == Some(libc::ENOTDIR)));
    let odd = FuseOptions {
        mount_options: vec!["odd".into()],
        ..plain
    };
    let odd = attempt(directory.path(), &odd);
    assert_eq!(odd.to_string(), "unknown mount option \"odd\"");
}

#[test]
fn use_is_noticed() {
    let stage = Stage::new();
    let activity = stage.mounted().activity();
    let before = Instant::now();
    until(|| {
        fs::write(stage.path("a"), b"x").unwrap();
        activity.last().unwrap() > before
    });
    stage.end();
}

#[test]
fn a_panic_answers_eio_and_the_mount_lives_on() {
    let watch = |what| assert!(what != "readlink" && what != "fsync", "as the test wants");
    let stage = Stage::serving(Arc::new(Watched {
        inner: ModelFs::default(),
        watch,
    }));
    std::os::unix::fs::symlink("x", stage.path("link")).unwrap();
    let file = File::create(stage.path("a")).unwrap();
    for _ in 0..8 {
        assert_eq!(errno(fs::read_link(stage.path("link"))), libc::EIO);
        assert_eq!(errno(file.sync_all()), libc::EIO);
    }
    drop(file);
    fs::write(stage.path("b"), b"x").unwrap();
    stage.end();
}

/// Holds operations up until opened; not for ever, as nobody can kill a program that waits for
/// itself.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
    /// How many waited in vain.
    given_up: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock();
        let deadline = Instant::now() + Duration::from_secs(15);
        while !*open && !self.changed.wait_until(&mut open, deadline).timed_out() {}
        if !*open {
            self.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn open(&self) {
        *self.open.lock() = true;
        self.changed.notify_all();
    }
}

#[test]
fn waiting_syncs_and_writes_do_not_hold_up_the_others() {
    let gate = Arc::new(Gate::default());
    let watch = {
        let gate = Arc::clone(&gate);
        move |what| {
            if what == "fsync" || what == "write" {
                gate.pass();
            }
        }
    };
    let stage = Stage::serving(Arc::new(Watched {
        inner: ModelFs::default(),
        watch,
    }));
    let files: Vec<_> = (0..6)
        .map(|n| File::create(stage.path(format!("{n}"))).unwrap())
        .collect();
    thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            scope.spawn(move || {
                if n % 2 == 0 {
                    file.sync_all().unwrap();
                } else {
                    file.write_all_at(b"x", 0).unwrap();
                }
            });
        }
        until(|| gate.waiting.load(Ordering::SeqCst) == files.len());
        fs::create_dir(stage.path("d")).unwrap();
        assert_eq!(
            fs::read_dir(stage.path("")).unwrap().count(),
            files.len() + 1
        );
        gate.open();
    });
    assert_eq!(gate.given_up.load(Ordering::SeqCst), 0);
    assert_eq!(fs::read(stage.path("1")).unwrap(), b"x");
    drop(files);
    stage.end();
}

/// A program alone is served by one thread; what holds that thread up must not hold up others.
#[test]
fn a_request_held_up_in_the_midst_of_many_does_not_hold_up_the_others() {
    let gate = Arc::new(Gate::default());
    let watch = {
        let gate = Arc::clone(&gate);
        move |what| {
            if what == "readlink" {
                gate.pass();
            }
        }
    };
    let stage = Stage::serving(Arc::new(Watched {
        inner: ModelFs::default(),
        watch,
    }));
    std::os::unix::fs::symlink("x", stage.path("link")).unwrap();
    let work = |name| {
        fs::create_dir(stage.path(name)).unwrap();
        fs::remove_dir(stage.path(name)).unwrap();
    };
    let is_lone = || stage.mounted().listeners.is_lone();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Without cheap wake-ups it is never lone, nor where it does not listen to the device.
            let listens = stage.mounted().transport == Transport::Device;
            let can_be = listens && Idling::watch().is_watched();
            until(|| {
                (0..100).for_each(|_| work("a"));
                is_lone() || !can_be
            });
            fs::read_link(stage.path("link")).unwrap();
        });
        until(|| gate.waiting.load(Ordering::SeqCst) == 1);
        work("b");
        gate.open();
    });
    assert_eq!(gate.given_up.load(Ordering::SeqCst), 0);
    stage.end();
}

#[test]
fn a_synchronous_write_is_synced_before_it_returns() {
    let synced = Arc::new(AtomicUsize::new(0));
    let watch = {
        let synced = Arc::clone(&synced);
        move |what| {
            if what == "fsync" {
                synced.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let stage = Stage::serving(Arc::new(Watched {
        inner: ModelFs::default(),
        watch,
    }));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).custom_flags(libc::O_SYNC);
    let mut file = options.open(stage.path("a")).unwrap();
    file.write_all(b"x").unwrap();
    eprintln!(
        "syncs sent by the kernel: {}",
        synced.load(Ordering::SeqCst)
    );
    drop(file);
    File::open(stage.path("")).unwrap().sync_all().unwrap();
    assert!(synced.load(Ordering::SeqCst) >= 1);
    stage.end();
}

/// An ordinary user mounts through the helper. The test runs itself as that user, from a copy of
/// its own program which that user can reach.
#[test]
fn an_ordinary_user_mounts_through_the_helper() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // The user must be able to open the device, whatever this machine says: in a mount namespace of
    // its own.
    let device = directory.path().join("fuse");
    let everyone = Mode::from_bits_truncate(0o666);
    mknod(&device, SFlag::S_IFCHR, everyone, libc::makedev(10, 229)).unwrap();
    fs::set_permissions(&device, fs::Permissions::from_mode(0o666)).unwrap();
    let as_user = "mount --bind \"$1\" /dev/fuse && shift && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", as_user, "sh"])
        .args([&device, &program])
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "fuse::tests::life::serves_as_a_user",
        ])
        .env("TMPDIR", directory.path())
        .current_dir("/")
        .output()
        .unwrap();
    let out = printed(&output);
    assert!(
        out.contains("1 passed"),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run as an ordinary user by the test above"]
fn serves_as_a_user() {
    let stage = Stage::new();
    fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o700)).unwrap_err();
    let unmounter = stage.mounted().unmounter();
    let root = File::open(stage.path("")).unwrap();
    assert_eq!(unmounter.unmount(Unmount::IfIdle), Err(UnmountError::Busy));
    assert_eq!(fs::read_dir(stage.path("")).unwrap().count(), 0);
    assert_eq!(
        fs::read(stage.path(".keyfold/status")).unwrap(),
        b"{\"state\":\"fine\"}\n"
    );
    drop(root);
    stage.end();
}

/// Waits for a condition, at most ten seconds.
#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        thread::sleep(Duration::from_millis(2));
    }
}
