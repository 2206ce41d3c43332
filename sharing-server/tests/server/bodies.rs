//! Bodies that are malformed, cut short or too long, on every route of the table: the right code,
//! the server lives on, and nothing is stored.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::{Content, Route};
use serde_json::Value;

use crate::http::json;
use crate::world::refused;

mod scene;

pub(crate) use scene::Scene;

/// Pieces in which a body is cut.
const CUTS: usize = 24;

/// Routes with a body of a form, and such a body.
fn routes(scene: &Scene) -> impl Iterator<Item = (Route, String, Vec<u8>)> {
    Route::ALL.iter().copied().filter_map(|route| {
        let body = scene.body(route);
        let formed = [Content::Json, Content::Cbor].contains(&route.spec().request);
        assert_eq!(body.is_some(), formed, "{route:?}");
        body.map(|body| (route, scene.path(route), body))
    })
}

#[test]
fn the_bodies_that_are_cut_and_mangled_are_taken_whole() {
    // What is refused whole proves nothing when it is refused cut.
    let scene = Scene::new();
    let ends = [Route::DeleteShare, Route::DeleteAccount];
    let all: Vec<_> = routes(&scene).collect();
    let order = all.iter().filter(|(route, ..)| !ends.contains(route));
    let order = order.chain(all.iter().rev().filter(|(route, ..)| ends.contains(route)));
    let mut client = scene.client.clone();
    for (route, path, body) in order {
        // Their signer's keys are others afterwards, and his sessions end.
        let skipped = [Route::AppendChain, Route::SetPassword].contains(route);
        let answer = if skipped {
            continue;
        } else {
            client.call(*route, path, body)
        };
        let expected = match route {
            Route::VerifyEmail => Some(ErrorCode::Expired),
            Route::Login | Route::RecoveryLogin => Some(ErrorCode::WrongCredentials),
            Route::FindUser => Some(ErrorCode::NotFound),
            Route::ConfirmSecondFactor => Some(ErrorCode::SecondFactor),
            Route::EndSecondFactor => Some(ErrorCode::Conflict),
            // Publish ended what this asks for.
            Route::Request => Some(ErrorCode::Ended),
            _ => None,
        };
        assert_eq!(answer.code(), expected, "{route:?}");
        if *route == Route::AdminSetUser {
            client = scene.world.login(&scene.alice);
        }
    }
}

#[test]
fn a_body_that_is_nothing_or_something_else_is_malformed_on_every_route() {
    let bodies: [&[u8]; 8] = [
        b"",
        b"null",
        b"[]",
        b"{\"a\":",
        b"[1,2,3]",
        b"\"text\"",
        b"\xff\xff\xff\xff",
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    ];
    let nested = b"[".repeat(50_000);
    Scene::new().unharmed(|scene| {
        for (route, path, body) in routes(scene) {
            for other in bodies.into_iter().chain([&nested[..20_000]]) {
                let answer = scene.client.call(route, &path, other);
                refused_with(&answer, route, other.len());
            }
            // The same with a byte behind it, and twice.
            let longer = [&body[..], b"\x00"].concat();
            refused_with(
                &scene.client.call(route, &path, &longer),
                route,
                longer.len(),
            );
            let twice = [&body[..], &body[..]].concat();
            if twice.len() <= route.spec().limit {
                refused_with(&scene.client.call(route, &path, &twice), route, twice.len());
            }
        }
    });
}

fn refused_with(answer: &crate::http::Answer, route: Route, length: usize) {
    assert_eq!(
        answer.code(),
        Some(ErrorCode::Malformed),
        "{route:?} {length} {answer:?}"
    );
}

#[test]
fn a_body_that_is_cut_anywhere_is_malformed_on_every_route() {
    Scene::new().unharmed(|scene| {
        for (route, path, body) in routes(scene) {
            let step = (body.len() / CUTS).max(1);
            for cut in (0..body.len()).step_by(step).chain([body.len() - 1]) {
                let answer = scene.client.call(route, &path, &body[..cut]);
                refused_with(&answer, route, cut);
            }
        }
    });
}

