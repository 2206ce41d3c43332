//! Requests through `io_uring`, which the kernel is told to offer while a test runs. Other tests take
//! whichever way is offered meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyfold_fs::model::ModelFs;
use parking_lot::{Mutex, MutexGuard};

use super::watched::Watched;
use super::{Parrot, Stage, errno, printed, run};
use crate::control_dir::{ControlDir, Owner};
use crate::fuse::adapter::Adapter;
use crate::fuse::device::Device;
use crate::fuse::front::Front;
use crate::fuse::idling::Idling;
use crate::fuse::init::{self, Transport};
use crate::fuse::listeners::Listeners;
use crate::fuse::receivers::{Pool, Receivers};
use crate::fuse::session::{self, Opened};
use crate::fuse::{FuseOptions, RingUse, Unmount, attach, ring};

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
/// One change of the parameter at a time within this process; between processes the runner sees to it.
static CHANGING: Mutex<()> = Mutex::new(());

/// The kernel offers the ring until this is dropped.
struct Offered {
    before: String,
    _alone: MutexGuard<'static, ()>,
}

impl Offered {
    /// `None` on kernels that have no ring, which is said.
    fn by_the_kernel() -> Option<Self> {
        let alone = CHANGING.lock();
        let Ok(before) = fs::read_to_string(PARAMETER) else {
            eprintln!("NOT TESTED: this kernel has no FUSE over io_uring ({PARAMETER} is missing)");
            return None;
        };
        fs::write(PARAMETER, "Y").unwrap();
        Some(Self {
            before,
            _alone: alone,
        })
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        fs::write(PARAMETER, self.before.trim()).unwrap();
    }
}

/// A mount whose requests come through the ring.
fn stage(options: &FuseOptions) -> Stage {
    let stage = Stage::with(Arc::new(ModelFs::default()), options);
    assert_eq!(stage.mounted().transport, Transport::Ring);
    stage
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        thread::sleep(Duration::from_millis(2));
    }
}

/// This process's threads of rings.
fn ring_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names
        .filter(|name| name.starts_with("keyfold-ring-"))
        .count()
}

fn abort(stage: &Stage) {
    let attachment = &stage.mounted().unmounter().attachment;
    let device = attachment.device().unwrap();
    let (_, minor) = device.split_once(':').unwrap();
    fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1").unwrap();
}

/// Makes, fills, reads and removes files of all sizes, until one of these fails.
fn work(place: &Path, name: &str) -> std::io::Result<()> {
    let file = place.join(name);
    for size in [0, 1, 4096, 100_000, 3 << 20] {
        let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        fs::write(&file, &content)?;
        assert_eq!(fs::read(&file)?, content);
    }
    fs::remove_file(&file)
}

#[test]
fn all_kinds_of_requests_come_through_the_ring() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let stage = stage(&FuseOptions::default());
    assert!(ring_threads() > 0);
    thread::scope(|scope| {
        for n in 0..4 {
            let (place, name) = (stage.path(""), format!("{n}"));
            scope.spawn(move || (0..8).for_each(|_| work(&place, &name).unwrap()));
        }
    });
    fs::create_dir(stage.path("d")).unwrap();
    for n in 0..1000 {
        std::os::unix::fs::symlink(format!("{n:0200}"), stage.path(format!("d/{n:0200}"))).unwrap();
    }
    assert_eq!(fs::read_dir(stage.path("d")).unwrap().count(), 1000);
    let link = fs::read_link(stage.path(format!("d/{:0200}", 7))).unwrap();
    assert_eq!(link.as_os_str().len(), 200);
    let long = "v".repeat(60_000);
    let file = stage.path("attributes");
    fs::write(&file, b"").unwrap();
    let set = ["setfattr", "-n", "user.long", "-v", &long].map(OsStr::new);
    printed(&run([
        set[0],
        set[1],
        set[2],
        set[3],
        set[4],
        file.as_os_str(),
    ]));
    let get = ["getfattr", "--only-values", "-n", "user.long"].map(OsStr::new);
    assert_eq!(
        printed(&run([get[0], get[1], get[2], get[3], file.as_os_str()])),
        long
    );
    assert_eq!(errno(fs::read(stage.path("missing"))), libc::ENOENT);
    stage.end();
    assert_eq!(ring_threads(), 0);
}

#[test]
fn whoever_does_not_want_the_ring_is_served_through_the_device() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let options = FuseOptions {
        ring: RingUse::Never,
        ..FuseOptions::default()
    };
    let stage = Stage::with(Arc::new(ModelFs::default()), &options);
    assert_eq!(stage.mounted().transport, Transport::Device);
    assert_eq!(ring_threads(), 0);
    work(&stage.path(""), "a").unwrap();
    stage.end();
}

