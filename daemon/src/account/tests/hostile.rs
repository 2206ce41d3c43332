//! What a server says that cannot be true is refused, before anything is sent or given.

use keyfold_crypto::{IdentityKey, KemKey};
use keyfold_protocol::account::NewAccount;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, SignedEntry};
use keyfold_protocol::ids::Time;
use keyfold_protocol::wire::{Base64, ChainReply};
use serde_json::{Value, json};

use super::scene::{Scene, enter, password, session};
use crate::account::error::{AccountError, Lie, Verified};
use crate::account::{KitFate, Proof};
use crate::remote::tests::run;
use crate::remote::tests::script::Answer;

const PARAMETERS: &str = "/v1/login/parameters";
const LOGIN: &str = "/v1/login";
const BOB: &str = "/v1/users/bob/chain";

#[track_caller]
fn lied(error: AccountError, expected: &Lie) {
    match error {
        AccountError::Lie(lie) => assert_eq!(lie, *expected),
        other => panic!("{other:?}"),
    }
}

/// Nothing derived from the password went out.
#[track_caller]
fn nothing_derived_was_sent(scene: &Scene) {
    assert_eq!(scene.script.take_paths(), [PARAMETERS]);
}

#[test]
fn rounds_out_of_bounds_are_refused_before_anything_derived_is_sent() {
    let scene = Scene::new();
    let (_alice, kit) = scene.registered("alice");
    let next = scene.vault("next");
    for rounds in [0, 1000, 599_999, 2_000_001, u32::MAX] {
        scene.edit(PARAMETERS, move |reply| reply["rounds"] = json!(rounds));
        scene.script.take_paths();
        let error = scene.login(&next, "alice", Some(&kit)).unwrap_err();
        lied(error, &Lie::Rounds(rounds));
        nothing_derived_was_sent(&scene);
    }
    scene.be_honest();
    scene.login(&next, "alice", Some(&kit)).unwrap();
}

#[test]
fn parameters_whose_code_is_wrong_are_refused_before_anything_derived_is_sent() {
    let scene = Scene::new();
    let (_alice, kit) = scene.registered("alice");
    let (_bob, _) = scene.registered("bob");
    let next = scene.vault("next");
    let edits: [fn(&mut Value); 3] = [
        |reply| reply["mac"] = json!("A".repeat(43)),
        |reply| reply["salt"] = json!("A".repeat(43)),
        |reply| reply["rounds"] = json!(600_001),
    ];
    for edit in edits {
        scene.edit(PARAMETERS, edit);
        scene.script.take_paths();
        let error = scene.login(&next, "alice", Some(&kit)).unwrap_err();
        assert!(matches!(error, AccountError::WrongPassword), "{error:?}");
        nothing_derived_was_sent(&scene);
    }
}

#[test]
fn parameters_other_than_those_first_seen_are_refused_before_anything_derived_is_sent() {
    let scene = Scene::new();
    let (alice, kit) = scene.registered("alice");
    let other = scene.vault("other");
    scene.login(&other, "alice", Some(&kit)).unwrap();
    let account = crate::account::Account::of(&other, crate::remote::Deadlines::default());
    run(account.unwrap().logout(crate::account::Forget::Keys)).unwrap();
    // Valid parameters, of a password that was set later: who knows an old one may be lied to so.
    let mut elsewhere = session(&alice);
    let proof = Proof::Password(password());
    run(elsewhere.set_password(&proof, &password(), KitFate::Keep)).unwrap();
    scene.script.take_paths();
    let error = scene.login(&other, "alice", Some(&kit)).unwrap_err();
    lied(error, &Lie::Parameters);
    nothing_derived_was_sent(&scene);
}

#[test]
fn an_account_root_of_another_account_or_way_in_is_refused() {
    let scene = Scene::new();
    let (_alice, kit) = scene.registered("alice");
    let (_bob, bobs_kit) = scene.registered("bob");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::<Value>::new()));
    // What the server has to play with: bob's root, and alice's for the other way in.
    let notes = std::sync::Arc::clone(&seen);
    scene.meddle(move |request, real| {
        let notes = std::sync::Arc::clone(&notes);
        let note = move |body: Vec<u8>| {
            let reply: Value = serde_json::from_slice(&body).unwrap();
            notes.lock().unwrap().push(reply["root"].clone());
            body
        };
        let login = request.path().starts_with(LOGIN) && request.path() != PARAMETERS;
        login.then(|| Answer::Forward(real, Box::new(note)))
    });
    scene
        .login(&scene.vault("b"), "bob", Some(&bobs_kit))
        .unwrap();
    let by_recovery = scene.entry("alice", Proof::Recovery);
    enter(&scene.vault("r"), &by_recovery, Some(&kit)).unwrap();
    let others = seen.lock().unwrap().clone();
    assert_eq!(others.len(), 2);
    let next = scene.vault("next");
    for root in others {
        scene.edit(LOGIN, move |reply| reply["root"] = root.clone());
        let error = scene.login(&next, "alice", Some(&kit)).unwrap_err();
        lied(error, &Lie::Root);
    }
    let account = crate::account::Kept::in_vault(&next).profile().unwrap();
    assert!(account.is_none(), "something was kept of a lie");
}

