//! A share that may only be read, and whoever is told of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::{Access, At, Change, Changes, Noticed, ShareNumber, What};
use keyfold_fs::vfs::{
    Allocate, FileKind, FileRange, NewNode, OpenMode, SetAttr, Timestamp, Vfs, XattrMode,
};

use crate::site::{CALLER, RW, Site, at};

#[test]
fn a_share_that_may_only_be_read_refuses_every_change_and_takes_those_of_others() {
    let site = Site::shared();
    let (r, v) = (site.root, site.v());
    let dir = site.mkdir(r, "d");
    let file = site.file(r, "f", b"as it was");
    let open = site.open(file, RW);
    site.marks();
    v.set_share_access(site.share, Access::ReadOnly);
    let range = FileRange {
        ino: file,
        handle: open,
        offset: 0,
    };
    let writing = OpenMode {
        read: true,
        write: true,
        ..OpenMode::default()
    };
    let truncating = OpenMode {
        truncate: true,
        ..writing
    };
    let size = SetAttr {
        size: Some(1),
        ..SetAttr::default()
    };
    let perm = SetAttr {
        perm: Some(0o700),
        ..SetAttr::default()
    };
    let fifo = NewNode {
        kind: FileKind::Fifo,
        perm: 0o600,
        rdev: 0,
    };
    let tried: Vec<(&str, FsResult<()>)> = vec![
        ("open", v.open(file, writing).map(drop)),
        ("truncate", v.open(file, truncating).map(drop)),
        ("write", v.write(range, b"x").map(drop)),
        ("allocate", v.fallocate(range, 9000, Allocate::Extend)),
        ("punch", v.fallocate(range, 4, Allocate::PunchHole)),
        ("resize", v.setattr(file, None, &size).map(drop)),
        ("chmod", v.setattr(file, None, &perm).map(drop)),
        ("xattr", v.setxattr(file, b"user.x", b"1", XattrMode::Set)),
        ("create", v.create(&CALLER, at(r, "n"), 0o644, RW).map(drop)),
        ("mkdir", v.mkdir(&CALLER, at(r, "n"), 0o755).map(drop)),
        ("symlink", v.symlink(&CALLER, at(r, "n"), b"f").map(drop)),
        ("mknod", v.mknod(&CALLER, at(r, "n"), fifo).map(drop)),
        ("link", v.link(file, at(dir, "n")).map(drop)),
        ("unlink", v.unlink(at(r, "f"))),
        ("rmdir", v.rmdir(at(r, "d"))),
        ("rename", site.rename((r, "f"), (dir, "n"))),
        ("exchange", site.exchange((r, "f"), (r, "d"))),
    ];
    for (what, result) in tried {
        assert_eq!(result, Err(FsError::ReadOnly), "{what}");
    }
    assert!(
        site.marks().is_empty(),
        "a change that was refused is marked"
    );
    let mut data = [0; 9];
    assert_eq!(v.read(range, &mut data), Ok(9));
    assert_eq!(&data, b"as it was");

    let make = Change::Make {
        at: At {
            parent: keyfold_fs::share::NodeId::ROOT,
            name: b"theirs".to_vec(),
        },
        node: keyfold_fs::share::NodeId([7; 16]),
        what: What::Directory,
        perm: 0o700,
        mtime: Timestamp::default(),
    };
    let changes = Changes {
        list: vec![make],
        ..Changes::default()
    };
    v.apply_to_share(site.share, &changes).unwrap();
    assert!(v.lookup(at(r, "theirs")).is_ok());

    // What lies outside is not concerned, and the share's directory can be moved.
    site.file(keyfold_fs::vfs::Ino::ROOT, "outside", b"x");
    v.set_share_access(site.share, Access::Full);
    assert_eq!(v.write(range, b"is"), Ok(2));
    site.close(file, open);
    site.check();
}

#[derive(Default)]
struct Count(AtomicU64);

impl Noticed for Count {
    fn marked(&self, _: ShareNumber) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whoever_syncs_is_told_of_a_change_once_until_he_looks_and_of_the_last_close() {
    let site = Site::shared();
    let v = site.v();
    let count = Arc::new(Count::default());
    v.set_noticed(Some(Arc::clone(&count) as Arc<_>));
    let told = || count.0.swap(0, Ordering::Relaxed);
    let file = site.file(site.root, "f", b"");
    assert!(told() > 0);
    let (one, other) = (site.open(file, RW), site.open(file, RW));
    let write = |data| site.write(file, one, 0, data).unwrap();
    site.marks();
    write(b"one");
    assert_eq!(told(), 1);
    write(b"two");
    assert_eq!(told(), 0);
    assert!(v.pending_marks(site.share).unwrap() > 0);
    site.marks();
    write(b"three");
    assert_eq!(told(), 1);

    // A file that is being written to is not settled until its last writer is gone.
    assert!(!v.has_settled_marks(site.share).unwrap());
    site.close(file, other);
    assert_eq!(told(), 0);
    assert!(!v.has_settled_marks(site.share).unwrap());
    site.close(file, one);
    assert_eq!(told(), 1);
    assert!(v.has_settled_marks(site.share).unwrap());

    site.file(keyfold_fs::vfs::Ino::ROOT, "outside", b"x");
    assert_eq!(told(), 0);
    v.set_noticed(None);
    site.overwrite(file, 0, b"four");
    assert_eq!(told(), 0);
}

#[test]
fn a_directory_says_where_it_is_also_after_it_moved() {
    let site = Site::shared();
    let v = site.v();
    let root = keyfold_fs::vfs::Ino::ROOT;
    assert_eq!(v.path_of_directory(root).unwrap(), b"");
    let dir = site.mkdir(root, "a");
    let inner = site.mkdir(dir, "b");
    for n in 0..600 {
        site.mkdir(dir, &format!("other {n}"));
    }
    let last = site.mkdir(dir, "last");
    assert_eq!(v.path_of_directory(inner).unwrap(), b"a/b");
    assert_eq!(v.path_of_directory(last).unwrap(), b"a/last");
    site.rename((dir, "b"), (root, "c")).unwrap();
    assert_eq!(v.path_of_directory(inner).unwrap(), b"c");
    let file = site.file(root, "f", b"");
    assert!(v.path_of_directory(file).is_err());
    v.rmdir(at(root, "c")).unwrap();
    assert!(v.path_of_directory(inner).is_err());
}
