//! Rosters, by real clients of a real server; requests beside.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::{Append, Pulled};
use keyfold_protocol::ids::{Seq, Time};
use keyfold_protocol::log::{Stop, Void};
use keyfold_protocol::roster::{Role, RosterBody};
use keyfold_protocol::wire::PullQuery;

use super::change::{Ends, Newcomer};
use super::{Reads, Shared, SharingError, tend};
use crate::account::tests::scene::{Scene, password, session};
use crate::account::{Session, now};
use crate::engine::Engine;
use crate::remote::tests::run;
use crate::remote::tests::script::Answer;

mod requests;

/// A server and three people with a vault each.
struct Three {
    scene: Scene,
    alice: Engine,
    bob: Engine,
    carol: Engine,
}

impl Three {
    fn new() -> Self {
        let scene = Scene::new();
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| scene.registered(user).0);
        Self {
            scene,
            alice,
            bob,
            carol,
        }
    }
}

fn trust(session: &Session<'_>, user: &str) {
    let person = run(session.person(&user.parse().unwrap())).unwrap();
    run(session.verify_person(&person)).unwrap();
}

pub(crate) fn newcomer(session: &Session<'_>, user: &str, role: Role) -> Newcomer {
    Newcomer {
        person: run(session.person(&user.parse().unwrap())).unwrap(),
        role,
        expires: None,
        reads: Reads::ThisEpoch,
        request: None,
    }
}

fn from_the_first() -> PullQuery {
    PullQuery {
        from: Seq(0),
        limit: None,
        bodies_from: None,
    }
}

fn names(shared: &Shared<'_, '_>) -> Vec<(String, Role)> {
    let members = shared.members().unwrap().into_iter();
    members.map(|m| (m.user.to_string(), m.role)).collect()
}

fn named(list: &[(&str, Role)]) -> Vec<(String, Role)> {
    let list = list.iter();
    list.map(|(user, role)| ((*user).to_owned(), *role))
        .collect()
}

/// A share of alice with these members.
fn shared_with<'s, 'a>(session: &'s Session<'a>, members: &[(&str, Role)]) -> Shared<'s, 'a> {
    let mut shared = run(Shared::create(session)).unwrap();
    for (user, role) in members {
        run(shared.add(&newcomer(session, user, *role))).unwrap();
    }
    shared
}

#[test]
fn who_is_added_reads_the_roster_and_is_seen_by_his_receipt() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let mut shared = shared_with(&alice, &[("bob", Role::Writer)]);
    let seen = run(Shared::open(&bob, shared.id())).unwrap();
    assert_eq!(
        names(&seen),
        named(&[("alice", Role::Owner), ("bob", Role::Writer)])
    );
    assert!(seen.events().is_empty());
    let epoch = seen.log().roster().unwrap().epoch;
    assert!(seen.log().epoch_key(epoch).is_some());
    run(shared.pull()).unwrap();
    let members = shared.members().unwrap();
    let confirmed = members[1].confirmed.unwrap();
    assert_eq!(confirmed.0, shared.log().head().unwrap().0);
    assert!(!members[1].verified && members[0].verified);
}

#[test]
fn who_is_removed_gets_no_later_key_and_is_told_nothing() {
    let three = Three::new();
    let (alice, bob, carol) = (
        session(&three.alice),
        session(&three.bob),
        session(&three.carol),
    );
    let members = [("bob", Role::Writer), ("carol", Role::Reader)];
    let mut shared = shared_with(&alice, &members);
    let mut bobs = run(Shared::open(&bob, shared.id())).unwrap();
    let before = shared.log().roster().unwrap().epoch;
    let root = shared.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(shared.remove(root)).unwrap();
    let after = shared.log().roster().unwrap().epoch;
    assert_eq!(after, before.next());
    // Once more is nothing more.
    let head = shared.log().head();
    run(shared.remove(root)).unwrap();
    assert_eq!(shared.log().head(), head);
    let carols = run(Shared::open(&carol, shared.id())).unwrap();
    assert!(carols.log().epoch_key(after).is_some());
    assert!(matches!(run(bobs.pull()), Err(SharingError::NotAMember)));
    assert!(bobs.log().epoch_key(after).is_none());
}

