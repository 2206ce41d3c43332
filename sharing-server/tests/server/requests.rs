//! Publications, requests, and how they end; events.

use std::io::{BufRead, BufReader};

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{Nonce, PublicationHash, RequestHash, Time};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::request::{Decision, Request, Verdict};
use keyfold_protocol::roster::{Change, Role};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    PublicationsReply, PublishReply, RequestReply, RequestState, RequestsReply,
};

use crate::http::{Answer, Client};
use crate::people::{Person, Rotation, Share, person};
use crate::world::{World, now, push, refused, upload};

pub(crate) fn offer(owner: &Person, share: &Share, audience: Audience, serial: u64) -> Vec<u8> {
    let publication = Publication {
        share: share.id,
        slug: "plan".parse().unwrap(),
        title: "Plan 2027".parse().unwrap(),
        audience,
        serial,
        owner: owner.root(),
        entry: owner.account.entry,
        time: now(),
    };
    Signed::sign(publication, &owner.account.identity).encode()
}

pub(crate) fn publish(
    client: &Client,
    owner: &Person,
    share: &Share,
    audience: Audience,
    serial: u64,
) -> PublicationHash {
    let body = offer(owner, share, audience, serial);
    let path = Route::Publish.path(&[&share.id]);
    let reply: PublishReply = client.call(Route::Publish, &path, &body).json();
    reply.publication
}

pub(crate) fn wish(person: &Person, publication: PublicationHash) -> Request {
    Request {
        publication,
        role: Role::Reader,
        nonce: Nonce::generate().unwrap(),
        expires: Time(now().0 + 3600),
        user: person.account.user.clone(),
        root: person.root(),
        entry: person.account.entry,
        message: None,
        time: now(),
    }
}

fn send(client: &Client, person: &Person, request: Request) -> Answer {
    let body = Signed::sign(request, &person.account.identity).encode();
    client.call(Route::Request, "/v1/requests", &body)
}

pub(crate) fn ask(client: &Client, by: &Person, publication: PublicationHash) -> RequestHash {
    let reply: RequestReply = send(client, by, wish(by, publication)).json();
    reply.request
}

fn decide(client: &Client, by: &Person, request: RequestHash, verdict: Verdict) -> Answer {
    let decision = Decision {
        request,
        verdict,
        root: by.root(),
        entry: by.account.entry,
        time: now(),
    };
    let body = Signed::sign(decision, &by.account.identity).encode();
    client.call(Route::Decide, &Route::Decide.path(&[&request]), &body)
}

fn approve(alice: &Person, share: &mut Share, whom: &Person, request: RequestHash) {
    let change = Change::Add {
        user: whom.account.user.clone(),
        chain: whom.chain.clone(),
        role: Role::Reader,
        expires: None,
        request: Some(request),
    };
    share.change(alice, vec![change], Rotation::Stay);
}

fn states(client: &Client) -> (Vec<RequestState>, Vec<RequestState>) {
    let reply: RequestsReply = client.get(Route::Requests, "/v1/requests").json();
    let state = |items: Vec<keyfold_protocol::wire::RequestItem>| {
        items.into_iter().map(|item| item.state).collect()
    };
    (state(reply.incoming), state(reply.outgoing))
}

#[test]
fn a_request_is_granted_by_the_record_that_cites_it_and_used_once() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::begin(&alice);
    upload(&at_alice, &share);
    let publication = publish(&at_alice, &alice, &share, Audience::Everyone, 1);
    let offered: PublicationsReply = at_bob.get(Route::Publications, "/v1/publications").json();
    assert_eq!(offered.publications.len(), 1);
    let request = ask(&at_bob, &bob, publication);
    assert_eq!(states(&at_alice), (vec![RequestState::Open], vec![]));
    approve(&alice, &mut share, &bob, request);
    push(&at_alice, &share).done();
    assert_eq!(states(&at_bob), (vec![], vec![RequestState::Granted]));
    at_bob
        .get(Route::Share, &Route::Share.path(&[&share.id]))
        .done();
    refused(
        &decide(&at_bob, &bob, request, Verdict::Withdrawn),
        ErrorCode::Ended,
    );
    let remove = vec![Change::Remove(bob.root())];
    share.change(&alice, remove, Rotation::WithHistory);
    push(&at_alice, &share).done();
    approve(&alice, &mut share, &bob, request);
    refused(&push(&at_alice, &share), ErrorCode::NotApplicable);
}

