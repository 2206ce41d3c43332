//! The state hash, from nothing but the document of the format.

use keyfold_crypto::{StateHash, StateHashKey};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// Names and key columns of the tables, in the order of their numbers.
const TABLES: [(&str, &[&str]); 20] = [
    ("inode", &["ino"]),
    ("content", &["ino"]),
    ("dentry", &["parent", "name"]),
    ("xattr", &["ino", "name"]),
    ("file_key", &["ino", "idx"]),
    ("leaf", &["id"]),
    ("block", &["id"]),
    ("segment", &["id"]),
    ("run_owner", &["segment", "slot"]),
    ("freed", &["segment", "slot"]),
    ("orphan", &["ino"]),
    ("trim", &["map"]),
    ("image", &["id"]),
    ("held", &["image", "segment"]),
    ("share", &["id"]),
    ("share_node", &["share", "node"]),
    ("outbox", &["share", "seq"]),
    ("blob", &["share", "blob"]),
    ("leaf_hash", &["id"]),
    ("account", &["id"]),
];

/// The sum over all rows.
pub(crate) fn state_hash(db: &Connection, key: &StateHashKey) -> [u8; 32] {
    let mut sum = StateHash::default();
    for ((table, columns), number) in TABLES.iter().zip(1..) {
        let sql = format!("SELECT v, {} FROM {table}", columns.join(", "));
        let mut statement = db.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut bytes = Vec::new();
            for column in 1..=columns.len() {
                match row.get_ref(column).unwrap() {
                    ValueRef::Integer(n) => bytes.extend_from_slice(&n.to_le_bytes()),
                    ValueRef::Blob(b) => bytes.extend_from_slice(b),
                    other => panic!("a key of {table} is {other:?}"),
                }
            }
            let value = row.get_ref(0).unwrap().as_blob().unwrap();
            sum.add(&key.row(number, &bytes, value));
        }
    }
    sum.to_bytes()
}
