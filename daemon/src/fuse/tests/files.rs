//! Names and contents.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfold_fs::model::ModelFs;
use nix::fcntl::{FallocateFlags, OFlag, RenameFlags, fallocate, open, renameat2};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Whence, lseek};

use super::watched::Watched;
use super::{Stage, errno};

#[test]
fn a_file_is_made_written_read_renamed_linked_and_removed() {
    let stage = Stage::new();
    let (a, b, c) = (stage.path("a"), stage.path("b"), stage.path("d/c"));
    assert_eq!(errno(fs::read(&a)), libc::ENOENT);
    fs::write(&a, b"hello").unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"hello");
    OpenOptions::new()
        .append(true)
        .open(&a)
        .unwrap()
        .write_all(b", world")
        .unwrap();
    fs::rename(&a, &b).unwrap();
    assert_eq!(errno(fs::metadata(&a)), libc::ENOENT);
    fs::create_dir(stage.path("d")).unwrap();
    fs::hard_link(&b, &c).unwrap();
    assert_eq!(fs::metadata(&b).unwrap().nlink(), 2);
    let mut open = File::open(&c).unwrap();
    fs::remove_file(&b).unwrap();
    fs::remove_file(&c).unwrap();
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello, world");
    drop(open);
    fs::remove_dir(stage.path("d")).unwrap();
    assert_eq!(errno(fs::remove_dir(stage.path("d"))), libc::ENOENT);
    stage.end();
}

#[test]
fn opening_with_truncation_empties_and_exclusive_creation_insists() {
    let stage = Stage::new();
    let a = stage.path("a");
    fs::write(&a, b"long content").unwrap();
    let open = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&a)
        .unwrap();
    assert_eq!(open.metadata().unwrap().len(), 0);
    let new = OpenOptions::new().write(true).create_new(true).open(&a);
    assert_eq!(errno(new), libc::EEXIST);
    drop(open);
    let long = stage.path("n".repeat(256));
    assert_eq!(errno(fs::write(long, b"")), libc::ENAMETOOLONG);
    fs::write(stage.path("n".repeat(255)), b"").unwrap();
    stage.end();
}

