//! Keys that a server swaps, injects, cheapens or replays.

use std::fs;
use std::sync::{Arc, Mutex};

use keyfold_crypto::EpochKey;
use keyfold_protocol::account::NewAccount;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::grant::Grant;
use keyfold_protocol::ids::Time;
use keyfold_protocol::log::{Log, Stop};
use keyfold_protocol::record::Record;
use keyfold_protocol::wire::{Base64, ChainReply, LoginReply};
use keyfold_tests::{Answer, Request, Vault, keyfold};
use serde_json::Value;

use crate::insider::Insider;
use crate::scene::{comes, end, given, refused, run, status, text};
use crate::stage::{Stage, edit_pulls, fails, look, real, share_id, synced};

/// A grant as if it were for the recipient of another.
fn addressed(grant: &Grant, to: &Grant) -> Grant {
    let mut bytes = grant.encode();
    let old = grant.recipient.0;
    let at = bytes.windows(32).position(|window| window == old).unwrap();
    bytes[at..at + 32].copy_from_slice(&to.recipient.0);
    Grant::decode(&bytes).unwrap()
}

/// Attacks 1 and 3: whatever the server puts in the place of the grant that the owner made.
#[test]
fn a_grant_that_the_owner_did_not_make_for_this_place_stops_the_share() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let carol = stage.world.person("carol");
    alice.trusts(&carol);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_bob);
    let id = share_id(&at_bob);
    let insider = Insider::of(alice, stage.world.server.address());

    // From here on every grant that bob is given is one that he was given before, alice's, or the
    // server's own.
    let mut first = insider.pulled(id).records.into_iter();
    let of_alice = first.find_map(|one| one.grant).unwrap();
    let false_grants: Arc<Mutex<Vec<Grant>>> = Arc::default();
    let given = Arc::clone(&false_grants);
    edit_pulls(&stage.before_bob, move |pulled| {
        for record in &mut pulled.records {
            if let (Some(grant), Some(other)) = (&mut record.grant, given.lock().unwrap().first()) {
                *grant = addressed(other, grant);
            }
        }
    });
    *false_grants.lock().unwrap() = vec![of_alice];
    // Newcomers from now on begin an epoch, of which everybody is given the key.
    run(&["share", text(&reports), "carol"]);
    fs::write(reports.join("first"), "second epoch").unwrap();
    fails(&at_bob, &Stop::ForgedGrant.to_string());
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );

    let log: Log = insider.log(id);
    let (roster, me) = (log.roster().unwrap(), &insider.account);
    let bob_now = roster
        .members
        .values()
        .find(|m| m.key.user.as_str() == "bob");
    let (bob_now, granter) = (bob_now.unwrap(), &roster.members[&me.root].key);
    let bound = roster.grant_context(id, bob_now, granter);
    let own = Grant::wrap(&bob_now.key.kem, &bound, &EpochKey::generate().unwrap()).unwrap();
    *false_grants.lock().unwrap() = vec![own];
    fs::write(here.join("bob's"), "written meanwhile").unwrap();
    fails(&at_bob, &Stop::ForgedGrant.to_string());
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );

    stage.before_bob.be_honest();
    look(&at_bob);
    comes(&here.join("first"), "second epoch");
    comes(&reports.join("bob's"), "written meanwhile");
    end([(at_alice, alice), (at_bob, bob)]);
}

/// Attack 2: another's public keys under the name of the one who is to be given something.
#[test]
fn nobody_is_given_anything_by_keys_that_are_not_those_verified_or_named() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let carol = stage.world.person("carol");
    let fingerprint = carol.fingerprint();
    let at_alice = alice.vault.mount();
    let folder = at_alice.join("Plans");
    fs::create_dir(&folder).unwrap();
    stage.before_alice.play(|request, server| {
        let named = ["bob", "carol"].into_iter().find(|user| {
            let path = format!("/v1/users/{user}/chain");
            request.path() == path
        });
        let reply = named.and_then(|_| real(request, server));
        let (Some(user), Some(mut reply)) = (named, reply) else {
            return Answer::Honest;
        };
        let false_one = NewAccount::generate(user.parse().unwrap(), Time(1)).unwrap();
        let chain = ChainReply {
            entries: vec![Base64(false_one.entry.encode())],
        };
        reply.body = serde_json::to_vec(&chain).unwrap();
        Answer::Reply(reply)
    });
    let plans = text(&folder);
    let verified = keyfold(["share", plans, "bob"]);
    refused(&verified, 52, "bob");
    let unverified = keyfold(["share", plans, "carol"]);
    refused(&unverified, 52, "not verified");
    let named = keyfold(["share", plans, "carol", "--key", &fingerprint]);
    assert_eq!(named.code, Some(52), "{named}");
    let line = format!("share Plans carol --key {fingerprint}");
    let written = fs::write(at_alice.join(".keyfold/control"), line).unwrap_err();
    assert_eq!(written.raw_os_error(), Some(libc::EKEYREJECTED));
    assert_eq!(status(&at_alice)["sharing"]["shares"], Value::Array(vec![]));

    // Nothing of the lie is kept.
    stage.before_alice.be_honest();
    run(&["share", plans, "bob"]);
    at_alice.unmount();
    alice.vault.check();
    bob.vault.check();
}

