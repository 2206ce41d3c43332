//! Asking for a share, and giving it: once, to the keys that were shown, by whichever machine.

use std::fs;

use keyfold_protocol::account::NewAccount;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{ShareId, Time};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{Base64, ChainReply};
use keyfold_tests::{Answer, Mount, Outcome, Request, Vault, keyfold};
use serde_json::Value;

use crate::insider::Insider;
use crate::scene::{comes, end, members, refused, run, text};
use crate::stage::{Stage, real, share_id};

/// Offers a share to everybody, as its owner may.
fn publish(stage: &Stage, share: ShareId) {
    let server = stage.world.server.address();
    let owner = Insider::of(&stage.alice, server);
    let publication = Publication {
        share,
        slug: "plans".parse().unwrap(),
        title: "Plans".parse().unwrap(),
        audience: Audience::Everyone,
        serial: 1,
        owner: owner.account.root,
        entry: owner.account.entry,
        time: Time(1),
    };
    let signed = Signed::sign(publication, &owner.account.identity);
    let path = format!("/v1/shares/{share}/publication");
    let request = Request::new("PUT", &path, Some(&owner.token));
    let request = request.with("application/cbor", signed.encode());
    assert_eq!(request.ask(server).unwrap().status, 200);
}

/// Ids of what waits to be decided.
fn inbox(mount: &Mount) -> Vec<String> {
    let shown = run(&["inbox", text(mount.path()), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let items = shown.as_array().unwrap();
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

fn count_members(mount: &Mount) -> usize {
    let members = members("Plans", mount);
    members["members"].as_array().unwrap().len()
}

fn decide(what: &str, id: &str, mount: &Mount) -> Outcome {
    keyfold([what, id, text(mount.path())])
}

#[test]
fn a_request_is_granted_once_and_to_the_keys_that_were_shown() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let carol = stage.world.person("carol");
    alice.trusts(&carol);
    let tablet = Vault::new();
    let url = stage.before_alice.url();
    let logged_in = stage.world.log_in((alice, &tablet), url, &alice.kit());
    logged_in.expect_success("keyfold account login");
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let at_bob = bob.vault.mount();
    let plans = at_alice.join("Plans");
    fs::create_dir(&plans).unwrap();
    fs::write(plans.join("first"), "from alice").unwrap();
    run(&["share", text(&plans), "carol"]);
    publish(&stage, share_id(&at_alice));
    let host = stage.before_bob.url().strip_prefix("http://").unwrap();
    let address = format!("alice@{host}/plans");
    let missing = format!("alice@{host}/nothing");
    refused(
        &keyfold(["request", &missing, text(at_bob.path())]),
        40,
        "nothing is offered",
    );

    // Asked twice, withdrawn once: one request is left, and what is over is over.
    run(&["request", &address, text(at_bob.path())]);
    let first = inbox(&at_alice);
    assert_eq!(first.len(), 1);
    run(&["withdraw", &first[0], text(at_bob.path())]);
    refused(&decide("approve", &first[0], &at_alice), 51, "withdrawn");
    run(&["request", &address, text(at_bob.path())]);
    run(&["request", &address, text(at_bob.path())]);
    let asked = inbox(&at_alice);
    assert!(!asked.is_empty() && !asked.contains(&first[0]), "{asked:?}");
    assert_eq!(inbox(&at_tablet), asked);

    // The server shows other keys for bob than those that were shown and verified.
    stage.before_alice.play(|request, server| {
        let wanted = request.path() == "/v1/users/bob/chain";
        let Some(mut reply) = wanted.then(|| real(request, server)).flatten() else {
            return Answer::Honest;
        };
        let other = NewAccount::generate("bob".parse().unwrap(), Time(1)).unwrap();
        let chain = ChainReply {
            entries: vec![Base64(other.entry.encode())],
        };
        reply.body = serde_json::to_vec(&chain).unwrap();
        Answer::Reply(reply)
    });
    let swapped = decide("approve", &asked[0], &at_alice);
    assert_eq!(swapped.code, Some(52), "{swapped}");
    assert_eq!(count_members(&at_alice), 2);
    stage.before_alice.be_honest();

    // Both machines of the owner approve at once.
    let approving = [&at_alice, &at_tablet].map(|mount| {
        let (id, path) = (asked[0].clone(), mount.path().to_owned());
        std::thread::spawn(move || keyfold(["approve", &id, text(&path)]))
    });
    for approved in approving {
        approved.join().unwrap().expect_success("keyfold approve");
    }
    assert_eq!(count_members(&at_alice), 3);
    comes(&at_bob.join("Shared/alice/Plans/first"), "from alice");
    for id in &asked[1..] {
        let again = decide("approve", id, &at_alice);
        eprintln!("a second request of a member: {again}");
        assert_eq!(count_members(&at_alice), 3);
    }
    let again = decide("deny", &asked[0], &at_alice);
    assert!(!again.succeeded(), "{again}");
    assert_eq!(count_members(&at_alice), 3);
    at_tablet.unmount();
    end([(at_alice, alice), (at_bob, bob)]);
    tablet.check();
}