#[test]
fn a_private_key_that_does_not_match_the_public_one_is_refused() {
    let scene = Scene::new();
    let (alice, kit) = scene.registered("alice");
    let old = std::sync::Arc::new(std::sync::Mutex::new(Value::Null));
    let notes = std::sync::Arc::clone(&old);
    scene.edit(LOGIN, move |reply| {
        *notes.lock().unwrap() = reply["root"].clone();
    });
    scene
        .login(&scene.vault("first"), "alice", Some(&kit))
        .unwrap();
    scene.be_honest();
    // The password stays, so the root of before still opens; its keys are not those of the chain.
    run(session(&alice).renew_keys(&password(), vec![])).unwrap();
    let root = old.lock().unwrap().clone();
    scene.edit(LOGIN, move |reply| reply["root"] = root.clone());
    let next = scene.vault("next");
    let error = scene.login(&next, "alice", Some(&kit)).unwrap_err();
    lied(error, &Lie::Keys);
    scene.be_honest();
    scene.login(&next, "alice", Some(&kit)).unwrap();
}

#[test]
fn an_account_that_is_not_the_one_of_the_kit_is_refused() {
    let scene = Scene::new();
    let (_alice, kit) = scene.registered("alice");
    let other = NewAccount::generate("alice".parse().unwrap(), Time(1)).unwrap();
    let chain = json!([Base64(other.entry.encode())]);
    scene.edit(LOGIN, move |reply| reply["chain"] = chain.clone());
    let error = scene
        .login(&scene.vault("next"), "alice", Some(&kit))
        .unwrap_err();
    lied(error, &Lie::OwnRoot);
}

/// Somebody's keys as he makes them: a first entry, and entries that follow it.
struct Keys {
    identity: IdentityKey,
    entries: Vec<SignedEntry>,
}

impl Keys {
    fn of(user: &str) -> Self {
        let new = NewAccount::generate(user.parse().unwrap(), Time(1)).unwrap();
        Self {
            identity: new.root.identity,
            entries: vec![new.entry],
        }
    }

    /// The same with another entry.
    fn with_another(&self) -> Self {
        let last = self.entries.last().unwrap().unverified();
        let (identity, kem) = (
            IdentityKey::generate().unwrap(),
            KemKey::generate().unwrap(),
        );
        let entry = ChainEntry {
            seq: last.seq + 1,
            previous: last.hash(),
            user: last.user.clone(),
            identity: identity.public(),
            kem: kem.public(),
            time: Time(2),
        };
        let signed = SignedEntry::next(entry, &identity, &self.identity);
        let mut entries = self.entries.clone();
        entries.push(signed);
        Self { identity, entries }
    }

    fn reply(&self) -> Value {
        let entries = self.entries.iter().map(|e| Base64(e.encode())).collect();
        serde_json::to_value(ChainReply { entries }).unwrap()
    }
}

/// The server says that these are bob's keys.
fn say(scene: &Scene, keys: &Keys) {
    let reply = serde_json::to_vec(&keys.reply()).unwrap();
    scene.meddle(move |seen, _| (seen.path() == BOB).then(|| Answer::Reply(200, reply.clone())));
}

#[test]
fn somebody_with_another_root_than_the_one_verified_or_seen_is_refused_and_told() {
    let scene = Scene::new();
    let (alice, _) = scene.registered("alice");
    let (_bob, _) = scene.registered("bob");
    let session = session(&alice);
    let bob = "bob".parse().unwrap();
    let known = run(session.person(&bob)).unwrap();
    let mallory = Keys::of("bob");
    for verified in [Verified::No, Verified::Yes] {
        say(&scene, &mallory);
        match run(session.person(&bob)).unwrap_err() {
            AccountError::Lie(Lie::OtherPerson {
                known: root,
                verified: how,
                ..
            }) => assert_eq!((root, how), (known.root(), verified)),
            other => panic!("{other:?}"),
        }
        scene.be_honest();
        let person = run(session.person(&bob)).unwrap();
        run(session.verify_person(&person)).unwrap();
    }
}

