//! Blobs: pieces, hashes, ranges, and what keeps and ends them.

use std::io::Write;

use keyfold_crypto::sha256;
use keyfold_protocol::act::{Act, Order};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, Nonce, ShareId, Time};
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{AccountReply, AdoptBlobs, BlobList, BlobStateReply, DroppedReply};
use keyfold_server::config::Config;

use crate::http::{Answer, Client, json};
use crate::people::{Person, Share, person};
use crate::world::{DAY, World, now, push, refused, upload};

const SIZE: usize = 100_000;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|at| (at * 7 % 251) as u8).collect()
}

fn id(bytes: &[u8]) -> BlobId {
    BlobId(sha256(&[bytes]))
}

fn piece_path(share: ShareId, blob: BlobId, offset: usize) -> String {
    format!(
        "{}?offset={offset}&size={SIZE}",
        Route::PutBlob.path(&[&share, &blob])
    )
}

fn put(client: &Client, share: ShareId, blob: BlobId, offset: usize, piece: &[u8]) -> Answer {
    client.call(Route::PutBlob, &piece_path(share, blob, offset), piece)
}

fn state(client: &Client, share: ShareId, blob: BlobId) -> BlobStateReply {
    client
        .get(Route::BlobState, &Route::BlobState.path(&[&share, &blob]))
        .json()
}

fn used(client: &Client) -> u64 {
    client
        .get(Route::Account, "/v1/account")
        .json::<AccountReply>()
        .used
}

/// Appends a content record that adds and drops blobs.
fn name(client: &Client, author: &Person, share: &mut Share, lists: [Vec<BlobId>; 2]) -> Answer {
    let mut header = share.header(Kind::Content, author);
    [header.added, header.dropped] = lists;
    let key = share.key();
    share.write_as(header, vec![], &key, author);
    push(client, share)
}

fn act(client: &Client, by: &Person, route: Route, share: ShareId, order: Order) -> Answer {
    let act = Act {
        order,
        root: by.root(),
        entry: by.account.entry,
        nonce: Nonce::generate().unwrap(),
        time: now(),
    };
    let body = Signed::sign(act, &by.account.identity).encode();
    client.call(route, &route.path(&[&share]), &body)
}

fn begin(world: &World) -> (Person, Client, Share) {
    let alice = person("alice");
    let client = world.join(&alice);
    let share = Share::begin(&alice);
    upload(&client, &share);
    (alice, client, share)
}

#[test]
fn a_blob_comes_in_pieces_each_from_where_the_last_ended_and_is_read_by_range() {
    let mut world = World::new();
    let (alice, client, mut share) = begin(&world);
    let (bytes, blob) = (bytes(), id(&bytes()));
    put(&client, share.id, blob, 0, &bytes[..30_000]).done();
    let answer = put(&client, share.id, blob, 40_000, &bytes[40_000..]);
    refused(&answer, ErrorCode::WrongOffset);
    assert_eq!(answer.error().received, Some(30_000));
    let missing = name(&client, &alice, &mut share, [vec![blob], vec![]]);
    refused(&missing, ErrorCode::BlobMissing);
    assert_eq!(missing.error().blobs, [blob]);
    // What was received is there after a restart too.
    world.stop();
    world.start();
    let client = world.login(&alice);
    assert_eq!(state(&client, share.id, blob).received, 30_000);
    let reply: BlobStateReply = put(&client, share.id, blob, 30_000, &bytes[30_000..]).json();
    assert!(reply.complete);
    put(&client, share.id, blob, 0, &bytes).done();
    push(&client, &share).done();
    let path = Route::Blob.path(&[&share.id, &blob]);
    assert_eq!(client.get(Route::Blob, &path).body, bytes);
    let ranged = |range: &str| {
        let head = client.head(Route::Blob, &path, 0) + &format!("Range: bytes={range}\r\n");
        client.raw(&head, &[])
    };
    let part = ranged("10-19");
    assert_eq!((part.status, &part.body[..]), (206, &bytes[10..20]));
    assert!(
        part.head
            .to_ascii_lowercase()
            .contains("content-range: bytes 10-19/100000")
    );
    assert_eq!(ranged("99990-").body, &bytes[99_990..]);
    assert_eq!(ranged("-5").body, &bytes[99_995..]);
    for wrong in [
        "100000-",
        "5-4",
        "x-y",
        "0-1,3-4",
        "-0",
        "18446744073709551615-",
    ] {
        refused(&ranged(wrong), ErrorCode::BadRange);
    }
}

#[test]
fn bytes_that_are_not_the_blobs_are_gone_and_cost_nothing() {
    let world = World::new();
    let (_, client, share) = begin(&world);
    let blob = id(b"something else");
    let before = used(&client);
    refused(
        &put(&client, share.id, blob, 0, &bytes()),
        ErrorCode::BlobMismatch,
    );
    put(&client, share.id, blob, 0, &bytes()[..9]).done();
    assert_eq!(used(&client), before + SIZE as u64);
    refused(
        &put(&client, share.id, blob, 9, &bytes()[9..]),
        ErrorCode::BlobMismatch,
    );
    assert_eq!(state(&client, share.id, blob).received, 0);
    assert_eq!(used(&client), before);
}

