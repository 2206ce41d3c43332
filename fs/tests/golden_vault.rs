//! A vault written by format version 1 opens with every later build, and reads the same.
//!
//! The vault lies in `golden/vault-1`. It is made once, by the ignored test at the end; making it
//! anew would prove nothing about vaults that people have.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfold_crypto::{Password, RecoveryKey, Rounds};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::{
    Caller, FileKind, FileRange, Ino, Name, NewNode, OpenMode, Place, SetAttr, SetTime, Timestamp,
    Vfs, XattrMode,
};
use keyfold_fs::volume::{Volume, VolumeOptions};

const CALLER: Caller = Caller {
    uid: 1000,
    gid: 1000,
    umask: 0o022,
};
const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};
const EARLY: Timestamp = Timestamp {
    secs: -86_401,
    nanos: 999_999_999,
};
const LATE: Timestamp = Timestamp {
    secs: 4_102_444_800,
    nanos: 1,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vault-1")
}

fn password() -> Password {
    Password::new("golden vault 1".to_owned())
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy that the test may change; folders that version control leaves out are made.
fn copied(to: &Path) -> PathBuf {
    let vault = to.join("vault");
    copy_tree(&golden().join("vault"), &vault);
    for folder in ["segments", "images"] {
        fs::create_dir_all(vault.join(folder)).unwrap();
    }
    vault
}

fn at(parent: Ino, name: &str) -> Place<'_> {
    Place {
        parent,
        name: Name::new(name.as_bytes()).unwrap(),
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn read(volume: &Volume, ino: Ino) -> Vec<u8> {
    let handle = volume
        .open(
            ino,
            OpenMode {
                read: true,
                ..OpenMode::default()
            },
        )
        .unwrap();
    let size = volume.getattr(ino).unwrap().size as usize;
    let (mut bulk, mut reference) = (vec![0; size], vec![0; size]);
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    assert_eq!(volume.read(range, &mut bulk).unwrap(), size);
    assert_eq!(volume.read_reference(range, &mut reference).unwrap(), size);
    assert_eq!(bulk, reference, "both ciphers read the same");
    volume.release(ino, handle);
    bulk
}

fn assert_golden(volume: &Volume) {
    let look = |parent, name| volume.lookup(at(parent, name)).unwrap().attr;
    let small = look(Ino::ROOT, "small.txt");
    assert_eq!((small.perm, small.uid, small.nlink), (0o640, 1000, 2));
    assert_eq!((small.mtime, small.atime), (EARLY, LATE));
    assert_eq!(read(volume, small.ino), content(100));
    let folder = look(Ino::ROOT, "folder");
    assert_eq!((folder.kind, folder.nlink), (FileKind::Directory, 2));
    assert_eq!(look(folder.ino, "hard link").ino, small.ino);
    let big = look(folder.ino, "big.bin");
    assert_eq!(read(volume, big.ino), content(300_001));
    let sparse = look(folder.ino, "sparse");
    assert_eq!((sparse.size, sparse.blocks), (10 << 20, 8));
    let data = read(volume, sparse.ino);
    assert!(data[..5 << 20].iter().all(|b| *b == 0));
    assert_eq!(data[5 << 20..(5 << 20) + 4096], content(4096));
    assert_eq!(
        volume.readlink(look(folder.ino, "link").ino).unwrap(),
        b"../small.txt"
    );
    assert_eq!(look(folder.ino, "pipe").kind, FileKind::Fifo);
    assert_eq!(
        volume.getxattr(small.ino, b"user.colour").unwrap(),
        b"green"
    );
    let long = "n".repeat(255);
    assert_eq!(look(Ino::ROOT, &long).size, 0);
}

fn open(path: &Path, access: Access, secret: &Secret) -> Arc<Volume> {
    let vault = LockedVault::open(path, access)
        .unwrap()
        .unlock(secret)
        .unwrap();
    Volume::open(vault, VolumeOptions::default()).unwrap()
}

#[test]
fn golden_vault_of_version_1_opens_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let volume = open(
        &copied(dir.path()),
        Access::ReadOnly,
        &Secret::Password(password()),
    );
    assert_golden(&volume);
    volume.close().unwrap();
}

#[test]
fn golden_vault_of_version_1_takes_changes_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = copied(dir.path());
    let volume = open(&path, Access::ReadWrite, &Secret::Password(password()));
    assert_golden(&volume);
    let (entry, handle) = volume
        .create(&CALLER, at(Ino::ROOT, "new"), 0o600, RW)
        .unwrap();
    let range = FileRange {
        ino: entry.attr.ino,
        handle,
        offset: 0,
    };
    volume.write(range, b"written later").unwrap();
    volume.close().unwrap();
    drop(volume);
    let words = fs::read_to_string(golden().join("recovery-key.txt")).unwrap();
    let recovery = Secret::Recovery(RecoveryKey::parse(words.trim()).unwrap());
    let volume = open(&path, Access::ReadWrite, &recovery);
    assert_golden(&volume);
    let new = volume.lookup(at(Ino::ROOT, "new")).unwrap().attr.ino;
    assert_eq!(read(&volume, new), b"written later");
    volume.close().unwrap();
}

