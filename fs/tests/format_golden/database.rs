//! The database of a real volume, read with nothing but its key.

use std::fmt::Write;
use std::path::Path;

use keyfold_crypto::{MasterKey, Password, Rounds, StateHash};
use keyfold_fs::layout::StateRow;
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::{Caller, FileRange, Ino, Name, OpenMode, Place, Vfs, XattrMode};
use keyfold_fs::volume::{Volume, VolumeOptions};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::document::Section;

/// Number, name and key columns of each table that the state hash covers.
const TABLES: [(u8, &str, &str); 20] = [
    (1, "inode", "ino"),
    (2, "content", "ino"),
    (3, "dentry", "parent, name"),
    (4, "xattr", "ino, name"),
    (5, "file_key", "ino, idx"),
    (6, "leaf", "id"),
    (7, "block", "id"),
    (8, "segment", "id"),
    (9, "run_owner", "segment, slot"),
    (10, "freed", "segment, slot"),
    (11, "orphan", "ino"),
    (12, "trim", "map"),
    (13, "image", "id"),
    (14, "held", "image, segment"),
    (15, "share", "id"),
    (16, "share_node", "share, node"),
    (17, "outbox", "share, seq"),
    (18, "blob", "share, blob"),
    (19, "leaf_hash", "id"),
    (20, "account", "id"),
];

struct Failed(String);

impl From<VaultError> for Failed {
    fn from(e: VaultError) -> Self {
        Self(e.to_string())
    }
}

fn vault(path: &Path) -> UnlockedVault {
    let options = CreateOptions {
        password: Password::new("correct horse".to_owned()),
        cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap()),
    };
    let format = |v: &UnlockedVault| Volume::format(v).map_err(|e| Failed(e.to_string()));
    let made = UnlockedVault::create(path, &options, format);
    made.map_err(|Failed(e)| e).unwrap().0
}

fn database(vault: &Path, master: &MasterKey) -> Connection {
    let key = data_encoding::HEXLOWER.encode(master.meta_db_key().expose());
    let db = Connection::open(vault.join("meta.db")).unwrap();
    db.execute_batch(&format!(
        "PRAGMA key = \"x'{key}'\"; PRAGMA cipher_page_size = 4096; \
         PRAGMA cipher_hmac_algorithm = HMAC_SHA256;"
    ))
    .unwrap();
    db
}

pub(crate) fn sections() -> Vec<Section> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let vault = vault(&path);
    let db = database(&path, vault.master());
    vec![
        ("settings".to_owned(), settings(&db)),
        ("tables".to_owned(), tables(&db)),
        ("schema".to_owned(), schema(&db)),
    ]
}

fn settings(db: &Connection) -> String {
    let mut out = String::new();
    for pragma in [
        "page_size",
        "journal_mode",
        "user_version",
        "encoding",
        "auto_vacuum",
        "cipher_page_size",
        "cipher_hmac_algorithm",
        "cipher_use_hmac",
        "cipher_plaintext_header_size",
    ] {
        let value: String = db
            .query_row(&format!("PRAGMA {pragma}"), [], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Integer(n) => n.to_string(),
                    other => other.as_str()?.to_owned(),
                })
            })
            .unwrap();
        writeln!(out, "{pragma} = {value}").unwrap();
    }
    out
}

/// The tables by number, which the source of the engine and the database confirm.
fn tables(db: &Connection) -> String {
    let source = include_str!("../../src/meta/key.rs");
    let mut out = String::new();
    for (number, name, columns) in TABLES {
        let variant: String = name
            .split('_')
            .map(|word| word[..1].to_uppercase() + &word[1..])
            .collect();
        let line = format!("    {variant} = {number},\n");
        assert!(source.contains(&line), "the engine has no {line}");
        let selected = db.prepare(&format!("SELECT {columns}, v FROM {name}"));
        assert!(selected.is_ok(), "{name} has no {columns}");
        writeln!(out, "{number:>2}  {name:<10}  {columns}").unwrap();
    }
    out
}