#[test]
fn two_entries_of_one_place_and_a_shorter_chain_are_told() {
    let scene = Scene::new();
    let (alice, _) = scene.registered("alice");
    let session = session(&alice);
    let bob = "bob".parse().unwrap();
    let first = Keys::of("bob");
    say(&scene, &first);
    run(session.person(&bob)).unwrap();
    let (one, other) = (first.with_another(), first.with_another());
    say(&scene, &one);
    run(session.person(&bob)).unwrap();
    say(&scene, &other);
    let user = "bob".parse().unwrap();
    let two = Lie::TwoEntries { user, seq: 1 };
    lied(run(session.person(&bob)).unwrap_err(), &two);
    say(&scene, &other.with_another());
    lied(run(session.person(&bob)).unwrap_err(), &two);
    say(&scene, &first);
    let shorter = Lie::Shorter("bob".parse().unwrap());
    lied(run(session.person(&bob)).unwrap_err(), &shorter);
    say(&scene, &one.with_another());
    run(session.person(&bob)).unwrap();
}

#[test]
fn a_chain_that_does_not_verify_or_is_another_name_is_refused() {
    let scene = Scene::new();
    let (alice, _) = scene.registered("alice");
    let session = session(&alice);
    let bob = "bob".parse().unwrap();
    say(&scene, &Keys::of("carol"));
    let name = Lie::Name("bob".parse().unwrap());
    lied(run(session.person(&bob)).unwrap_err(), &name);
    let mut forged = Keys::of("bob");
    let stranger = Keys::of("bob").with_another();
    forged.entries.push(stranger.entries[1].clone());
    say(&scene, &forged);
    let chain = || Lie::Chain("bob".parse().unwrap());
    lied(run(session.person(&bob)).unwrap_err(), &chain());
    forged.entries.clear();
    say(&scene, &forged);
    lied(run(session.person(&bob)).unwrap_err(), &chain());
}

#[test]
fn an_older_book_and_a_foreign_one_are_refused() {
    let scene = Scene::new();
    let (alice, _) = scene.registered("alice");
    for user in ["bob", "carol"] {
        scene.registered(user);
        let session = session(&alice);
        let person = run(session.person(&user.parse().unwrap())).unwrap();
        run(session.verify_person(&person)).unwrap();
    }
    let session = session(&alice);
    for generation in [0, 1, 3] {
        scene.edit("/v1/account/book", move |reply| {
            reply["generation"] = json!(generation);
        });
        lied(run(session.pull_book()).unwrap_err(), &Lie::OlderBook);
    }
    scene.be_honest();
    assert_eq!(run(session.pull_book()).unwrap().book.contacts.len(), 2);
}

#[test]
fn keys_that_were_sent_and_not_answered_are_neither_lost_nor_forgotten() {
    let scene = Scene::new();
    let (alice, old_kit) = scene.registered("alice");
    let mut changing = session(&alice);
    scene.meddle(|seen, real| (seen.path() == "/v1/account/password").then(|| Answer::Lose(real)));
    let proof = Proof::Password(password());
    run(changing.set_password(&proof, &password(), KitFate::Renew)).unwrap();
    scene.be_honest();
    let kit = changing.kit().unwrap();
    scene
        .login(&scene.vault("next"), "alice", Some(&kit))
        .unwrap();
    let error = scene.login(&scene.vault("old"), "alice", Some(&old_kit));
    assert!(matches!(error, Err(AccountError::WrongPassword)));
    // The same where nothing at all can be asked until the next command.
    scene.meddle(|seen, real| {
        Some(match seen.path() {
            "/v1/account/chain" => Answer::Lose(real),
            PARAMETERS | "/v1/users/alice/chain" => Answer::Reply(500, b"{}".to_vec()),
            _ => return None,
        })
    });
    assert!(run(changing.renew_keys(&password(), vec![])).is_err());
    scene.be_honest();
    let entry = changing.keys().account.entry;
    assert_ne!(session(&alice).keys().account.entry, entry);
}

#[test]
fn keys_that_never_arrived_are_forgotten() {
    let scene = Scene::new();
    let (alice, kit) = scene.registered("alice");
    let mut changing = session(&alice);
    let before = changing.keys().account.entry;
    for path in ["/v1/account/password", "/v1/account/chain"] {
        scene.meddle(move |seen, _| (seen.path() == path).then(|| Answer::Bytes(Vec::new())));
        let proof = Proof::Password(password());
        if path.ends_with("password") {
            let changed = run(changing.set_password(&proof, &password(), KitFate::Renew));
            assert!(changed.is_err());
        } else {
            assert!(run(changing.renew_keys(&password(), vec![])).is_err());
        }
        scene.be_honest();
        assert_eq!(session(&alice).keys().account.entry, before);
        scene
            .login(&scene.vault(&path[12..]), "alice", Some(&kit))
            .unwrap();
    }
    assert!(scene.real().ip().is_loopback());
}
