//! The audit log's heads, and what the operator is alerted to.

use keyfold_protocol::act::Order;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, RecordHash, Seq, Time};
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{AdminSetUser, AuditReply, Standing};
use keyfold_server::config::Config;
use keyfold_server::{AuditVerdict, operation};

use crate::http::{Client, json};
use crate::people::{Person, Share, person};
use crate::world::{World, auth, device, refused, signed_act, upload};

fn set_standing(world: &World, name: &str, standing: Standing) {
    let change = AdminSetUser {
        standing: Some(standing),
        ..AdminSetUser::default()
    };
    operation::set_user(&world.path(), &name.parse().unwrap(), &change).unwrap();
}

/// An administrator, whose standing the operator set.
fn admin(world: &World) -> Client {
    let client = world.join(&person("admin"));
    set_standing(world, "admin", Standing::Admin);
    client
}

/// How often the operator was alerted to something.
fn alerts(admin: &Client, what: &str) -> u64 {
    let metrics = admin.get(Route::Metrics, "/metrics").body;
    let metrics = String::from_utf8(metrics).unwrap();
    let prefix = format!("keyfold_alerts_total{{alert=\"{what}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |count| count.parse().unwrap())
}

fn audit(auditor: &Client, from: u64) -> AuditReply {
    let path = format!("/v1/admin/audit?from={from}");
    auditor.get(Route::AdminAudit, &path).json()
}

fn verify(key: &[u8], number: u64, hash: &[u8; 32], signature: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().unwrap()).unwrap();
    let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
    let mut bytes = b"keyfold-server audit head\0".to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(hash);
    key.verify_strict(&bytes, &signature).is_ok()
}

#[test]
fn an_auditor_gets_heads_that_the_servers_key_signed() {
    let world = World::new();
    let admin = admin(&world);
    let reply = audit(&admin, 1);
    let key = operation::audit_public_key(&world.path()).unwrap();
    assert_eq!(reply.key.0, key);
    let (head, last) = (reply.head.unwrap(), reply.entries.last().unwrap().clone());
    assert_eq!((head.number, &head.hash), (last.number, &last.hash));
    assert!(verify(&key, head.number, &head.hash.0, &head.signature.0));
    assert!(!verify(
        &key,
        head.number + 1,
        &head.hash.0,
        &head.signature.0
    ));
    world.join(&person("bob"));
    let next = audit(&admin, head.number);
    assert_eq!(
        next.entries[0].hash, head.hash,
        "what was pinned is still there"
    );
    assert!(next.head.unwrap().number > head.number);
}

fn database(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.path().join("server.db")).unwrap()
}

fn rewritten(world: &World, sql: &str) -> AuditVerdict {
    assert_eq!(database(world).execute(sql, []).unwrap(), 1, "{sql}");
    operation::verify_audit(&world.path()).unwrap()
}

#[test]
fn a_log_that_was_rewritten_with_right_hashes_and_without_the_key_is_found() {
    let mut world = World::new();
    world.join(&person("alice"));
    world.join(&person("bob"));
    world.stop();
    let whole = operation::verify_audit(&world.path()).unwrap();
    assert!(
        matches!(whole, AuditVerdict::Whole { entries: 4, .. }),
        "{whole:?}"
    );
    // The hash of the last entry as whoever forges it computes it.
    let database = database(&world);
    let column = |sql: &str| -> Vec<u8> { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    let previous = column("SELECT hash FROM audit WHERE number = 3");
    let subject = column("SELECT CAST(subject AS BLOB) FROM audit WHERE number = 4");
    let time: i64 = database
        .query_row("SELECT time FROM audit WHERE number = 4", [], |row| {
            row.get(0)
        })
        .unwrap();
    let mut bytes = b"keyfold-server audit\0".to_vec();
    bytes.extend_from_slice(&previous);
    bytes.extend_from_slice(&4_u64.to_le_bytes());
    bytes.extend_from_slice(&time.to_le_bytes());
    for text in [&b"login"[..], b"mallory", &subject] {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text);
    }
    let hash = keyfold_crypto::sha256(&[&bytes]);
    let hash = data_encoding::HEXLOWER.encode(&hash);
    let set = format!("user_name = 'mallory', hash = x'{hash}'");
    let verdict = rewritten(&world, &format!("UPDATE audit SET {set} WHERE number = 4"));
    assert!(
        matches!(verdict, AuditVerdict::Broken { number: 4, .. }),
        "{verdict:?}"
    );
    let unsigned = "UPDATE audit SET signature = NULL WHERE number = 4";
    let verdict = rewritten(&world, unsigned);
    assert!(
        matches!(verdict, AuditVerdict::Broken { number: 4, .. }),
        "{verdict:?}"
    );
}

