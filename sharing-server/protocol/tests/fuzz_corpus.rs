//! The corpus of fuzzing, replayed: what was once found stays mended.
//!
//! `scripts/fuzz` finds more; `tests/fuzz/corpus` keeps what reaches something new, and every input
//! that ever failed.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::fuzzing::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut inputs: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap_or_else(|e| panic!("{target} has no corpus: {e}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn no_input_of_the_corpus_fails() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let done = panic::catch_unwind(|| target(&bytes));
            assert!(done.is_ok(), "{}", input.display());
        }
    }
}

/// Every input of every target, with bytes changed, cut and doubled in a fixed order.
#[test]
fn no_input_of_the_corpus_fails_when_it_is_mangled() {
    for (name, target) in TARGETS {
        for input in inputs(name) {
            let bytes = fs::read(&input).unwrap();
            let step = (bytes.len() / 48).max(1);
            for at in (0..bytes.len()).step_by(step) {
                let mut mangled = vec![bytes[..at].to_vec()];
                for value in [0, 0x18, 0x7f, 0x9f, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x20] {
                    let mut other = bytes.clone();
                    other[at] = value;
                    mangled.push(other);
                }
                mangled.push([&bytes[..at], &bytes[at / 2..]].concat());
                for other in mangled {
                    let done = panic::catch_unwind(|| target(&other));
                    assert!(done.is_ok(), "{name}: {}", HEXLOWER.encode(&other));
                }
            }
        }
    }
}

fn golden() -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/structures.json");
    let text = fs::read_to_string(path).unwrap();
    let map: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let unhex = |(name, hex): (String, String)| (name, HEXLOWER.decode(hex.as_bytes()).unwrap());
    map.into_iter().map(unhex).collect()
}

fn numbered(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number], bytes].concat()
}

fn json_seeds() -> Vec<Vec<u8>> {
    let key = "A".repeat(43);
    let kdf = format!(r#"{{"salt":"{key}","rounds":600000,"mac":"{key}"}}"#);
    let roots = r#"{"password":"AAAA","recovery":"AAAA"}"#;
    let device = "00".repeat(16);
    let register = format!(
        r#"{{"user":"alice","email":"a@example.org","kdf":{kdf},"auth":"{key}","recovery_auth":"{key}","roots":{roots},"entry":"AAAA"}}"#
    );
    let login =
        format!(r#"{{"user":"alice","auth":"{key}","device":"{device}","device_name":"laptop"}}"#);
    let password = format!(
        r#"{{"current_auth":"{key}","kdf":{kdf},"auth":"{key}","recovery_auth":"{key}","roots":{roots}}}"#
    );
    let chain = format!(r#"{{"entry":"AAAA","roots":{roots},"remove_devices":["{device}"]}}"#);
    let blobs = format!(r#"{{"blobs":["{}"]}}"#, "ab".repeat(32));
    let user = r#"{"standing":"auditor","disabled":false,"quota":5}"#.to_owned();
    let all = [register, login, password, chain, blobs, user];
    (0..)
        .zip(all)
        .map(|(n, text)| numbered(n, text.as_bytes()))
        .collect()
}

/// Inputs to begin with: one of each kind that is accepted.
fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let golden = golden();
    let of = |name: &str| golden[name].clone();
    let appends: Vec<Append> = (0..5)
        .map(|n| Append::decode(&golden[&format!("append-{n}")]).unwrap())
        .collect();
    let records = appends.iter().map(|append| append.record.encode());
    let bodies = [0, 1, 4].map(|n: usize| appends[n].record.body().unwrap().to_vec());
    let entries = ["chain-entry-first", "chain-entry-next"].map(|name| {
        let entry = of(name);
        [&(entry.len() as u16).to_le_bytes()[..], &entry].concat()
    });
    let statements = [
        "publication",
        "request",
        "decision",
        "receipt",
        "act-0",
        "act-3",
    ];
    let numbers = [0, 1, 2, 3, 4, 4];
    let statements = numbers.iter().zip(statements);
    let snapshot = [
        &[0x86, 1, 2, 0x58, 0x20][..],
        &[7; 32],
        &[0x58, 0x20],
        &[8; 32],
    ]
    .concat();
    let snapshot = [&snapshot[..], &[5, 0x81, 0x58, 0x20], &[9; 32]].concat();
    let address = [
        &b"alice@files.example.org:8443/plan#"[..],
        &of("fingerprint"),
    ]
    .concat();
    let kit = "address: alice@files.example.org\naccount secret: 0000-0000\n";
    vec![
        ("record", records.collect()),
        ("pulled", vec![of("pulled-by-bob")]),
        ("append", vec![of("append-0"), of("append-4")]),
        ("roster-body", bodies.into()),
        (
            "content-body",
            vec![of("content-body"), of("content-body-moved")],
        ),
        ("snapshot-body", vec![snapshot]),
        ("tree", vec![of("tree"), of("tree-moved")]),
        ("key-chain", vec![entries.concat(), entries[0].clone()]),
        (
            "grant",
            appends[0].grants.iter().map(Encoded::encode).collect(),
        ),
        (
            "statement",
            statements
                .map(|(n, name)| numbered(*n, &of(name)))
                .collect(),
        ),
        ("pack", vec![of("pack")]),
        (
            "account",
            vec![
                numbered(0, &[0x87, 1, 0x62, b'a', b'l']),
                numbered(1, &[0x83, 1, 0x80, 0x80]),
                numbered(2, &address),
                numbered(3, kit.as_bytes()),
            ],
        ),
        ("json", json_seeds()),
    ]
}

#[test]
fn there_is_a_seed_for_every_target() {
    let seeded: Vec<_> = seeds().into_iter().map(|(name, _)| name).collect();
    assert_eq!(seeded, TARGETS.map(|(name, _)| name));
}

#[test]
#[ignore = "writes the seeds of the corpus anew"]
fn write_seeds() {
    for (name, inputs) in seeds() {
        fs::create_dir_all(corpus().join(name)).unwrap();
        for (n, bytes) in inputs.iter().enumerate() {
            fs::write(corpus().join(name).join(format!("seed-{n}")), bytes).unwrap();
        }
    }
}
