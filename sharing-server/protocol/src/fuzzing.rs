//! What fuzzing drives: every decoder of bytes that a server or another member may have written.
//!
//! Each target takes any bytes and panics when something holds that must not: a decoder that accepts
//! what its encoder would not write, or that panics itself.

use crate::account::{AccountBook, AccountRoot, Address, Kit};
use crate::act::Act;
use crate::cbor::Encoded;
use crate::chain::{KeyChain, SignedEntry};
use crate::exchange::{Append, Pulled};
use crate::grant::Grant;
use crate::ids::{ChainRoot, ShareId};
use crate::log::{Log, Own};
use crate::operation::ContentBody;
use crate::pack::{PackKey, unpack};
use crate::publication::Publication;
use crate::receipt::Receipt;
use crate::record::Record;
use crate::request::{Decision, Request};
use crate::roster::RosterBody;
use crate::signed::Signed;
use crate::snapshot::SnapshotBody;
use crate::tree::Tree;
use crate::wire;

/// A target: what it is called, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: [Target; 13] = [
    ("record", record),
    ("pulled", pulled),
    ("append", |bytes| same::<Append>(bytes)),
    ("roster-body", |bytes| same::<RosterBody>(bytes)),
    ("content-body", |bytes| same::<ContentBody>(bytes)),
    ("snapshot-body", |bytes| same::<SnapshotBody>(bytes)),
    ("tree", |bytes| same::<Tree>(bytes)),
    ("key-chain", key_chain),
    ("grant", |bytes| same::<Grant>(bytes)),
    ("statement", statement),
    ("pack", pack),
    ("account", account),
    ("json", json),
];

/// What decodes is what encodes, to the byte.
fn same<T: Encoded>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert!(value.encode() == bytes, "accepted, and written otherwise");
    }
}

fn record(bytes: &[u8]) {
    same::<Record>(bytes);
    if let Ok(record) = Record::decode(bytes) {
        let mut log = Log::new(nobody(), record.header.hash().share());
        let _ = log.apply(&record, None);
        assert!(record.without_body().header == record.header);
    }
}

/// A whole log by somebody's server, applied.
fn pulled(bytes: &[u8]) {
    same::<Pulled>(bytes);
    let Ok(pulled) = Pulled::decode(bytes) else {
        return;
    };
    let first = pulled.records.first();
    let share = first.map_or(ShareId([0; 32]), |first| first.record.header.hash().share());
    let mut log = Log::new(nobody(), share);
    let _ = log.absorb(&pulled.records);
    for receipt in &pulled.receipts {
        let _ = log.check_receipt(receipt);
    }
}

fn nobody() -> Own {
    Own {
        user: "nobody".parse().expect("a user name"),
        root: ChainRoot([0; 32]),
        keys: std::collections::BTreeMap::new(),
    }
}

/// Entries, each after its length (u16 LE).
fn key_chain(mut bytes: &[u8]) {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length));
        let Some((entry, rest)) = rest.split_at_checked(length) else {
            return;
        };
        same::<SignedEntry>(entry);
        let Ok(entry) = SignedEntry::decode(entry) else {
            return;
        };
        entries.push(entry);
        bytes = rest;
    }
    if let Ok(chain) = KeyChain::verify(&entries) {
        assert!(chain.entries().len() == entries.len());
    }
}

/// The first byte says which statement the others are.
fn statement(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 5 {
        0 => same::<Signed<Publication>>(bytes),
        1 => same::<Signed<Request>>(bytes),
        2 => same::<Signed<Decision>>(bytes),
        3 => same::<Signed<Receipt>>(bytes),
        _ => same::<Signed<Act>>(bytes),
    }
}

fn pack(bytes: &[u8]) {
    let key = PackKey::from_bytes([1; 32]);
    if let Ok(blocks) = unpack(&key, bytes) {
        assert!(!blocks.is_empty());
    }
}

/// The first byte says what the others are: a sealed structure opened, or text that people type.
fn account(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    match which % 4 {
        0 => same::<AccountRoot>(bytes),
        1 => same::<AccountBook>(bytes),
        2 => {
            if let Ok(address) = text.parse::<Address>() {
                let again = address.to_string().parse::<Address>();
                assert!(again == Ok(address), "an address is read as it is written");
            }
        }
        _ => {
            if let Ok(kit) = Kit::parse(&text) {
                let again = Kit::parse(&kit.to_text()).map(|kit| kit.to_text());
                assert!(again == Ok(kit.to_text()), "a kit is read as it is written");
            }
        }
    }
}

/// The first byte says which request in JSON the others are.
fn json(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 6 {
        0 => same_json::<wire::Register>(bytes),
        1 => same_json::<wire::Login>(bytes),
        2 => same_json::<wire::SetPassword>(bytes),
        3 => same_json::<wire::AppendChain>(bytes),
        4 => same_json::<wire::BlobList>(bytes),
        _ => same_json::<wire::AdminSetUser>(bytes),
    }
}

fn same_json<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::to_vec(&value).map(|bytes| serde_json::from_slice::<T>(&bytes));
        assert!(matches!(again, Ok(Ok(again)) if again == value));
    }
}
