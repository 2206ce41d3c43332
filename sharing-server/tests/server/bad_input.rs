//! Malformed, oversized and truncated bodies on every route: the right status, a stable code, and
//! nothing lost.

use std::io::{Read, Write};

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::{Content, Route};

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

    fn path(&self, route: Route) -> String {
        let path = route.spec().path;
        let path = path.replace("{share}", &self.share.id.to_string());
        let path = path.replace("{blob}", &"11".repeat(32));
        let path = path.replace("{vault}", &"22".repeat(16));
        let path = path.replace("{user}", "bob");
        match route {
            Route::PutBlob => path + "?offset=0&size=100",
            _ => path,
        }
    }

    /// Routes with a body. A request's decision needs a request: it is tested with requests.
    fn routes() -> impl Iterator<Item = Route> {
        let takes =
            |route: &Route| route.spec().request != Content::Nothing && *route != Route::Decide;
        Route::ALL.iter().copied().filter(takes)
    }

    fn unharmed(&self) {
        let alice = self.world.login(&person("alice"));
        assert_eq!(pull(&alice, self.share.id, 0).records.len(), 2);
        assert_eq!(alice.get(Route::Ready, "/ready").body, b"ready\n");
    }
}

#[test]
fn a_body_that_is_nothing_or_something_else_is_malformed() {
    let scene = Scene::new();
    let bodies: [&[u8]; 6] = [
        b"",
        b"null",
        b"{\"a\":",
        b"[1,2,3]",
        b"\xff\xff\xff\xff",
        b"\x9b\x7f",
    ];
    for route in Scene::routes().filter(|route| *route != Route::PutBlob) {
        for body in bodies {
            let answer = scene.client.call(route, &scene.path(route), body);
            assert_eq!(
                answer.code(),
                Some(ErrorCode::Malformed),
                "{route:?} {body:?}"
            );
        }
        if route.spec().request == Content::Json {
            let answer = scene
                .client
                .call(route, &scene.path(route), b"{\"unknown\":1}");
            assert_eq!(answer.code(), Some(ErrorCode::Malformed), "{route:?}");
        }
    }
    scene.unharmed();
}

#[test]
fn a_body_beyond_the_limit_is_refused_by_its_length_and_without_one() {
    let scene = Scene::new();
    for route in Route::ALL.iter().copied() {
        if route == Route::Decide || route.spec().path.contains("{re") || route == Route::Events {
            continue;
        }
        let limit = route.spec().limit;
        let path = scene.path(route).replace("{device}", &"00".repeat(16));
        let path = path.replace("{slug}", "plan");
        let head = scene.client.head(route, &path, limit + 1);
        refused(&scene.client.raw(&head, &[]), ErrorCode::TooLarge);
        if limit == 0 || route == Route::PutBlob {
            continue;
        }
        let chunked = head.replace(
            &format!("Content-Length: {}", limit + 1),
            "Transfer-Encoding: chunked",
        );
        let body = vec![b' '; limit + 1];
        let mut sent = format!("{:x}\r\n", body.len()).into_bytes();
        sent.extend_from_slice(&body);
        sent.extend_from_slice(b"\r\n0\r\n\r\n");
        refused(&scene.client.raw(&chunked, &sent), ErrorCode::TooLarge);
    }
    scene.unharmed();
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let scene = Scene::new();
    for route in Scene::routes().filter(|route| *route != Route::PutBlob) {
        let head = scene.client.head(route, &scene.path(route), 100);
        let mut stream = scene.client.connect(&head);
        stream.write_all(b"{\"user\":").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ended = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{route:?}: {text}"
        );
    }
    scene.unharmed();
}

#[test]
fn another_content_type_is_refused() {
    let scene = Scene::new();
    for route in Scene::routes() {
        let head = scene.client.head(route, &scene.path(route), 2);
        let head = head.replace("Content-Type: application/", "Content-Type: text/");
        refused(&scene.client.raw(&head, b"{}"), ErrorCode::WrongContentType);
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