#[test]
fn a_ring_that_is_refused_leaves_the_device_and_no_request_is_lost() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let owner = Owner { uid: 0, gid: 0 };
    let control = ControlDir::new(Arc::new(Parrot), owner);
    let front = Arc::new(Front::new(Arc::new(ModelFs::default()), control));
    let idling = Arc::new(Idling::leave_alone());
    let (connection, attachment) = attach::attach(place, &FuseOptions::default()).unwrap();
    let device = Arc::new(Device::new(connection));
    let prepared = ring::prepare(&device, &front, &idling).unwrap();
    init::negotiate(&device, || Transport::Ring).unwrap();
    thread::scope(|scope| {
        // Held back by the kernel until it knows how to send it.
        let asking = scope.spawn(|| work(place, "a"));
        prepared.fall_back().unwrap();
        assert_eq!(ring_threads(), 0);
        let listeners = Arc::new(Listeners::new(2, Arc::clone(&idling)));
        let pool = Arc::new(Pool::start().unwrap());
        let receivers = Receivers::new(2, idling);
        let adapter = Adapter::new(front, receivers, Arc::clone(&listeners), Arc::clone(&pool));
        let opened = Opened {
            device,
            attachment: attachment.clone(),
            ring: None,
        };
        let session = session::start(opened, adapter, &listeners, 2).unwrap();
        asking.join().unwrap().unwrap();
        attachment.detach(Unmount::IfIdle).unwrap();
        session.join().unwrap().unwrap();
        pool.close();
    });
}

#[test]
fn a_detached_mount_serves_open_files_through_the_ring_to_the_end() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let mut stage = stage(&FuseOptions::default());
    let file = File::create_new(stage.path("a")).unwrap();
    let mounted = stage.mounted.take().unwrap();
    mounted.unmounter().unmount(Unmount::Detach).unwrap();
    file.write_all_at(b"late", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.wait().unwrap();
    assert_eq!(ring_threads(), 0);
}

#[test]
fn an_abort_under_load_fails_the_programs_and_ends_every_thread() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    for _ in 0..4 {
        let mut stage = stage(&FuseOptions::default());
        let done = AtomicUsize::new(0);
        let failed = thread::scope(|scope| {
            let programs: Vec<_> = (0..4)
                .map(|n| {
                    let (place, done) = (stage.path(""), &done);
                    scope.spawn(move || {
                        loop {
                            if let Err(error) = work(&place, &format!("{n}")) {
                                return error.raw_os_error().unwrap();
                            }
                            done.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            until(|| done.load(Ordering::SeqCst) > 2);
            abort(&stage);
            let failed = programs.into_iter().map(|program| program.join().unwrap());
            failed.collect::<Vec<_>>()
        });
        for errno in failed {
            assert!(
                [libc::ENOTCONN, libc::ECONNABORTED, libc::EIO].contains(&errno),
                "{errno}"
            );
        }
        let point = stage.path("");
        let mounted = stage.mounted.take().unwrap();
        mounted.wait().unwrap();
        assert_eq!(ring_threads(), 0);
        printed(&run([
            OsStr::new("umount"),
            OsStr::new("-l"),
            point.as_os_str(),
        ]));
    }
}

#[test]
fn an_unmount_while_a_request_is_served_waits_for_it() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let (held, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = {
        let (held, open) = (Arc::clone(&held), Arc::clone(&open));
        move |what| {
            if what == "release" {
                held.fetch_add(1, Ordering::SeqCst);
                until(|| open.load(Ordering::SeqCst) == 1);
            }
        }
    };
    let inner = ModelFs::default();
    let mut stage = Stage::serving(Arc::new(Watched { inner, watch }));
    assert_eq!(stage.mounted().transport, Transport::Ring);
    // Nobody waits for a release, so the mount is not busy meanwhile.
    fs::write(stage.path("a"), b"x").unwrap();
    until(|| held.load(Ordering::SeqCst) == 1);
    let mounted = stage.mounted.take().unwrap();
    mounted.unmounter().unmount(Unmount::Detach).unwrap();
    open.store(1, Ordering::SeqCst);
    mounted.wait().unwrap();
    assert_eq!(ring_threads(), 0);
}

/// Every program that waits takes a thread of its processor's queue up, and more are made in time.
#[test]
fn many_requests_that_wait_do_not_hold_up_the_others() {
    let Some(_offered) = Offered::by_the_kernel() else {
        return;
    };
    let (waiting, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = {
        let (waiting, open) = (Arc::clone(&waiting), Arc::clone(&open));
        move |what| {
            if what == "fsync" {
                waiting.fetch_add(1, Ordering::SeqCst);
                until(|| open.load(Ordering::SeqCst) == 1);
            }
        }
    };
    let inner = ModelFs::default();
    let stage = Stage::serving(Arc::new(Watched { inner, watch }));
    assert_eq!(stage.mounted().transport, Transport::Ring);
    let before = ring_threads();
    let files: Vec<_> = (0..24)
        .map(|n| File::create(stage.path(format!("{n}"))).unwrap())
        .collect();
    thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            scope.spawn(move || file.sync_all().unwrap());
            // One after the other: each finds the threads that those before called for.
            until(|| waiting.load(Ordering::SeqCst) > n);
            fs::create_dir(stage.path(format!("d{n}"))).unwrap();
        }
        open.store(1, Ordering::SeqCst);
    });
    assert!(ring_threads() > before);
    assert_eq!(fs::read_dir(stage.path("")).unwrap().count(), 48);
    drop(files);
    stage.end();
    assert_eq!(ring_threads(), 0);
}