/// Attacks 1, 4 and 7: what a new device is given for the password.
#[test]
fn a_login_takes_no_cheaper_parameters_and_no_other_keys() {
    let stage = Stage::new();
    let (world, relay) = (&stage.world, &stage.before_alice);
    let tablet = Vault::new();
    let log_in = |vault| world.log_in((&stage.alice, vault), relay.url(), &stage.alice.kit());
    let sent: Arc<Mutex<Vec<String>>> = Arc::default();
    for rounds in [1, 599_999, 2_000_001, 4_000_000_000_u32] {
        let notes = Arc::clone(&sent);
        relay.play(move |request, server| {
            notes.lock().unwrap().push(request.path().to_owned());
            let Some(mut reply) = real(request, server) else {
                return Answer::Honest;
            };
            let mut value: Value = serde_json::from_slice(&reply.body).unwrap();
            value["rounds"] = rounds.into();
            reply.body = serde_json::to_vec(&value).unwrap();
            Answer::Reply(reply)
        });
        let told = log_in(&tablet);
        refused(&told, 52, "out of bounds");
        let sent = std::mem::take(&mut *sent.lock().unwrap());
        assert_eq!(sent, ["/v1/login/parameters"], "something was sent after");
    }
    // Bob's sealed keys in the place of alice's, and her own with a bit flipped.
    let of_bob: Arc<Mutex<Option<Base64>>> = Arc::default();
    let keep = Arc::clone(&of_bob);
    stage.before_bob.play(move |request, server| {
        if request.path() != "/v1/login" {
            return Answer::Honest;
        }
        let reply = real(request, server).unwrap();
        let login: LoginReply = serde_json::from_slice(&reply.body).unwrap();
        *keep.lock().unwrap() = Some(login.root);
        Answer::Reply(reply)
    });
    let other = world.log_in(
        (&stage.bob, &Vault::new()),
        stage.before_bob.url(),
        &stage.bob.kit(),
    );
    other.expect_success("keyfold account login");
    let of_bob = of_bob.lock().unwrap().clone().unwrap();
    for flip in [false, true] {
        let of_bob = of_bob.clone();
        relay.play(move |request, server| {
            if request.path() != "/v1/login" {
                return Answer::Honest;
            }
            let mut reply = real(request, server).unwrap();
            let mut login: LoginReply = serde_json::from_slice(&reply.body).unwrap();
            if flip {
                login.root.0[100] ^= 1;
            } else {
                login.root = of_bob.clone();
            }
            reply.body = serde_json::to_vec(&login).unwrap();
            Answer::Reply(reply)
        });
        let told = log_in(&tablet);
        assert_eq!(told.code, Some(52), "{told}");
    }
    relay.be_honest();
    log_in(&tablet).expect_success("keyfold account login");
}

/// Makes something of a record, given the first of the share.
type Forge = Box<dyn Fn(&mut Record, &Record) + Send + Sync>;

/// Attack 10: rosters that nobody signed, or that were signed for another time.
#[test]
fn a_roster_that_was_forged_or_is_of_another_time_stops_the_share() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let carol = stage.world.person("carol");
    alice.trusts(&carol);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_bob);
    let known = Insider::of(alice, stage.world.server.address())
        .log(share_id(&at_bob))
        .next_seq();
    let mallory = NewAccount::generate("mallory".parse().unwrap(), Time(1)).unwrap();

    let identity = mallory.root.identity;
    let forgeries: [(&str, Forge); 3] = [
        (
            "does not verify",
            Box::new(move |record, _| {
                let body = record.body().unwrap().to_vec();
                *record = Record::sign(record.header.clone(), body, &identity);
            }),
        ),
        (
            "does not verify",
            Box::new(|record, _| {
                let mut bytes = record.encode();
                let last = bytes.len() - 40;
                bytes[last] ^= 1;
                *record = Record::decode(&bytes).unwrap();
            }),
        ),
        // The first roster again, in which nobody was added.
        (
            "keeps records",
            Box::new(|record, first| *record = first.clone()),
        ),
    ];
    let first = Insider::of(alice, stage.world.server.address()).pulled(share_id(&at_bob));
    let first = first.records[0].record.clone();
    let mut names = ["one", "two", "three"].into_iter();
    run(&["share", text(&reports), "carol"]);
    for (said, forge) in forgeries {
        let first = first.clone();
        edit_pulls(&stage.before_bob, move |pulled| {
            let new = pulled.records.iter_mut().map(|one| &mut one.record);
            let mut new = new.filter(|record| record.header.seq >= known);
            if let Some(record) = new.next() {
                forge(record, &first);
            }
        });
        let name = names.next().unwrap();
        fs::write(reports.join(name), "later").unwrap();
        fs::write(here.join(format!("bob {name}")), "mine").unwrap();
        fails(&at_bob, said);
        assert!(!here.join(name).exists());
        assert_eq!(
            fs::read_to_string(here.join("first")).unwrap(),
            "from alice"
        );
    }
    stage.before_bob.be_honest();
    look(&at_bob);
    comes(&here.join("three"), "later");
    comes(&reports.join("bob one"), "mine");
    end([(at_alice, alice), (at_bob, bob)]);
}

/// A session of one is none of the other: what the server hands to the wrong one is of no use.
#[test]
fn what_is_of_others_is_refused_to_who_asks_for_it() {
    let stage = Stage::new();
    let carol = stage.world.person("carol");
    stage.alice.trusts(&carol);
    let at_alice = stage.alice.vault.mount();
    let folder = at_alice.join("Private");
    fs::create_dir(&folder).unwrap();
    run(&["share", text(&folder), "carol"]);
    let id = share_id(&at_alice);
    let bob = Insider::of(&stage.bob, stage.world.server.address());
    for path in [
        format!("/v1/shares/{id}"),
        format!("/v1/shares/{id}/records?from=0"),
        format!("/v1/shares/{id}/dropped"),
    ] {
        let reply = Request::new("GET", &path, Some(&bob.token));
        let reply = reply.ask(stage.world.server.address()).unwrap();
        assert_eq!(reply.status, 404, "{path}");
    }
    at_alice.unmount();
}