#[test]
fn a_burst_of_failed_logins_is_an_alert() {
    let world = World::with(&Config {
        failed_logins: 5,
        ..Config::default()
    });
    let admin = admin(&world);
    let guess = |times| {
        for _ in 0..times {
            world.try_login(&person("bob"), auth(&person("bob"), "guess"));
        }
    };
    guess(4);
    assert_eq!(alerts(&admin, "login-burst"), 0);
    guess(3);
    assert_eq!(alerts(&admin, "login-burst"), 1);
}

#[test]
fn a_signature_that_does_not_verify_is_an_alert() {
    let world = World::new();
    let admin = admin(&world);
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, _) = (world.join(&alice), world.join(&bob));
    let foreign = signed_act(&world, &bob, Order::DeleteAccount);
    let answer = at_alice.call(Route::DeleteAccount, "/v1/account/delete", &foreign);
    refused(&answer, ErrorCode::BadSignature);
    assert_eq!(alerts(&admin, "bad-signature"), 1);
    let entries = audit(&admin, 1).entries;
    assert!(entries.iter().any(|entry| entry.act == "bad-signature"));
}

fn receipt(client: &Client, by: &Person, share: &Share, place: (Seq, RecordHash)) {
    let receipt = Receipt {
        share: share.id,
        seq: place.0,
        record: place.1,
        device: device(by),
        root: by.root(),
        entry: by.account.entry,
        time: Time(1),
    };
    let body = Signed::sign(receipt, &by.account.identity).encode();
    let path = Route::PutReceipt.path(&[&share.id]);
    client.call(Route::PutReceipt, &path, &body).done();
}

#[test]
fn a_receipt_of_a_record_that_the_server_lost_or_never_had_is_an_alert() {
    let world = World::new();
    let admin = admin(&world);
    let alice = person("alice");
    let client = world.join(&alice);
    let mut share = Share::begin(&alice);
    upload(&client, &share);
    receipt(&client, &alice, &share, share.log.head().unwrap());
    assert_eq!(alerts(&admin, "head-regression"), 0);
    share.write(&alice, vec![]);
    receipt(&client, &alice, &share, share.log.head().unwrap());
    assert_eq!(alerts(&admin, "head-regression"), 1);
}

#[test]
fn one_who_fetches_very_much_is_an_alert_once() {
    let world = World::with(&Config {
        download_alert: 1000,
        ..Config::default()
    });
    let admin = admin(&world);
    let alice = person("alice");
    let client = world.join(&alice);
    let share = Share::begin(&alice);
    upload(&client, &share);
    let bytes = [7; 400];
    let blob = BlobId(keyfold_crypto::sha256(&[&bytes]));
    let path = Route::PutBlob.path(&[&share.id, &blob]) + "?offset=0&size=400";
    client.call(Route::PutBlob, &path, &bytes).done();
    let fetch = || {
        client
            .get(Route::Blob, &Route::Blob.path(&[&share.id, &blob]))
            .done();
    };
    (0..2).for_each(|_| fetch());
    assert_eq!(alerts(&admin, "mass-download"), 0);
    (0..3).for_each(|_| fetch());
    assert_eq!(alerts(&admin, "mass-download"), 1);
}

#[test]
fn another_standing_is_an_alert_and_another_quota_is_none() {
    let world = World::new();
    let admin = admin(&world);
    world.join(&person("bob"));
    let set = |change: &AdminSetUser| {
        let path = Route::AdminSetUser.path(&[&"bob"]);
        admin.call(Route::AdminSetUser, &path, &json(change)).done();
    };
    set(&AdminSetUser {
        quota: Some(1),
        ..AdminSetUser::default()
    });
    assert_eq!(alerts(&admin, "role-change"), 0);
    set(&AdminSetUser {
        standing: Some(Standing::Auditor),
        ..AdminSetUser::default()
    });
    assert_eq!(alerts(&admin, "role-change"), 1);
}