#[test]
fn renames_exchange_and_refuse_to_replace() {
    let stage = Stage::new();
    let root = File::open(stage.path("")).unwrap();
    fs::write(stage.path("a"), b"a").unwrap();
    fs::write(stage.path("b"), b"b").unwrap();
    let rename = |flags| renameat2(&root, "a", &root, "b", flags).map_err(std::io::Error::from);
    assert_eq!(errno(rename(RenameFlags::RENAME_NOREPLACE)), libc::EEXIST);
    assert_eq!(errno(rename(RenameFlags::RENAME_WHITEOUT)), libc::EINVAL);
    rename(RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!(fs::read(stage.path("a")).unwrap(), b"b");
    assert_eq!(fs::read(stage.path("b")).unwrap(), b"a");
    drop(root);
    stage.end();
}

#[test]
fn special_files_keep_their_kind_and_number() {
    let stage = Stage::new();
    let device = libc::makedev(250, 70_000);
    let rw = Mode::S_IRUSR | Mode::S_IWUSR;
    mknod(&stage.path("fifo"), SFlag::S_IFIFO, rw, 0).unwrap();
    mknod(&stage.path("block"), SFlag::S_IFBLK, rw, device).unwrap();
    mknod(&stage.path("char"), SFlag::S_IFCHR, rw, device).unwrap();
    mknod(&stage.path("file"), SFlag::S_IFREG, rw, 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(stage.path("socket")).unwrap();
    std::os::unix::fs::symlink("a target", stage.path("link")).unwrap();
    let meta = |name| fs::symlink_metadata(stage.path(name)).unwrap();
    assert!(meta("fifo").file_type().is_fifo());
    assert!(meta("block").file_type().is_block_device() && meta("block").rdev() == device);
    assert!(meta("char").file_type().is_char_device() && meta("char").rdev() == device);
    assert!(meta("socket").file_type().is_socket() && meta("file").is_file());
    assert_eq!(
        fs::read_link(stage.path("link")).unwrap().as_os_str(),
        "a target"
    );
    assert_eq!(meta("link").len(), 8);
    drop(socket);
    stage.end();
}

#[test]
fn large_directories_list_every_name_once_also_while_they_shrink() {
    let stage = Stage::new();
    let names: BTreeSet<String> = (0..1500)
        .map(|n| format!("{n}-{}", "x".repeat(n % 250)))
        .collect();
    for name in &names {
        File::create(stage.path(name)).unwrap();
    }
    let list = || -> Vec<String> {
        let entries = fs::read_dir(stage.path("")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    for _ in 0..2 {
        let listed = list();
        assert_eq!(listed.len(), names.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
    }
    for entry in fs::read_dir(stage.path("")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(list().is_empty());
    stage.end();
}

#[test]
fn holes_are_found_made_and_filled() {
    const MIB: u64 = 1 << 20;
    let stage = Stage::new();
    let options = &mut OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .open(stage.path("a"))
        .unwrap();
    file.write_all_at(&[7; 4096], 4 * MIB).unwrap();
    let seek = |from: u64, what| lseek(file.as_fd(), from.cast_signed(), what);
    assert_eq!(seek(0, Whence::SeekData), Ok((4 * MIB).cast_signed()));
    assert_eq!(
        seek(4 * MIB, Whence::SeekHole),
        Ok((4 * MIB + 4096).cast_signed())
    );
    assert_eq!(
        seek(5 * MIB, Whence::SeekData),
        Err(nix::errno::Errno::ENXIO)
    );

    let allocate = |mode, from: u64, len: u64| {
        fallocate(file.as_fd(), mode, from.cast_signed(), len.cast_signed())
    };
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep;
    allocate(keep, 8 * MIB, MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4 * MIB + 4096);
    allocate(FallocateFlags::empty(), 4 * MIB, 2 * MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6 * MIB);
    let mut bytes = [1; 4096];
    file.read_exact_at(&mut bytes, 4 * MIB).unwrap();
    assert_eq!(bytes, [7; 4096]);
    allocate(punch, 4 * MIB, 4096).unwrap();
    file.read_exact_at(&mut bytes, 4 * MIB).unwrap();
    assert_eq!(bytes, [0; 4096]);
    file.write_all_at(&[9; 4096], 0).unwrap();
    allocate(FallocateFlags::FALLOC_FL_ZERO_RANGE, 0, 4096).unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [0; 4096]);
    let collapse = allocate(FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(nix::errno::Errno::EOPNOTSUPP));
    drop(file);
    stage.end();
}

#[test]
fn ranges_are_copied_by_the_volume_and_large_ones_in_steps() {
    const LEN: usize = 40 << 20;
    let copies = Arc::new(AtomicUsize::new(0));
    let watch = {
        let copies = Arc::clone(&copies);
        move |what| {
            if what == "copy_range" {
                copies.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let stage = Stage::serving(Arc::new(Watched {
        inner: ModelFs::default(),
        watch,
    }));
    let bytes: Vec<u8> = (0..LEN).map(|n| (n / 4093) as u8).collect();
    fs::write(stage.path("a"), &bytes).unwrap();
    // copy(3) of the standard library asks the kernel to copy.
    assert_eq!(
        fs::copy(stage.path("a"), stage.path("b")).unwrap(),
        LEN as u64
    );
    assert!(fs::read(stage.path("b")).unwrap() == bytes);
    assert!(copies.load(Ordering::SeqCst) >= 3);
    stage.end();
}

#[test]
fn direct_io_and_the_page_cache_agree() {
    let stage = Stage::new();
    let path = stage.path("a");
    fs::write(&path, vec![1; 3 << 20]).unwrap();
    let mut options = OpenOptions::new();
    let direct = options
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap();
    let cached = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    direct.write_all_at(&[2; 8192], 4096).unwrap();
    let mut bytes = [0; 8192];
    cached.read_exact_at(&mut bytes, 4096).unwrap();
    assert_eq!(bytes, [2; 8192]);
    cached.write_all_at(&[3; 8192], 1 << 20).unwrap();
    direct.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes, [3; 8192]);
    let mut all = vec![0; 3 << 20];
    direct.read_exact_at(&mut all, 0).unwrap();
    assert!(
        all[..4096]
            .iter()
            .chain(&all[(1 << 20) + 8192..])
            .all(|b| *b == 1)
    );
    drop((direct, cached));
    stage.end();
}

#[test]
fn a_shared_mapping_writes_and_sees_writes() {
    let stage = Stage::new();
    let options = &mut OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .open(stage.path("a"))
        .unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_all_at(b"before", 70_000).unwrap();
    {
        let mut mapping = Mapping::shared(&file, 1 << 20);
        assert_eq!(&mapping.bytes()[70_000..70_006], b"before");
        mapping.bytes()[200_000..200_005].copy_from_slice(b"after");
        file.write_all_at(b"beyond", 70_000).unwrap();
        assert_eq!(&mapping.bytes()[70_000..70_006], b"beyond");
        mapping.sync();
    }
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 200_000).unwrap();
    assert_eq!(&bytes, b"after");
    drop(file);
    stage.end();
}

/// A shared mapping of a file.
struct Mapping {
    start: std::ptr::NonNull<std::ffi::c_void>,
    len: usize,
}

#[allow(unsafe_code, reason = "mapping memory")]
impl Mapping {
    fn shared(file: &File, len: usize) -> Self {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let size = std::num::NonZeroUsize::new(len).unwrap();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file, 0) }.unwrap();
        Self { start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable, `len` long, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast().as_ptr(), self.len) }
    }

    fn sync(&self) {
        use nix::sys::mman::{MsFlags, msync};
        // SAFETY: the range is this mapping.
        unsafe { msync(self.start, self.len, MsFlags::MS_SYNC) }.unwrap();
    }
}

#[allow(unsafe_code, reason = "unmapping memory")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, which nothing borrows any more.
        unsafe { nix::sys::mman::munmap(self.start, self.len) }.unwrap();
    }
}

#[test]
fn a_running_program_is_not_emptied() {
    let stage = Stage::new();
    let program = stage.path("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let whole = fs::metadata(&program).unwrap().len();
    let mut running = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let truncate = |flags| {
        let mode = Mode::empty();
        open(&program, flags | OFlag::O_TRUNC, mode).map_err(std::io::Error::from)
    };
    let outcomes =
        [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR].map(|flags| errno(truncate(flags)));
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(outcomes, [libc::ETXTBSY; 3]);
    assert_eq!(fs::metadata(&program).unwrap().len(), whole);
    stage.end();
}

#[test]
fn a_program_kept_in_the_mount_runs() {
    let stage = Stage::new();
    let program = stage.path("true");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(super::run([program.as_os_str()]).status.success());
    stage.end();
}

#[test]
fn a_file_too_large_for_a_request_is_written_and_read_whole() {
    let stage = Stage::new();
    let bytes: Vec<u8> = (0..9_000_001_u32).map(|n| (n / 7) as u8).collect();
    let mut file = File::create_new(stage.path("a")).unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);
    let mut file = File::open(stage.path("a")).unwrap();
    file.seek(SeekFrom::Start(1)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == bytes[1..]);
    drop(file);
    stage.end();
}