#[test]
fn only_an_owner_changes_roles_and_only_the_creator_lowers_owners() {
    let three = Three::new();
    let (alice, bob, carol) = (
        session(&three.alice),
        session(&three.bob),
        session(&three.carol),
    );
    let members = [("bob", Role::Owner), ("carol", Role::Writer)];
    let mut shared = shared_with(&alice, &members);
    let [alices, bobs, carols] =
        ["alice", "bob", "carol"].map(|u| shared.member(&u.parse().unwrap()).unwrap().key.root);
    let mut by_carol = run(Shared::open(&carol, shared.id())).unwrap();
    let refused = run(by_carol.set_role(carols, Role::Owner, Ends::AsBefore));
    assert!(matches!(
        refused,
        Err(SharingError::MayNot(Void::RoleMayNot))
    ));
    let mut by_bob = run(Shared::open(&bob, shared.id())).unwrap();
    let refused = run(by_bob.set_role(alices, Role::Reader, Ends::AsBefore));
    assert!(matches!(
        refused,
        Err(SharingError::MayNot(Void::CreatorStays))
    ));
    run(by_bob.set_role(carols, Role::Reader, Ends::AsBefore)).unwrap();
    run(shared.set_role(bobs, Role::Writer, Ends::AsBefore)).unwrap();
    let expected = [
        ("alice", Role::Owner),
        ("bob", Role::Writer),
        ("carol", Role::Reader),
    ];
    assert_eq!(names(&shared), named(&expected));
}

#[test]
fn after_somebody_left_the_next_owner_begins_another_epoch() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let mut shared = shared_with(&alice, &[("bob", Role::Reader)]);
    let refused = run(run(Shared::open(&alice, shared.id())).unwrap().leave());
    assert!(matches!(
        refused,
        Err(SharingError::MayNot(Void::CreatorStays))
    ));
    run(run(Shared::open(&bob, shared.id())).unwrap().leave()).unwrap();
    run(shared.pull()).unwrap();
    assert!(shared.rotation_due());
    let before = shared.log().roster().unwrap().epoch;
    run(tend(&alice)).unwrap();
    run(shared.pull()).unwrap();
    assert!(!shared.rotation_due());
    assert_eq!(shared.log().roster().unwrap().epoch, before.next());
    // Nothing is due any more.
    let head = shared.log().head();
    run(tend(&alice)).unwrap();
    run(shared.pull()).unwrap();
    assert_eq!(shared.log().head(), head);
}

#[test]
fn whose_time_has_passed_is_left_out_of_the_next_epoch() {
    let three = Three::new();
    let alice = session(&three.alice);
    let mut shared = shared_with(&alice, &[]);
    let soon = Newcomer {
        expires: Some(Time(now().0)),
        ..newcomer(&alice, "bob", Role::Reader)
    };
    run(shared.add(&soon)).unwrap();
    assert!(shared.members().unwrap()[1].expired);
    assert!(shared.rotation_due());
    run(shared.rotate()).unwrap();
    assert_eq!(names(&shared), named(&[("alice", Role::Owner)]));
}

#[test]
fn who_comes_second_decides_again() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let mut first = shared_with(&alice, &[("bob", Role::Owner)]);
    let mut second = run(Shared::open(&bob, first.id())).unwrap();
    let mut third = run(Shared::open(&bob, first.id())).unwrap();
    run(first.add(&newcomer(&alice, "carol", Role::Reader))).unwrap();
    // The same again, by somebody who does not know of it: done.
    run(second.add(&newcomer(&bob, "carol", Role::Reader))).unwrap();
    assert_eq!(second.log().head(), first.log().head());
    // Something else: on top of it.
    let carol = first.member(&"carol".parse().unwrap()).unwrap().key.root;
    run(third.remove(carol)).unwrap();
    run(first.pull()).unwrap();
    assert_eq!(third.log().head(), first.log().head());
    assert_eq!(
        names(&first),
        named(&[("alice", Role::Owner), ("bob", Role::Owner)])
    );
    assert_eq!(first.log().voids().count(), 0);
}

#[test]
fn after_a_lost_race_the_key_is_discarded_and_the_change_made_anew() {
    let three = Three::new();
    let alice = session(&three.alice);
    let mut shared = shared_with(&alice, &[("bob", Role::Reader)]);
    let records = format!("/v1/shares/{}/records", shared.id());
    let bob = shared.member(&"bob".parse().unwrap()).unwrap().key.root;
    let once = std::sync::atomic::AtomicBool::new(true);
    let moved = format!(
        r#"{{"code":"head-moved","message":"m","head":{{"seq":9,"record":"{}"}}}}"#,
        "ab".repeat(32)
    );
    three.scene.meddle(move |seen, _| {
        let first = seen.path() == records
            && seen.head.starts_with("POST")
            && once.swap(false, std::sync::atomic::Ordering::Relaxed);
        first.then(|| Answer::Reply(409, moved.clone().into()))
    });
    three.scene.script.take();
    run(shared.remove(bob)).unwrap();
    let sent = three.scene.script.take();
    let sent = sent.iter().filter(|seen| seen.head.starts_with("POST"));
    let bodies: Vec<_> = sent
        .map(|seen| Append::decode(&seen.body).unwrap())
        .collect();
    assert_eq!(bodies.len(), 2);
    let commitment = |append: &Append| {
        let body = RosterBody::decode(append.record.body().unwrap()).unwrap();
        body.epoch.unwrap().commitment
    };
    assert!(
        commitment(&bodies[0]) != commitment(&bodies[1]),
        "one key twice"
    );
    let roster = shared.log().roster().unwrap();
    assert!(roster.commitment == commitment(&bodies[1]));
    assert_eq!(names(&shared), named(&[("alice", Role::Owner)]));
}

