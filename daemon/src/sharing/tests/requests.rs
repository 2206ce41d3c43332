//! Publications, requests and approvals.

use std::time::Duration;

use keyfold_protocol::account::Address;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{ShareId, Time};
use keyfold_protocol::publication::Audience;
use keyfold_protocol::roster::Role;

use super::{Three, named, names, trust};
use crate::account::tests::scene::{password, session};
use crate::account::{Session, now};
use crate::remote::tests::run;
use crate::sharing::offers::{Offer, publish};
use crate::sharing::{
    Reads, Shared, SharingError, Terms, Wish, approve, deny, inbox, request, withdraw,
};

/// Alice's share, offered to everyone as `plan`.
fn offered(alice: &Session<'_>) -> (ShareId, Address) {
    let share = run(Shared::create(alice)).unwrap().id();
    let offer = Offer {
        share,
        slug: "plan".parse().unwrap(),
        title: "Plan 2027".parse().unwrap(),
        audience: Audience::Everyone,
    };
    (share, run(publish(alice, &offer)).unwrap())
}

fn wish(address: &Address) -> Wish {
    Wish {
        address: address.clone(),
        role: Role::Writer,
        expires: Time(now().0 + Duration::from_hours(1).as_secs()),
        message: Some("for the audit".parse().unwrap()),
    }
}

fn terms() -> Terms {
    Terms {
        role: None,
        expires: None,
        reads: Reads::FromNow,
        key: None,
    }
}

#[test]
fn what_is_asked_for_is_granted_once_it_was_shown_and_the_requester_is_verified() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let (share, address) = offered(&alice);
    run(request(&bob, &wish(&address))).unwrap();
    // An address with a fingerprint verified its owner.
    let owner = run(bob.person(&"alice".parse().unwrap())).unwrap();
    assert!(owner.is_verified());

    let requests = run(alice.remote().requests()).unwrap().incoming;
    assert_eq!(requests.len(), 1);
    let id = run(inbox(&bob)).unwrap().items;
    assert!(id.is_empty());
    let unseen = run(approve(&alice, &"0".repeat(8), &terms()));
    assert!(matches!(unseen, Err(SharingError::NoSuchRequest)));
    let hash = {
        use keyfold_protocol::request::Request;
        use keyfold_protocol::signed::Signed;
        let signed = Signed::<Request>::decode(&requests[0].request.0).unwrap();
        signed.unverified().hash().to_string()
    };
    let unseen = run(approve(&alice, &hash[..8], &terms()));
    assert!(matches!(unseen, Err(SharingError::NotShown)));

    let shown = run(inbox(&alice)).unwrap();
    assert!(shown.refused.is_empty());
    let item = &shown.items[0];
    assert_eq!(item.short_id(), hash[..8]);
    assert_eq!(item.title.to_string(), "Plan 2027");
    assert_eq!(item.message.as_ref().unwrap().to_string(), "for the audit");
    let id = item.short_id();
    let stranger = run(approve(&alice, &id, &terms()));
    assert!(matches!(stranger, Err(SharingError::NotVerified { .. })));
    trust(&alice, "bob");
    run(approve(&alice, &id, &terms())).unwrap();
    run(approve(&alice, &id, &terms())).unwrap();
    let opened = run(Shared::open(&bob, share)).unwrap();
    assert_eq!(
        names(&opened),
        named(&[("alice", Role::Owner), ("bob", Role::Writer)])
    );
    assert!(run(inbox(&alice)).unwrap().items.is_empty());
    let late = run(deny(&alice, &id));
    assert!(matches!(late, Err(SharingError::Over("granted"))));
}

#[test]
fn a_request_is_denied_or_withdrawn_once_and_then_over() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let (_, address) = offered(&alice);
    let first = run(request(&bob, &wish(&address))).unwrap().to_string();
    run(inbox(&alice)).unwrap();
    run(deny(&alice, &first[..8])).unwrap();
    run(deny(&alice, &first[..8])).unwrap();
    let over = run(approve(&alice, &first[..8], &terms()));
    assert!(matches!(over, Err(SharingError::Over("denied"))));
    let second = run(request(&bob, &wish(&address))).unwrap().to_string();
    run(withdraw(&bob, &second[..8])).unwrap();
    run(withdraw(&bob, &second[..8])).unwrap();
    assert!(run(inbox(&alice)).unwrap().items.is_empty());
    let late = run(deny(&alice, &second[..8]));
    assert!(matches!(late, Err(SharingError::Over("withdrawn"))));
}

#[test]
fn two_machines_of_one_owner_may_approve_at_once() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let (share, address) = offered(&alice);
    let hash = run(request(&bob, &wish(&address))).unwrap().to_string();
    trust(&alice, "bob");
    let second = three.scene.vault("second");
    let kit = alice.kit().unwrap();
    three.scene.login(&second, "alice", Some(&kit)).unwrap();
    let other = session(&second);
    run(other.pull_book()).unwrap();
    run(inbox(&alice)).unwrap();
    run(inbox(&other)).unwrap();
    run(async {
        let terms = terms();
        let (one, two) = tokio::join!(
            approve(&alice, &hash[..8], &terms),
            approve(&other, &hash[..8], &terms)
        );
        one.unwrap();
        two.unwrap();
    });
    let shared = run(Shared::open(&alice, share)).unwrap();
    assert_eq!(shared.log().head().unwrap().0.0, 1);
    assert_eq!(names(&shared).len(), 2);
}

#[test]
fn keys_that_changed_after_a_request_was_shown_are_given_nothing() {
    let three = Three::new();
    let alice = session(&three.alice);
    let mut bob = session(&three.bob);
    let (share, address) = offered(&alice);
    trust(&alice, "bob");
    let hash = run(request(&bob, &wish(&address))).unwrap().to_string();
    run(inbox(&alice)).unwrap();
    run(bob.renew_keys(&password(), vec![])).unwrap();
    let refused = run(approve(&alice, &hash[..8], &terms()));
    assert!(matches!(refused, Err(SharingError::NotAsShown(_))));
    let listed = run(inbox(&alice)).unwrap();
    assert!(listed.items.is_empty() && listed.refused.len() == 1);
    let shared = run(Shared::open(&alice, share)).unwrap();
    assert_eq!(names(&shared), named(&[("alice", Role::Owner)]));
}

#[test]
fn a_request_that_the_server_moves_to_another_share_is_refused() {
    let three = Three::new();
    let (alice, bob) = (session(&three.alice), session(&three.bob));
    let (_, address) = offered(&alice);
    let secret = run(Shared::create(&alice)).unwrap().id().to_string();
    let hash = run(request(&bob, &wish(&address))).unwrap().to_string();
    trust(&alice, "bob");
    run(inbox(&alice)).unwrap();
    three.scene.edit("/v1/requests", move |reply| {
        reply["incoming"][0]["share"] = serde_json::json!(secret);
    });
    let refused = run(approve(&alice, &hash[..8], &terms()));
    assert!(matches!(refused, Err(SharingError::BadRequest)));
    let listed = run(inbox(&alice)).unwrap();
    assert!(listed.items.is_empty());
    assert!(matches!(listed.refused[0], SharingError::BadRequest));
}
