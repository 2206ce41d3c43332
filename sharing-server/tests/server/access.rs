//! Every route as everybody: who may not call it is refused, and hears no more than he may.

use keyfold_crypto::sha256;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, RequestHash};
use keyfold_protocol::publication::Audience;
use keyfold_protocol::roster::{Change, Role};
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{AdminSetUser, PutPin, Standing};
use keyfold_server::operation;

use crate::http::{Client, json};
use crate::people::{Person, Rotation, Share, person};
use crate::requests::{ask, publish};
use crate::world::{World, create, device, push, refused, upload};

/// Least first within a share.
const PEOPLE: [&str; 8] = [
    "other", "removed", "reader", "writer", "owner", "creator", "auditor", "admin",
];

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    Users,
    /// People of the share from this one on.
    From(&'static str),
    Auditors,
    Admins,
    /// Both sides of the request.
    Parties,
}

struct Scene {
    world: World,
    share: Share,
    blob: BlobId,
    request: RequestHash,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let clients: Vec<Client> = PEOPLE
            .iter()
            .map(|name| world.join(&person(name)))
            .collect();
        for (name, standing) in [("auditor", Standing::Auditor), ("admin", Standing::Admin)] {
            let change = AdminSetUser {
                standing: Some(standing),
                ..AdminSetUser::default()
            };
            operation::set_user(&world.path(), &name.parse().unwrap(), &change).unwrap();
        }
        let of = |name| clients[PEOPLE.iter().position(|known| *known == name).unwrap()].clone();
        let (creator, removed) = (person("creator"), person("removed"));
        let members = [
            (&person("reader"), Role::Reader),
            (&person("writer"), Role::Writer),
            (&person("owner"), Role::Owner),
            (&removed, Role::Owner),
        ];
        let mut share = Share::with(&creator, &members);
        upload(&of("creator"), &share);
        let gone = vec![Change::Remove(removed.root())];
        share.change(&creator, gone, Rotation::WithHistory);
        push(&of("creator"), &share).done();
        let bytes = b"sealed";
        let blob = BlobId(sha256(&[bytes]));
        let path = Route::PutBlob.path(&[&share.id, &blob]) + "?offset=0&size=6";
        of("writer").call(Route::PutBlob, &path, bytes).done();
        let publication = publish(
            &of("owner"),
            &person("owner"),
            &share,
            Audience::Everyone,
            1,
        );
        let request = ask(&of("other"), &person("other"), publication);
        Self {
            world,
            share,
            blob,
            request,
        }
    }
}

/// How a route is called so that nothing but access decides, and who may.
fn row(scene: &Scene, route: Route, caller: &Person) -> (String, Vec<u8>, Who) {
    let share = &scene.share.id;
    let genesis = scene.share.appended[0].record.header.hash();
    let of_share = |who| (route.path(&[share]), vec![], Who::From(who));
    let plain = |who| (route.path(&[]), b"{}".to_vec(), who);
    let bare = |who| (route.path(&[]), vec![], who);
    match route {
        Route::Health | Route::Ready | Route::ServerInfo | Route::OpenApi => bare(Who::Anyone),
        Route::Register
        | Route::VerifyEmail
        | Route::ResendVerification
        | Route::LoginParameters
        | Route::Login
        | Route::RecoveryLogin => plain(Who::Anyone),
        Route::Metrics | Route::AdminUsers | Route::AdminFigures | Route::AdminAudit => {
            bare(Who::Auditors)
        }
        Route::AdminSetUser => (route.path(&[&"other"]), b"{}".to_vec(), Who::Admins),
        Route::Logout
        | Route::Account
        | Route::Book
        | Route::Devices
        | Route::SecondFactor
        | Route::DeleteAccount
        | Route::Shares
        | Route::CreateShare
        | Route::Publications
        | Route::Request
        | Route::Requests
        | Route::Events => bare(Who::Users),
        Route::SetPassword
        | Route::BeginSecondFactor
        | Route::ConfirmSecondFactor
        | Route::EndSecondFactor
        | Route::AppendChain
        | Route::PutBook
        | Route::FindUser
        | Route::Invite => plain(Who::Users),
        Route::Pin | Route::PutPin => {
            let body = PutPin {
                counter: 1,
                sealed: keyfold_protocol::wire::Base64(vec![1]),
            };
            let sent = if route == Route::Pin {
                vec![]
            } else {
                json(&body)
            };
            (route.path(&[&"00".repeat(16)]), sent, Who::Users)
        }
        Route::RemoveDevice => (route.path(&[&device(caller)]), vec![], Who::Users),
        Route::Chain => (route.path(&[&"creator"]), vec![], Who::Users),
        Route::FindPublication => (route.path(&[&"owner", &"plan"]), vec![], Who::Users),
        Route::Decide => (route.path(&[&scene.request]), vec![], Who::Parties),
        Route::Share | Route::Append | Route::PutReceipt | Route::DroppedBlobs => {
            of_share("reader")
        }
        Route::Pull => (
            route.path(&[share]) + "?from=0",
            vec![],
            Who::From("reader"),
        ),
        Route::Restore => (route.path(&[share, &genesis]), vec![], Who::From("writer")),
        Route::FindRecord => (route.path(&[share, &genesis]), vec![], Who::From("reader")),
        Route::Blob => (
            route.path(&[share, &scene.blob]),
            vec![],
            Who::From("reader"),
        ),
        Route::BlobState => (
            route.path(&[share, &scene.blob]),
            vec![],
            Who::From("writer"),
        ),
        Route::PutBlob => {
            let path = route.path(&[share, &scene.blob]) + "?offset=0&size=6";
            (path, b"sealed".to_vec(), Who::From("writer"))
        }
        Route::MissingBlobs | Route::AdoptBlobs | Route::ReviveBlobs => {
            (route.path(&[share]), b"{}".to_vec(), Who::From("writer"))
        }
        Route::SetRetention | Route::PurgeBlobs | Route::Publish => of_share("owner"),
        Route::DeleteShare => of_share("creator"),
    }
}

