//! Records, ids and numbers that are none.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;

use crate::http::Client;
use crate::people::{Share, person};
use crate::world::{World, append, pull, refused, upload};

struct Scene {
    world: World,
    client: Client,
    share: Share,
}

impl Scene {
    /// Alice, who may call every route but those of administrators, and is one.
    fn new() -> Self {
        let world = World::new();
        let alice = person("alice");
        let client = world.join(&alice);
        world.join(&person("bob"));
        let change = keyfold_protocol::wire::AdminSetUser {
            standing: Some(keyfold_protocol::wire::Standing::Admin),
            ..Default::default()
        };
        let name = "alice".parse().unwrap();
        keyfold_server::operation::set_user(&world.path(), &name, &change).unwrap();
        let share = Share::with(&alice, &[(&person("bob"), Role::Writer)]);
        upload(&client, &share);
        Self {
            world,
            client,
            share,
        }
    }

    fn unharmed(&self) {
        let alice = self.world.login(&person("alice"));
        assert_eq!(pull(&alice, self.share.id, 0).records.len(), 2);
        assert_eq!(alice.get(Route::Ready, "/ready").body, b"ready\n");
    }
}

#[test]
fn an_append_that_is_cut_or_mangled_anywhere_is_refused_and_nothing_is_appended() {
    let mut scene = Scene::new();
    let alice = person("alice");
    scene.share.write(&alice, vec![]);
    let whole = scene.share.appended[2].encode();
    let path = Route::Append.path(&[&scene.share.id]);
    for cut in (0..whole.len()).step_by(29) {
        let answer = scene.client.call(Route::Append, &path, &whole[..cut]);
        refused(&answer, ErrorCode::Malformed);
    }
    for at in (0..whole.len()).step_by(17) {
        let mut mangled = whole.clone();
        mangled[at] ^= 0x40;
        let answer = scene.client.call(Route::Append, &path, &mangled);
        assert!((400..500).contains(&answer.status), "byte {at}: {answer:?}");
    }
    scene.unharmed();
    append(&scene.client, scene.share.id, &scene.share.appended[2]).done();
}

#[test]
fn ids_and_numbers_that_are_none_are_refused() {
    let scene = Scene::new();
    let share = scene.share.id;
    let get = |path: &str| scene.client.get(Route::Pull, path);
    for bad in [
        "x",
        &"G".repeat(64),
        &"AB".repeat(32),
        "..%2f..%2fetc",
        "%00",
    ] {
        let path = format!("/v1/shares/{bad}/records?from=0");
        refused(&get(&path), ErrorCode::NotFound);
    }
    for bad in [
        "",
        "?from=-1",
        "?from=x",
        "?from=99999999999999999999",
        "?from=0&other=1",
    ] {
        let path = format!("/v1/shares/{share}/records{bad}");
        refused(&get(&path), ErrorCode::Malformed);
    }
    let path = format!("/v1/shares/{share}/records?from=9007199254740991");
    get(&path).done();
    let path = format!("/v1/shares/{share}/records?from=18446744073709551615&limit=0");
    get(&path).done();
    for bad in [
        "offset=0&size=0",
        "offset=5&size=5",
        "offset=0",
        "offset=9&size=5",
    ] {
        let path = format!("/v1/shares/{share}/blobs/{}?{bad}", "11".repeat(32));
        let answer = scene.client.call(Route::PutBlob, &path, b"12345");
        refused(&answer, ErrorCode::Malformed);
    }
    let path = format!(
        "/v1/shares/{share}/blobs/{}?offset=0&size=4194305",
        "11".repeat(32)
    );
    refused(
        &scene.client.call(Route::PutBlob, &path, b"1"),
        ErrorCode::TooLarge,
    );
}
