//! People who reach the server through somebody each, and short words for what is told of shares.

use std::net::SocketAddr;

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Pulled;
use keyfold_protocol::ids::ShareId;
use keyfold_tests::{Answer, Mount, Relay, Reply, Request, until};

use crate::scene::{Person, SOON, World, share_status, status};

/// The server, and two people who verified one another, each with somebody between him and it.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) before_alice: Relay,
    pub(crate) before_bob: Relay,
}

impl Stage {
    /// Everybody is honest to begin with.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let relay = || Relay::before(world.server.address());
        let (before_alice, before_bob) = (relay(), relay());
        let alice = world.person_by("alice", &["--server", before_alice.url()]);
        let bob = world.person_by("bob", &["--server", before_bob.url()]);
        alice.trusts(&bob);
        bob.trusts(&alice);
        Self {
            world,
            alice,
            bob,
            before_alice,
            before_bob,
        }
    }
}

/// Whether a request is for records of a share.
pub(crate) fn is_pull(request: &Request) -> bool {
    request.is("GET", "/v1/shares/", "/records")
}

/// Whether a request is for bytes of a blob.
pub(crate) fn is_blob(request: &Request) -> bool {
    let path = request.path();
    request.method() == "GET" && path.contains("/blobs/") && !path.ends_with("/state")
}

/// The real answer, if that is a success.
pub(crate) fn real(request: &Request, server: SocketAddr) -> Option<Reply> {
    let reply = request.ask(server).ok()?;
    (reply.status < 300).then_some(reply)
}

/// From now on records come edited.
pub(crate) fn edit_pulls(relay: &Relay, edit: impl Fn(&mut Pulled) + Send + Sync + 'static) {
    relay.play(move |request, server| {
        let Some(mut reply) = is_pull(request).then(|| real(request, server)).flatten() else {
            return Answer::Honest;
        };
        let mut pulled = Pulled::decode(&reply.body).unwrap();
        edit(&mut pulled);
        reply.body = pulled.encode();
        Answer::Reply(reply)
    });
}

/// The id of the one share of a mount.
pub(crate) fn share_id(mount: &Mount) -> ShareId {
    let id = share_status(mount)["id"].as_str().unwrap().to_owned();
    id.parse().unwrap()
}

/// Has a mount look at the server now, however long it would have waited after failures.
#[track_caller]
pub(crate) fn look(mount: &Mount) {
    std::fs::write(mount.join(".keyfold/control"), "look").unwrap();
}

/// Waits until `status` says of the one share that it fails, and why.
#[track_caller]
pub(crate) fn fails(mount: &Mount, said: &str) {
    look(mount);
    until(&format!("status says {said:?}"), SOON, || {
        let share = share_status(mount);
        let error = share["error"].as_str().unwrap_or_default();
        share["state"] == "failing" && error.contains(said)
    });
}

/// Waits until `status` tells this of a record of the one share.
#[track_caller]
pub(crate) fn tells(mount: &Mount, said: &str) {
    until(&format!("status tells {said:?}"), SOON, || {
        let trouble = share_status(mount)["trouble"].clone();
        let trouble = trouble.as_array().cloned().unwrap_or_default();
        trouble
            .iter()
            .any(|one| one.as_str().unwrap().contains(said))
    });
}

/// Waits until `status` says that the one share is synced, and nothing waits.
#[track_caller]
pub(crate) fn synced(mount: &Mount) {
    until("the share is synced", SOON, || {
        let share = share_status(mount);
        share["state"] == "synced" && share["waiting"] == 0
    });
}

/// Waits until the server is known to answer, or not to.
#[track_caller]
pub(crate) fn connected(mount: &Mount, is_so: bool) {
    until(&format!("connected is {is_so}"), SOON, || {
        status(mount)["sharing"]["connected"] == is_so
    });
}