#[test]
#[ignore = "makes the golden vault, once per format version"]
fn make_golden_vault() {
    let path = golden().join("vault");
    fs::create_dir_all(golden()).unwrap();
    let cost = KdfCost::Fixed(Rounds::new(600_000).unwrap());
    let options = CreateOptions {
        password: password(),
        cost,
    };
    let format = |v: &UnlockedVault| -> Result<(), VaultError> {
        Volume::format(v).unwrap();
        Ok(())
    };
    let (vault, recovery) = UnlockedVault::create(&path, &options, format).unwrap();
    fs::write(
        golden().join("recovery-key.txt"),
        recovery.to_words().as_str(),
    )
    .unwrap();
    let volume = Volume::open(vault, VolumeOptions::default()).unwrap();
    fill(&volume);
    volume.close().unwrap();
    drop(fs::remove_file(path.join("reserve")));
}

fn fill(v: &Volume) {
    let put = |parent, name, data: &[u8], offset| {
        let (entry, handle) = v.create(&CALLER, at(parent, name), 0o640, RW).unwrap();
        let ino = entry.attr.ino;
        if !data.is_empty() {
            v.write(
                FileRange {
                    ino,
                    handle,
                    offset,
                },
                data,
            )
            .unwrap();
        }
        v.release(ino, handle);
        ino
    };
    let small = put(Ino::ROOT, "small.txt", &content(100), 0);
    let folder = v
        .mkdir(&CALLER, at(Ino::ROOT, "folder"), 0o755)
        .unwrap()
        .attr
        .ino;
    v.link(small, at(folder, "hard link")).unwrap();
    put(folder, "big.bin", &content(300_001), 0);
    let sparse = put(folder, "sparse", &content(4096), 5 << 20);
    let size = SetAttr {
        size: Some(10 << 20),
        ..SetAttr::default()
    };
    v.setattr(sparse, None, &size).unwrap();
    v.symlink(&CALLER, at(folder, "link"), b"../small.txt")
        .unwrap();
    let pipe = NewNode {
        kind: FileKind::Fifo,
        perm: 0o600,
        rdev: 0,
    };
    v.mknod(&CALLER, at(folder, "pipe"), pipe).unwrap();
    v.setxattr(small, b"user.colour", b"green", XattrMode::Create)
        .unwrap();
    put(Ino::ROOT, &"n".repeat(255), &[], 0);
    let times = SetAttr {
        mtime: Some(SetTime::At(EARLY)),
        atime: Some(SetTime::At(LATE)),
        ..SetAttr::default()
    };
    v.setattr(small, None, &times).unwrap();
}