#[test]
fn a_piece_that_breaks_off_is_gone_on_from() {
    let world = World::new();
    let (_, client, share) = begin(&world);
    let (bytes, blob) = (bytes(), id(&bytes()));
    let head = client.head(Route::PutBlob, &piece_path(share.id, blob, 0), SIZE);
    let mut stream = client.connect(&head);
    stream.write_all(&bytes[..5000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    drop(stream);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while state(&client, share.id, blob).received == 0 {
        assert!(std::time::Instant::now() < deadline, "nothing was kept");
        std::thread::yield_now();
    }
    let received = state(&client, share.id, blob).received as usize;
    let reply: BlobStateReply = put(&client, share.id, blob, received, &bytes[received..]).json();
    assert!(reply.complete);
}

#[test]
fn who_has_used_up_his_storage_sends_no_more() {
    let world = World::with(&Config {
        quota: 50_000,
        ..Config::default()
    });
    let (_, client, share) = begin(&world);
    let answer = put(&client, share.id, id(&bytes()), 0, &bytes());
    refused(&answer, ErrorCode::QuotaExceeded);
    assert!(used(&client) < 50_000);
}

#[test]
fn dropped_blobs_stay_until_an_owner_purges_them_or_somebody_revives_them() {
    let world = World::new();
    let (alice, client, mut share) = begin(&world);
    let (first, second) = (bytes(), vec![9; SIZE]);
    for blob in [&first, &second] {
        put(&client, share.id, id(blob), 0, blob).done();
    }
    let mut both = vec![id(&first), id(&second)];
    both.sort_unstable();
    name(&client, &alice, &mut share, [both.clone(), vec![]]).done();
    name(&client, &alice, &mut share, [vec![], both.clone()]).done();
    let path = Route::DroppedBlobs.path(&[&share.id]);
    let dropped: DroppedReply = client.get(Route::DroppedBlobs, &path).json();
    assert_eq!(dropped.blobs.len(), 2);
    assert!(dropped.blobs[0].until > Time(now().0 + 29 * 24 * 3600));
    let revive = Route::ReviveBlobs.path(&[&share.id]);
    let list = json(&BlobList {
        blobs: vec![id(&first)],
    });
    client.call(Route::ReviveBlobs, &revive, &list).done();
    let order = Order::PurgeBlobs(share.id, both);
    let purged: BlobList = act(&client, &alice, Route::PurgeBlobs, share.id, order).json();
    assert_eq!(purged.blobs, [id(&second)]);
    client
        .get(Route::Blob, &Route::Blob.path(&[&share.id, &id(&first)]))
        .done();
    let gone = client.get(Route::Blob, &Route::Blob.path(&[&share.id, &id(&second)]));
    refused(&gone, ErrorCode::NotFound);
}

#[test]
fn blobs_are_adopted_only_from_a_share_that_the_caller_reads() {
    let world = World::new();
    let (alice, at_alice, share) = begin(&world);
    let bob = person("bob");
    let at_bob = world.join(&bob);
    let target = Share::begin(&bob);
    upload(&at_bob, &target);
    let (bytes, blob) = (bytes(), id(&bytes()));
    put(&at_alice, share.id, blob, 0, &bytes).done();
    let adopt = |from| {
        let body = AdoptBlobs {
            from,
            blobs: vec![blob],
        };
        let path = Route::AdoptBlobs.path(&[&target.id]);
        at_bob.call(Route::AdoptBlobs, &path, &json(&body))
    };
    refused(&adopt(share.id), ErrorCode::NotFound);
    let mut share = share;
    let member = vec![crate::people::add(&bob, Role::Reader)];
    share.change(&alice, member, crate::people::Rotation::Stay);
    push(&at_alice, &share).done();
    assert_eq!(adopt(share.id).json::<BlobList>().blobs, [blob]);
    let end = Order::DeleteShare(share.id);
    act(&at_alice, &alice, Route::DeleteShare, share.id, end).done();
    let path = Route::Blob.path(&[&target.id, &blob]);
    assert_eq!(at_bob.get(Route::Blob, &path).body, bytes);
    assert_eq!(used(&at_alice), 0);
}

#[test]
fn an_act_is_taken_once_and_near_its_time() {
    let world = World::new();
    let (alice, client, share) = begin(&world);
    let path = Route::SetRetention.path(&[&share.id]);
    let send = |time| {
        let act = Act {
            order: Order::SetRetention(share.id, 60),
            root: alice.root(),
            entry: alice.account.entry,
            nonce: Nonce([3; 16]),
            time,
        };
        let body = Signed::sign(act, &alice.account.identity).encode();
        client.call(Route::SetRetention, &path, &body)
    };
    refused(&send(Time(now().0 - 400)), ErrorCode::Expired);
    send(now()).done();
    refused(&send(now()), ErrorCode::Expired);
}

#[test]
fn a_dropped_blob_goes_with_its_bytes_when_its_time_is_over_and_a_named_one_stays() {
    let mut world = World::new();
    let (alice, client, mut share) = begin(&world);
    let (first, second) = (bytes(), vec![9; SIZE]);
    for blob in [&first, &second] {
        put(&client, share.id, id(blob), 0, blob).done();
    }
    let mut both = vec![id(&first), id(&second)];
    both.sort_unstable();
    name(&client, &alice, &mut share, [both, vec![]]).done();
    name(&client, &alice, &mut share, [vec![], vec![id(&first)]]).done();
    let order = Order::SetRetention(share.id, 0);
    act(&client, &alice, Route::SetRetention, share.id, order).done();
    assert_eq!(files(&world.path().join("blobs")), 2);
    // What is over is looked for whenever the server starts.
    world.stop();
    world.start();
    until_one_object_is_left(&world);
    let client = world.login(&alice);
    let get = |blob: &BlobId| client.get(Route::Blob, &Route::Blob.path(&[&share.id, blob]));
    refused(&get(&id(&first)), ErrorCode::NotFound);
    assert_eq!(get(&id(&second)).body, second);
}

fn until_one_object_is_left(world: &World) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while files(&world.path().join("blobs")) > 1 {
        assert!(
            std::time::Instant::now() < deadline,
            "what is over is still there"
        );
        std::thread::yield_now();
    }
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(count).sum()
}

#[test]
fn many_who_send_one_blob_at_once_leave_it_whole_and_one_object_of_it() {
    let mut world = World::new();
    let (alice, client, share) = begin(&world);
    let (bytes, blob) = (bytes(), id(&bytes()));
    let senders = (0..8).map(|number| {
        let (client, bytes, share) = (client.clone(), bytes.clone(), share.id);
        std::thread::spawn(move || {
            // Some send all at once, others in pieces, each from where the blob ends by now.
            let step = if number % 2 == 0 { SIZE } else { 9_001 };
            loop {
                let now = state(&client, share, blob);
                if now.complete {
                    return;
                }
                let from = now.received as usize % SIZE;
                let to = (from + step).min(SIZE);
                let answer = put(&client, share, blob, from, &bytes[from..to]);
                let code = answer.code();
                assert!(
                    matches!(code, None | Some(ErrorCode::WrongOffset)),
                    "{answer:?}"
                );
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.join().unwrap();
    }
    assert_eq!(
        client
            .get(Route::Blob, &Route::Blob.path(&[&share.id, &blob]))
            .body,
        bytes
    );
    let genesis = share.appended[0].record.encode().len() as u64;
    assert_eq!(used(&client), genesis + SIZE as u64);
    world.stop();
    world.start();
    until_one_object_is_left(&world);
    let client = world.login(&alice);
    assert!(state(&client, share.id, blob).complete);
}

#[test]
fn what_no_record_names_and_what_was_half_sent_goes_after_a_week_and_is_paid_back() {
    let mut world = World::new();
    let (alice, client, mut share) = begin(&world);
    let (named, unnamed, half) = (bytes(), vec![9; SIZE], vec![8; SIZE]);
    let before = used(&client);
    put(&client, share.id, id(&named), 0, &named).done();
    put(&client, share.id, id(&unnamed), 0, &unnamed).done();
    put(&client, share.id, id(&half), 0, &half[..30_000]).done();
    put(&client, share.id, id(&half), 30_000, &half[30_000..60_000]).done();
    name(&client, &alice, &mut share, [vec![id(&named)], vec![]]).done();
    let record = share.appended[1].record.encode().len() as u64;
    let all = before + record + 3 * SIZE as u64;
    world.restart_after(6 * DAY);
    let client = world.login(&alice);
    assert_eq!(used(&client), all);
    assert_eq!(files(&world.path().join("blobs")), 4);
    assert_eq!(state(&client, share.id, id(&half)).received, 60_000);
    world.restart_after(DAY);
    until_one_object_is_left(&world);
    let client = world.login(&alice);
    assert_eq!(used(&client), all - 2 * SIZE as u64);
    assert!(state(&client, share.id, id(&named)).complete);
    assert_eq!(state(&client, share.id, id(&unnamed)).received, 0);
    assert_eq!(state(&client, share.id, id(&half)).received, 0);
}

#[test]
fn an_object_that_was_written_and_never_named_goes_after_a_day() {
    let mut world = World::new();
    let (alice, client, share) = begin(&world);
    put(&client, share.id, id(&bytes()), 0, &bytes()).done();
    // As a server leaves it that is killed between writing an object and naming it.
    let folder = world.path().join("blobs").join("ab");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ab".repeat(16)), b"sealed").unwrap();
    world.restart_after(DAY / 2);
    world.login(&alice);
    assert_eq!(files(&world.path().join("blobs")), 2);
    world.restart_after(DAY);
    until_one_object_is_left(&world);
    let client = world.login(&alice);
    assert!(state(&client, share.id, id(&bytes())).complete);
}