/// The refusal that somebody must get, if he may not.
fn expected(who: Who, name: &str) -> Option<ErrorCode> {
    let place = |name| PEOPLE.iter().position(|known| *known == name).unwrap();
    let member = (place("reader")..=place("creator")).contains(&place(name));
    match who {
        Who::Anyone | Who::Users => None,
        Who::From(_) if !member => Some(ErrorCode::NotFound),
        Who::From(least) => (place(name) < place(least)).then_some(ErrorCode::Forbidden),
        Who::Auditors => (place(name) < place("auditor")).then_some(ErrorCode::Forbidden),
        Who::Admins => (name != "admin").then_some(ErrorCode::Forbidden),
        Who::Parties if ["other", "owner", "creator"].contains(&name) => None,
        Who::Parties => Some(ErrorCode::NotFound),
    }
}

#[test]
fn every_route_refuses_everybody_who_may_not_call_it_and_nobody_who_may() {
    let scene = Scene::new();
    for route in Route::ALL.iter().copied() {
        let (path, body, who) = row(&scene, route, &person("other"));
        let answer = scene.world.anonymous().call(route, &path, &body);
        if who == Who::Anyone {
            assert!(
                ![401, 403, 404].contains(&answer.status),
                "{route:?}: {answer:?}"
            );
        } else {
            refused(&answer, ErrorCode::Unauthenticated);
            let mut stranger = scene.world.anonymous();
            stranger.token = Some("A".repeat(43));
            refused(
                &stranger.call(route, &path, &body),
                ErrorCode::Unauthenticated,
            );
        }
        for name in PEOPLE {
            let caller = person(name);
            let client = scene.world.login(&caller);
            let (path, body, who) = row(&scene, route, &caller);
            if route == Route::Pin {
                let (path, body, _) = row(&scene, Route::PutPin, &caller);
                client.call(Route::PutPin, &path, &body).done();
            }
            let answer = client.call(route, &path, &body);
            match expected(who, name) {
                Some(code) => assert_eq!(answer.code(), Some(code), "{route:?} as {name}"),
                None => assert!(
                    ![401, 403, 404, 405, 500].contains(&answer.status),
                    "{route:?} as {name}: {answer:?}"
                ),
            }
        }
    }
}

#[test]
fn what_is_not_in_the_table_does_not_exist() {
    let world = World::new();
    let client = world.join(&person("alice"));
    for path in [
        "/",
        "/v1",
        "/v1/admin",
        "/v1/shares/x/y",
        "/metrics/",
        "/v1/accounts/../x",
    ] {
        refused(&client.get(Route::Account, path), ErrorCode::NotFound);
    }
    let head = client.head(Route::Logout, "/v1/account", 0);
    refused(&client.raw(&head, &[]), ErrorCode::MethodNotAllowed);
}

#[test]
fn a_share_of_others_looks_as_one_that_is_not_there() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let share = Share::begin(&alice);
    create(&at_alice, &share.appended[0]);
    let there = at_bob.get(Route::Share, &Route::Share.path(&[&share.id]));
    let nowhere = at_bob.get(Route::Share, &Route::Share.path(&[&"00".repeat(32)]));
    assert_eq!((there.status, there.body), (nowhere.status, nowhere.body));
    // A share that is there is not made by somebody else who has its first record.
    let body = share.appended[0].encode();
    let answer = at_bob.call(Route::CreateShare, "/v1/shares", &body);
    refused(&answer, ErrorCode::NotFound);
}