fn schema(db: &Connection) -> String {
    let mut statement = db
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        .unwrap();
    let statements = statement.query_map([], |row| row.get::<_, String>(0));
    statements.unwrap().fold(String::new(), |mut out, sql| {
        writeln!(out, "{};", sql.unwrap()).unwrap();
        out
    })
}

/// Some of everything that has rows: names, attributes, contents in both places, what was freed.
fn use_volume(volume: &Volume) {
    let caller = Caller {
        uid: 0,
        gid: 0,
        umask: 0,
    };
    let rw = OpenMode {
        read: true,
        write: true,
        ..OpenMode::default()
    };
    let at = |name: &'static str| Place {
        parent: Ino::ROOT,
        name: Name::new(name.as_bytes()).unwrap(),
    };
    let write = |name, len: usize| {
        let (entry, handle) = volume.create(&caller, at(name), 0o600, rw).unwrap();
        let ino = entry.attr.ino;
        let range = FileRange {
            ino,
            handle,
            offset: 0,
        };
        volume.write(range, &vec![7; len]).unwrap();
        (ino, handle)
    };
    volume.mkdir(&caller, at("directory"), 0o700).unwrap();
    volume.symlink(&caller, at("link"), b"target").unwrap();
    write("large", 3_000_000);
    let (gone, _) = write("gone", 2_000_000);
    volume
        .setxattr(gone, b"user.name", b"value", XattrMode::Set)
        .unwrap();
    volume.sync().unwrap();
    // Still open: an inode without a name.
    volume.unlink(at("gone")).unwrap();
    let (ino, handle) = write("small", 100);
    volume.fsync(ino, handle).unwrap();
}

fn state_hash(db: &Connection, master: &MasterKey) -> ([u8; 32], Vec<&'static str>) {
    let key = master.state_hash_key();
    let mut hash = StateHash::default();
    let mut used = Vec::new();
    for (number, name, columns) in TABLES {
        let sql = format!("SELECT v, {columns} FROM {name}");
        let mut statement = db.prepare(&sql).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut key_bytes = Vec::new();
            for column in 1..width {
                match row.get_ref(column).unwrap() {
                    ValueRef::Integer(n) => key_bytes.extend(n.to_le_bytes()),
                    ValueRef::Blob(bytes) => key_bytes.extend(bytes),
                    other => panic!("a key column holds {other:?}"),
                }
            }
            let value: Vec<u8> = row.get(0).unwrap();
            hash.add(&key.row(number, &key_bytes, &value));
            used.push(name);
        }
    }
    used.dedup();
    (hash.to_bytes(), used)
}

#[test]
fn the_state_hash_is_over_the_tables_by_their_documented_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let volume = Volume::open(vault(&path), VolumeOptions::default()).unwrap();
    use_volume(&volume);
    volume.crash();
    drop(volume);
    // What small fsyncs left in the journal comes into the database by opening.
    let secret = Secret::Password(Password::new("correct horse".to_owned()));
    let locked = LockedVault::open(&path, Access::ReadWrite).unwrap();
    let volume = Volume::open(locked.unlock(&secret).unwrap(), VolumeOptions::default()).unwrap();
    volume.crash();
    let db = database(&path, volume.vault().master());
    let (hash, used) = state_hash(&db, volume.vault().master());
    let state: Vec<u8> = db
        .query_row("SELECT v FROM state WHERE id = 0", [], |row| row.get(0))
        .unwrap();
    assert_eq!(StateRow::decode(&state).unwrap().hash, hash);
    for table in [
        "inode",
        "content",
        "dentry",
        "xattr",
        "file_key",
        "leaf",
        "block",
        "segment",
        "run_owner",
        "orphan",
    ] {
        assert!(used.contains(&table), "no row of {table} was hashed");
    }
}

#[test]
fn the_database_shows_nothing_without_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    drop(vault(&path));
    let bytes = std::fs::read(path.join("meta.db")).unwrap();
    assert_eq!(bytes.len() % 4096, 0);
    for plain in [&b"SQLite format"[..], b"dentry", b"CREATE TABLE"] {
        let shows = bytes.windows(plain.len()).any(|w| w == plain);
        assert!(!shows, "plain text in the database");
    }
}