#[test]
fn a_withdrawn_request_is_not_approved_and_a_denied_one_stays_denied() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::begin(&alice);
    upload(&at_alice, &share);
    let publication = publish(&at_alice, &alice, &share, Audience::Everyone, 1);
    let first = ask(&at_bob, &bob, publication);
    refused(
        &decide(&at_bob, &bob, first, Verdict::Denied),
        ErrorCode::Forbidden,
    );
    refused(
        &decide(&at_alice, &alice, first, Verdict::Withdrawn),
        ErrorCode::Forbidden,
    );
    decide(&at_bob, &bob, first, Verdict::Withdrawn).done();
    let second = ask(&at_bob, &bob, publication);
    decide(&at_alice, &alice, second, Verdict::Denied).done();
    decide(&at_alice, &alice, second, Verdict::Denied).done();
    approve(&alice, &mut share, &bob, first);
    refused(&push(&at_alice, &share), ErrorCode::NotApplicable);
}

#[test]
fn what_is_not_offered_to_somebody_he_does_not_see_and_cannot_ask_for() {
    let world = World::new();
    let (alice, bob, carol) = (person("alice"), person("bob"), person("carol"));
    let (at_alice, at_bob, at_carol) = (world.join(&alice), world.join(&bob), world.join(&carol));
    let share = Share::begin(&alice);
    upload(&at_alice, &share);
    let to_bob = Audience::Users(vec!["bob".parse().unwrap()]);
    let first = publish(&at_alice, &alice, &share, to_bob, 1);
    let path = Route::FindPublication.path(&[&"alice", &"plan"]);
    at_bob.get(Route::FindPublication, &path).done();
    refused(
        &at_carol.get(Route::FindPublication, &path),
        ErrorCode::NotFound,
    );
    refused(
        &send(&at_carol, &carol, wish(&carol, first)),
        ErrorCode::NotFound,
    );
    let mut late = wish(&bob, first);
    late.expires = Time(1);
    refused(&send(&at_bob, &bob, late), ErrorCode::Expired);
    refused(
        &send(&at_bob, &bob, wish(&carol, first)),
        ErrorCode::BadSignature,
    );
    let older = offer(&alice, &share, Audience::Everyone, 1);
    let publish_path = Route::Publish.path(&[&share.id]);
    let answer = at_alice.call(Route::Publish, &publish_path, &older);
    refused(&answer, ErrorCode::Conflict);
    publish(&at_alice, &alice, &share, Audience::Nobody, 2);
    refused(
        &at_bob.get(Route::FindPublication, &path),
        ErrorCode::NotFound,
    );
    refused(&send(&at_bob, &bob, wish(&bob, first)), ErrorCode::Ended);
}

#[test]
fn events_come_as_hints_with_numbers_and_end_with_the_session() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    let head = client.head(Route::Events, "/v1/events", 0) + "Last-Event-ID: 0\r\n";
    let mut lines = BufReader::new(client.connect(&head)).lines();
    let mut next = |prefix: &str| loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(rest) = line.strip_prefix(prefix) {
            return rest.trim().to_owned();
        }
    };
    assert_eq!(next("id:"), "1");
    assert_eq!(next("data:"), r#"{"kind":"account"}"#);
    let share = Share::begin(&alice);
    upload(&client, &share);
    assert_eq!(next("id:"), "2");
    let expected = format!(r#"{{"kind":"membership","share":"{}"}}"#, share.id);
    assert_eq!(next("data:"), expected);
    client.call(Route::Logout, "/v1/session", &[]).done();
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(!rest.iter().any(|line| line.contains("data:")), "{rest:?}");
}
