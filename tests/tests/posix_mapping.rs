//! Files mapped into memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use keyfold_tests::{Mapping, Sharing, Vault, pattern, shell};

const LEN: usize = 1 << 20;

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn writes_through_a_shared_mapping_reach_the_file() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    let mut expected = pattern(1, LEN);
    fs::write(&path, &expected).unwrap();
    let mut mapping = Mapping::new(&open(&path), LEN, Sharing::Shared);
    assert_eq!(mapping.read(0, LEN), expected);
    for (seed, offset) in [(2, 0), (3, 4095), (4, 500_000), (5, LEN - 100)] {
        let change = pattern(seed, 100);
        mapping.write(offset, &change);
        expected[offset..offset + 100].copy_from_slice(&change);
    }
    assert_eq!(fs::read(&path).unwrap(), expected, "seen by read at once");
    mapping.sync();
    drop(mapping);
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(fs::read(mount.join("file")).unwrap(), expected, "kept");
}

#[test]
fn a_synced_mapping_is_there_after_a_kill() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    let file = open(&path);
    file.sync_all().unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    let mut mapping = Mapping::new(&file, LEN, Sharing::Shared);
    let change = pattern(9, 20_000);
    mapping.write(30_000, &change);
    mapping.sync();
    mount.kill9();
    drop((mapping, file));
    vault.detach();
    let mount = vault.mount();
    let read = fs::read(mount.join("file")).unwrap();
    assert_eq!(read[30_000..50_000], change);
}

#[test]
fn writes_through_a_private_mapping_stay_private() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    let content = pattern(1, LEN);
    fs::write(&path, &content).unwrap();
    let mut mapping = Mapping::new(&open(&path), LEN, Sharing::Private);
    mapping.write(1000, b"private");
    assert_eq!(mapping.read(1000, 7), b"private");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_mapping_sees_later_writes_and_truncation_reads_as_zeros() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    fs::write(&path, pattern(1, LEN)).unwrap();
    let file = open(&path);
    let mapping = Mapping::new(&file, LEN, Sharing::Shared);
    assert_eq!(mapping.read(0, 8), pattern(1, 8));
    file.write_all_at(b"NEWBYTES", 0).unwrap();
    assert_eq!(mapping.read(0, 8), b"NEWBYTES");
    file.set_len(100_000).unwrap();
    file.set_len(LEN as u64).unwrap();
    assert_eq!(mapping.read(200_000, 8), [0; 8], "what was cut off is gone");
    assert_eq!(
        mapping.read(100_000, 8),
        [0; 8],
        "the rest of the last page too"
    );
}

#[test]
fn a_program_runs_from_the_mount() {
    let vault = Vault::new();
    let mount = vault.mount();
    shell(
        mount.path(),
        "cp /bin/ls listing && ./listing listing | grep -qx listing",
    );
}
