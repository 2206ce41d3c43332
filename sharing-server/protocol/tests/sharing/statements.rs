//! Publications, requests, decisions, receipts and acts; and that every decoder is strict.

use keyfold_crypto::CryptoError;
use keyfold_protocol::act::{Act, Order};
use keyfold_protocol::cbor::{DecodeError, Encoded};
use keyfold_protocol::ids::{
    BlobId, DeviceId, Nonce, PublicationHash, RecordHash, RequestHash, Seq, ShareId, Time,
};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::request::{Decision, Request, Verdict};
use keyfold_protocol::roster::Role;
use keyfold_protocol::signed::{Signed, Statement};

use crate::people::{NOW, Person, person};

pub(crate) fn publication(owner: &Person) -> Publication {
    Publication {
        share: ShareId([1; 32]),
        slug: "plan-2027".parse().unwrap(),
        title: "Plan 2027".parse().unwrap(),
        audience: Audience::Users(vec!["bob".parse().unwrap(), "carol".parse().unwrap()]),
        serial: 3,
        owner: owner.root(),
        entry: owner.account.entry,
        time: NOW,
    }
}

pub(crate) fn request(whom: &Person, publication: PublicationHash) -> Request {
    Request {
        publication,
        role: Role::Writer,
        nonce: Nonce([5; 16]),
        expires: Time(NOW.0 + 86_400),
        user: whom.account.user.clone(),
        root: whom.root(),
        entry: whom.account.entry,
        message: None,
        time: NOW,
    }
}

pub(crate) fn decision(whom: &Person) -> Decision {
    Decision {
        request: RequestHash([6; 32]),
        verdict: Verdict::Denied,
        root: whom.root(),
        entry: whom.account.entry,
        time: NOW,
    }
}

pub(crate) fn receipt(whom: &Person) -> Receipt {
    Receipt {
        share: ShareId([1; 32]),
        seq: Seq(41),
        record: RecordHash([2; 32]),
        device: DeviceId([3; 16]),
        root: whom.root(),
        entry: whom.account.entry,
        time: NOW,
    }
}

pub(crate) fn act(whom: &Person, order: Order) -> Act {
    Act {
        order,
        root: whom.root(),
        entry: whom.account.entry,
        nonce: Nonce([4; 16]),
        time: NOW,
    }
}

pub(crate) fn orders() -> [Order; 4] {
    [
        Order::DeleteAccount,
        Order::DeleteShare(ShareId([1; 32])),
        Order::SetRetention(ShareId([1; 32]), 86_400),
        Order::PurgeBlobs(ShareId([1; 32]), vec![BlobId([1; 32]), BlobId([2; 32])]),
    ]
}

/// What its signer signed verifies, under his key alone, and every flipped bit is noticed.
fn holds<T: Statement + Clone + PartialEq + std::fmt::Debug>(value: &T, signer: &Person) {
    let key = signer.account.identity.public();
    let signed = Signed::sign(value.clone(), &signer.account.identity);
    let bytes = signed.encode();
    let read = Signed::<T>::decode(&bytes).unwrap();
    assert_eq!(read.verify(&key), Ok(value));
    assert_eq!(read.encode(), bytes);
    let other = person("mallory").account.identity.public();
    assert_eq!(read.verify(&other), Err(CryptoError::Tampered));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let verified = Signed::<T>::decode(&flipped).map(|signed| signed.verify(&key).is_ok());
        assert_ne!(verified, Ok(true), "byte {at}");
        assert!(Signed::<T>::decode(&bytes[..at]).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Signed::<T>::decode(&longer).is_err());
}

#[test]
fn statements_are_their_signers_to_the_bit() {
    let (alice, bob) = (person("alice"), person("bob"));
    for audience in [Audience::Nobody, Audience::Everyone] {
        let publication = Publication {
            audience,
            ..publication(&alice)
        };
        holds(&publication, &alice);
    }
    holds(&publication(&alice), &alice);
    holds(&request(&bob, PublicationHash([7; 32])), &bob);
    holds(&decision(&alice), &alice);
    holds(&receipt(&bob), &bob);
    for order in orders() {
        holds(&act(&alice, order), &alice);
    }
}

#[test]
fn a_statement_of_another_version_needs_a_newer_keyfold() {
    let mut bytes = receipt(&person("bob")).encode();
    bytes[1] = 2;
    assert_eq!(Receipt::decode(&bytes), Err(DecodeError::UnknownVersion));
}

#[test]
fn an_audience_has_one_spelling() {
    let users = |names: &[&str]| {
        let users = names.iter().map(|name| name.parse().unwrap()).collect();
        Audience::decode(&Audience::Users(users).encode())
    };
    assert!(users(&["bob", "carol"]).is_ok());
    for wrong in [&[][..], &["carol", "bob"], &["bob", "bob"]] {
        assert_eq!(users(wrong), Err(DecodeError::Malformed));
    }
}

#[test]
fn a_message_opens_for_the_owner_and_with_its_request_alone() {
    let (alice, bob) = (person("alice"), person("bob"));
    let message = "for the audit".parse().unwrap();
    let request = request(&bob, PublicationHash([7; 32]));
    let request = request
        .with_message(&alice.account.kem.public(), &message)
        .unwrap();
    assert_eq!(request.open_message(&alice.account.kem), Some(Ok(message)));
    holds(&request, &bob);
    let tampered = Some(Err(CryptoError::Tampered));
    assert_eq!(request.open_message(&bob.account.kem), tampered);
    let mut moved = request.clone();
    moved.nonce = Nonce([9; 16]);
    assert_eq!(moved.open_message(&alice.account.kem), tampered);
    let mut others = request;
    others.root = alice.root();
    assert_eq!(others.open_message(&alice.account.kem), tampered);
}

#[test]
fn requests_differ_by_what_they_ask_for_and_by_nonce() {
    let bob = person("bob");
    let one = request(&bob, PublicationHash([7; 32]));
    let mut other = one.clone();
    other.nonce = Nonce([6; 16]);
    let mut role = one.clone();
    role.role = Role::Reader;
    assert_ne!(one.hash(), other.hash());
    assert_ne!(one.hash(), role.hash());
}
