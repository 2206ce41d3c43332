//! Attack 19, as far as it concerns a local vault: rows that no Keyfold writes, by somebody who has
//! the key. Whatever they say, nothing is read or written outside, and nothing panics or hangs.

use keyfold_fs::error::FsError;
use keyfold_fs::export::{self, Source};
use keyfold_fs::layout::{DentryRow, InodeRow};
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{Cookie, FileKind, Ino, Listing, Vfs};
use keyfold_fs::volume::{Verify, Volume};
use rusqlite::Connection;

use crate::site::{How, READING, Site};

/// Changes the database as somebody who has its key could.
fn edit(site: &Site, change: impl FnOnce(&Connection)) {
    let vault = site.unlock(&site.recovery(), READING).unwrap();
    let key = data_encoding::HEXLOWER.encode(vault.master().meta_db_key().expose());
    let db = Connection::open(site.vault().join("meta.db")).unwrap();
    let settings = format!(
        "PRAGMA key = \"x'{key}'\"; PRAGMA cipher_page_size = 4096; \
         PRAGMA cipher_hmac_algorithm = HMAC_SHA256;"
    );
    db.execute_batch(&settings).unwrap();
    change(&db);
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
}

/// Gives an entry of the root another name.
fn rename(site: &Site, to: &[u8]) {
    edit(site, |db| {
        let sql = "UPDATE dentry SET name = ?1 WHERE name = CAST('other' AS BLOB)";
        assert_eq!(db.execute(sql, [to]).unwrap(), 1);
    });
}

/// Opens it believing everything, as the state hash would have told.
fn open(site: &Site, access: Access) -> std::sync::Arc<Volume> {
    let how = How {
        access,
        verify: Verify::Never,
        ..READING
    };
    site.open(how).unwrap()
}

fn export_to(site: &Site, volume: &Volume, name: &str) -> export::Report {
    let to = site.path(name).join("deep");
    std::fs::create_dir_all(&to).unwrap();
    let source = Source {
        vfs: volume,
        read: &mut |at, buf| volume.read_reference(at, buf),
    };
    export::export(source, Ino::ROOT, &to, &mut |_| {}).unwrap()
}

#[test]
fn a_name_that_leads_elsewhere_leads_nowhere() {
    for name in [
        &b"../outside"[..],
        b"..",
        b".",
        b"/tmp/outside",
        b"",
        b"a/b",
        b"a\0b",
    ] {
        let site = Site::with_files();
        rename(&site, name);
        assert!(site.open(READING).is_err(), "the state hash tells");
        let volume = open(&site, Access::ReadOnly);
        let report = export_to(&site, &volume, "out");
        // The two that every listing has are nobody's entries.
        let skipped = matches!(name, b"." | b"..");
        assert!(report.left_out > 0 || skipped, "{name:?}");
        assert!(!site.path("out/outside").exists(), "{name:?}");
        let beside = std::fs::read_dir(site.path("out")).unwrap().count();
        assert_eq!(beside, 1, "{name:?} reached outside the destination");
    }
}

#[test]
fn a_directory_within_itself_is_walked_to_an_end() {
    let site = Site::with_files();
    edit(&site, |db| {
        let sql = "SELECT v FROM dentry WHERE name = CAST('docs' AS BLOB)";
        let docs: Vec<u8> = db.query_row(sql, [], |r| r.get(0)).unwrap();
        let docs = DentryRow::decode(&docs).unwrap();
        let again = DentryRow { cookie: 50, ..docs };
        let sql =
            "INSERT INTO dentry(parent, name, cookie, v) VALUES(?1, CAST('loop' AS BLOB), 50, ?2)";
        db.execute(sql, (docs.child.0 as i64, &*again.encode()))
            .unwrap();
        let of = format!("SELECT v FROM inode WHERE ino = {}", docs.child);
        let row: Vec<u8> = db.query_row(&of, [], |r| r.get(0)).unwrap();
        let mut row = InodeRow::decode(&row).unwrap();
        let dir = row.dir_mut().unwrap();
        dir.next_cookie = 100;
        dir.entries += 1;
        let put = format!("UPDATE inode SET v = ?1 WHERE ino = {}", docs.child);
        db.execute(&put, [&*row.encode()]).unwrap();
    });
    let volume = open(&site, Access::ReadOnly);
    // The names are longer than a path may be before long, or it would not end.
    let report = export_to(&site, &volume, "out");
    assert!(report.left_out > 0, "{report:?}");
}

#[test]
fn an_entry_that_says_another_kind_than_its_inode_does_no_harm() {
    for kind in [
        FileKind::Directory,
        FileKind::Symlink,
        FileKind::BlockDevice,
    ] {
        let site = Site::with_files();
        edit(&site, |db| {
            let sql = "SELECT v FROM dentry WHERE name = CAST('other' AS BLOB)";
            let row: Vec<u8> = db.query_row(sql, [], |r| r.get(0)).unwrap();
            let row = DentryRow {
                kind,
                ..DentryRow::decode(&row).unwrap()
            };
            let sql = "UPDATE dentry SET v = ?1 WHERE name = CAST('other' AS BLOB)";
            db.execute(sql, [&*row.encode()]).unwrap();
        });
        let volume = open(&site, Access::ReadWrite);
        let entry = volume.lookup(crate::site::at(Ino::ROOT, "other")).unwrap();
        assert_eq!(entry.attr.kind, FileKind::Regular);
        volume.close().unwrap();
    }
}

#[test]
fn rows_that_cannot_be_read_are_errors_and_events() {
    for table in ["inode", "dentry", "content", "leaf", "file_key", "xattr"] {
        let site = Site::with_files();
        edit(&site, |db| {
            let rows = db.execute(&format!("UPDATE {table} SET v = x'ff00ff'"), []);
            assert!(rows.unwrap() > 0);
        });
        let volume = open(&site, Access::ReadOnly);
        let root = volume.getattr(Ino::ROOT);
        if table == "inode" {
            assert_eq!(root, Err(FsError::Inconsistent(Ino::ROOT)));
        }
        let tree = crate::tree::read(&volume);
        let failed = tree.values().filter(|object| object.is_err()).count();
        if table != "xattr" {
            assert!(failed > 0, "{table}: {tree:?}");
            assert!(volume.status().security_events > 0, "{table}");
        }
    }
}

#[test]
fn a_listing_that_never_ends_is_cut_by_its_caller() {
    let site = Site::with_files();
    edit(&site, |db| {
        // Entries whose cookies all lie at the far end.
        db.execute(
            "UPDATE dentry SET cookie = cookie + 9223372036854775000",
            [],
        )
        .unwrap();
    });
    let volume = open(&site, Access::ReadOnly);
    let handle = volume.opendir(Ino::ROOT).unwrap();
    let mut entries = 0;
    let listed = volume.readdir(handle, Cookie::START, &mut |_| {
        entries += 1;
        Listing::Continue
    });
    assert!(
        listed.is_ok() && entries <= 10,
        "{listed:?}, {entries} entries"
    );
}