/// A body in JSON with each of its values replaced by one of another kind or size.
fn with_wrong_values(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let whole: Value = serde_json::from_slice(body).unwrap();
    let wrong = [
        Value::Null,
        Value::Bool(true),
        Value::from(-1),
        Value::from(1.5),
        Value::from(u64::MAX),
        Value::from("\u{202e}\u{0}"),
        Value::from("x".repeat(5001)),
        Value::Array(vec![Value::Null]),
        serde_json::json!({"a": 1}),
    ];
    let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    let mut found = Vec::new();
    for field in fields {
        for value in &wrong {
            let mut other = whole.clone();
            other[&field] = value.clone();
            found.push((format!("{field} = {value}"), json(&other)));
        }
    }
    let mut other = whole;
    other["unknown"] = Value::from(1);
    found.push(("an unknown field".into(), json(&other)));
    found
}

/// Values that are wrong for most fields and right for some.
fn is_right(route: Route, what: &str) -> bool {
    let (field, value) = what.split_once(" = ").unwrap_or((what, ""));
    match (route, field) {
        // Absent as well as null.
        (_, "invitation" | "second_factor" | "standing" | "quota") if value == "null" => true,
        (Route::AdminSetUser, "disabled") => ["null", "true"].contains(&value),
        // Tokens and codes may be any text.
        (_, "token" | "second_factor" | "invitation" | "code") => value.starts_with('"'),
        _ => false,
    }
}

#[test]
fn a_field_of_another_kind_or_size_is_malformed_on_every_route() {
    Scene::new().unharmed(|scene| {
        for (route, path, body) in routes(scene) {
            if route.spec().request != Content::Json {
                continue;
            }
            for (what, wrong) in with_wrong_values(&body) {
                if is_right(route, &what) {
                    continue;
                }
                let answer = scene.client.call(route, &path, &wrong);
                let code = answer.code();
                assert_eq!(code, Some(ErrorCode::Malformed), "{route:?} {what}");
            }
        }
    });
}

#[test]
fn a_flipped_bit_of_a_statement_or_record_is_refused_on_every_route() {
    Scene::new().unharmed(|scene| {
        for (route, path, body) in routes(scene) {
            if route.spec().request != Content::Cbor {
                continue;
            }
            let step = (body.len() / CUTS).max(1);
            for at in (0..body.len()).step_by(step) {
                let mut mangled = body.clone();
                mangled[at] ^= 1 << (at % 8);
                let answer = scene.client.call(route, &path, &mangled);
                let told = (400..500).contains(&answer.status);
                assert!(told, "{route:?} byte {at}: {answer:?}");
            }
        }
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused_by_its_length_and_without_one_on_every_route() {
    Scene::new().unharmed(|scene| {
        for route in Route::ALL.iter().copied() {
            let (limit, path) = (route.spec().limit, scene.path(route));
            let head = scene.client.head(route, &path, limit + 1);
            refused(&scene.client.raw(&head, &[]), ErrorCode::TooLarge);
            if limit == 0 || route == Route::PutBlob {
                continue;
            }
            let length = format!("Content-Length: {}", limit + 1);
            let chunked = head.replace(&length, "Transfer-Encoding: chunked");
            let mut sent = format!("{:x}\r\n", limit + 1).into_bytes();
            sent.extend(std::iter::repeat_n(b' ', limit + 1));
            sent.extend_from_slice(b"\r\n0\r\n\r\n");
            refused(&scene.client.raw(&chunked, &sent), ErrorCode::TooLarge);
        }
    });
}

#[test]
fn a_body_that_breaks_off_or_is_of_another_type_changes_nothing_on_any_route() {
    use std::io::{Read as _, Write as _};
    Scene::new().unharmed(|scene| {
        for (route, path, body) in routes(scene) {
            let head = scene.client.head(route, &path, body.len());
            let mut stream = scene.client.connect(&head);
            stream.write_all(&body[..body.len() / 2]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ended = stream.read_to_end(&mut answer);
            let told = answer.is_empty() || answer.starts_with(b"HTTP/1.1 400");
            assert!(told, "{route:?}: {}", String::from_utf8_lossy(&answer));
            let typed = head.replace("Content-Type: application/", "Content-Type: text/");
            refused(
                &scene.client.raw(&typed, &body),
                ErrorCode::WrongContentType,
            );
        }
        // More than was announced, less than was announced, and another blob's bytes.
        let path = scene.path(Route::PutBlob);
        let long = scene.client.call(Route::PutBlob, &path, &[1; 101]);
        refused(&long, ErrorCode::Malformed);
        let other = scene.client.call(Route::PutBlob, &path, &[1; 100]);
        refused(&other, ErrorCode::BlobMismatch);
        let empty = scene.client.call(Route::PutBlob, &path, &[]);
        refused(&empty, ErrorCode::Malformed);
    });
}