#[test]
fn a_lost_reply_is_no_second_record() {
    let three = Three::new();
    let alice = session(&three.alice);
    let mut shared = shared_with(&alice, &[]);
    let records = format!("/v1/shares/{}/records", shared.id());
    let once = std::sync::atomic::AtomicBool::new(true);
    three.scene.meddle(move |seen, real| {
        let first = seen.path() == records
            && seen.head.starts_with("POST")
            && once.swap(false, std::sync::atomic::Ordering::Relaxed);
        first.then(|| Answer::Lose(real))
    });
    run(shared.add(&newcomer(&alice, "bob", Role::Reader))).unwrap();
    assert_eq!(shared.log().head().unwrap().0.0, 1);
}

#[test]
fn a_log_that_is_another_or_shorter_than_the_one_applied_is_refused() {
    let three = Three::new();
    let alice = session(&three.alice);
    let shared = shared_with(&alice, &[("bob", Role::Reader)]);
    let pull = format!("/v1/shares/{}/records?from=0", shared.id());
    let shorten = |body: Vec<u8>| {
        let mut pulled = Pulled::decode(&body).unwrap();
        pulled.records.truncate(1);
        let header = &pulled.records[0].record.header;
        (pulled.head_seq, pulled.head) = (header.seq, header.hash());
        pulled.receipts.clear();
        pulled.encode()
    };
    let path = pull.clone();
    three.scene.meddle(move |seen, real| {
        seen.path()
            .starts_with(&path)
            .then(|| Answer::Forward(real, Box::new(shorten)))
    });
    let older = run(Shared::open(&alice, shared.id())).err().unwrap();
    assert!(matches!(older, SharingError::LostRecords(_)), "{older:?}");

    // The head alone, and nothing to it.
    let path = pull.clone();
    let hide = |body: Vec<u8>| {
        let mut pulled = Pulled::decode(&body).unwrap();
        pulled.records.clear();
        pulled.encode()
    };
    three.scene.meddle(move |seen, real| {
        seen.path()
            .starts_with(&path)
            .then(|| Answer::Forward(real, Box::new(hide)))
    });
    let hidden = run(Shared::open(&alice, shared.id())).err().unwrap();
    assert!(matches!(hidden, SharingError::Withheld), "{hidden:?}");

    // Another share in its place.
    three.scene.be_honest();
    let other = run(Shared::create(&alice)).unwrap().id();
    let real = three.scene.real();
    let token = alice.kept().token().unwrap().unwrap().expose().to_owned();
    three.scene.meddle(move |seen, _| {
        let mut seen_other = seen.clone();
        seen_other.head = format!(
            "GET /v1/shares/{other}/records?from=0 HTTP/1.1\r\nauthorization: Bearer {token}"
        );
        seen.path()
            .starts_with(&pull)
            .then(|| Answer::ForwardAs(real, seen_other))
    });
    let swapped = run(Shared::open(&alice, shared.id())).err().unwrap();
    assert!(
        matches!(swapped, SharingError::Stopped(Stop::Genesis)),
        "{swapped:?}"
    );
}

#[test]
fn a_lost_device_gets_no_key_of_what_comes() {
    let three = Three::new();
    let mut alice = session(&three.alice);
    let bob = session(&three.bob);
    let second = three.scene.vault("lost");
    let kit = alice.kit().unwrap();
    let lost = three.scene.login(&second, "alice", Some(&kit)).unwrap();
    let share = shared_with(&alice, &[("bob", Role::Writer)]).id();
    let thief = session(&second);
    let stolen = run(Shared::open(&thief, share)).unwrap();
    let device = lost.device.to_string();
    run(alice.remove_device(&device, password())).unwrap();
    run(tend(&alice)).unwrap();
    let after = run(Shared::open(&alice, share)).unwrap();
    let epoch = after.log().roster().unwrap().epoch;
    assert_eq!(epoch, stolen.log().roster().unwrap().epoch.next());
    assert!(after.log().epoch_key(epoch).is_some());
    let bobs = run(Shared::open(&bob, share)).unwrap();
    assert!(bobs.log().epoch_key(epoch).is_some());
    assert!(run(Shared::open(&thief, share)).is_err());
    // What the thief has opens no grant of the new epoch, had he one.
    let own = super::own(&thief);
    let grants = run(alice.remote().pull(share, &from_the_first())).unwrap();
    let mut log = keyfold_protocol::log::Log::new(own, share);
    assert_eq!(log.absorb(&grants.records).err(), Some(Stop::NotOurKey));
    assert!(log.epoch_key(epoch).is_none());
}
