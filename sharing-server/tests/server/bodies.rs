//! Bodies that are malformed, cut short or too long, on every route of the table: the right code,
//! the server lives on, and nothing is stored.

use keyfold_protocol::act::Order;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, PublicationHash, RequestHash, Time};
use keyfold_protocol::publication::Audience;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::request::{Decision, Verdict};
use keyfold_protocol::routes::{Content, Route};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    AddressQuery, AdminSetUser, AdoptBlobs, AppendChain, Base64, BeginSecondFactor, BlobList,
    ConfirmSecondFactor, EndSecondFactor, Find, Invite, Login, LoginParameters, PutBook, PutPin,
    RecoveryLogin, SetPassword, Standing, VerifyEmail,
};
use keyfold_server::config::Config;
use keyfold_server::operation;
use serde_json::Value;

use crate::http::{Client, json};
use crate::people::{Person, Share, person};
use crate::requests::{ask, offer, publish, wish};
use crate::world::{
    World, auth, device, kdf, push, refused, registration, roots, signed_act, upload,
};

/// Pieces in which a body is cut.
const CUTS: usize = 24;

pub(crate) struct Scene {
    world: World,
    alice: Person,
    pub(crate) client: Client,
    share: Share,
    /// A record that could be appended.
    next: Share,
    publication: PublicationHash,
    request: RequestHash,
}

impl Scene {
    /// Alice, who may call every route.
    pub(crate) fn new() -> Self {
        let world = World::with(&Config {
            requests_per_minute: 1_000_000,
            ..Config::default()
        });
        let (alice, bob) = (person("alice"), person("bob"));
        let (client, at_bob) = (world.join(&alice), world.join(&bob));
        let change = AdminSetUser {
            standing: Some(Standing::Admin),
            ..AdminSetUser::default()
        };
        operation::set_user(&world.path(), &alice.account.user, &change).unwrap();
        let share = Share::with(&alice, &[]);
        upload(&client, &share);
        let publication = publish(&client, &alice, &share, Audience::Everyone, 1);
        let request = ask(&at_bob, &bob, publication);
        let mut next = Share::begin(&alice);
        next.id = share.id;
        next.log = share.log.clone();
        next.keys.clone_from(&share.keys);
        next.write(&alice, vec![]);
        Self {
            world,
            alice,
            client,
            share,
            next,
            publication,
            request,
        }
    }

    pub(crate) fn path(&self, route: Route) -> String {
        let path = route.spec().path;
        let path = path.replace("{share}", &self.share.id.to_string());
        let path = path.replace("{blob}", &"11".repeat(32));
        let path = path.replace("{vault}", &"22".repeat(16));
        let path = path.replace("{device}", &"33".repeat(16));
        let path = path.replace("{record}", &"44".repeat(32));
        let path = path.replace("{request}", &self.request.to_string());
        let path = path.replace("{user}", "bob").replace("{slug}", "plan");
        match route {
            Route::PutBlob => path + "?offset=0&size=100",
            Route::Pull => path + "?from=0",
            _ => path,
        }
    }

    fn act(&self, order: Order) -> Vec<u8> {
        signed_act(&self.world, &self.alice, order)
    }

    /// A body that the route takes; none where it takes no body, or any bytes. A route that is added
    /// to the table does not compile here until it has its place.
    pub(crate) fn body(&self, route: Route) -> Option<Vec<u8>> {
        let (alice, share) = (&self.alice, self.share.id);
        let user = || alice.account.user.clone();
        let list = || BlobList {
            blobs: vec![BlobId([1; 32]), BlobId([2; 32])],
        };
        Some(match route {
            Route::Register => json(&registration(&person("dave"))),
            Route::VerifyEmail => json(&VerifyEmail {
                token: "A".repeat(43),
            }),
            Route::ResendVerification => json(&AddressQuery { user: user() }),
            Route::LoginParameters => json(&LoginParameters { user: user() }),
            Route::Login => json(&Login {
                user: user(),
                auth: auth(alice, "guess"),
                device: device(alice),
                device_name: "laptop".parse().unwrap(),
                second_factor: Some("123456".into()),
            }),
            Route::RecoveryLogin => json(&RecoveryLogin {
                user: user(),
                auth: auth(alice, "guess"),
                device: device(alice),
                device_name: "laptop".parse().unwrap(),
                second_factor: None,
            }),
            Route::SetPassword => json(&SetPassword {
                current_auth: auth(alice, "password"),
                kdf: kdf(),
                auth: auth(alice, "new"),
                recovery_auth: auth(alice, "new recovery"),
                roots: roots(),
            }),
            Route::BeginSecondFactor => json(&BeginSecondFactor {
                current_auth: auth(alice, "password"),
            }),
            Route::ConfirmSecondFactor => json(&ConfirmSecondFactor {
                code: "123456".into(),
            }),
            Route::EndSecondFactor => json(&EndSecondFactor {
                current_auth: auth(alice, "password"),
                code: "123456".into(),
            }),
            Route::AppendChain => json(&AppendChain {
                entry: Base64(alice.with_new_keys().chain[1].encode()),
                roots: roots(),
                remove_devices: vec![device(alice)],
            }),
            Route::PutBook => json(&PutBook {
                generation: 1,
                sealed: Base64(vec![1; 100]),
            }),
            Route::PutPin => json(&PutPin {
                counter: 1,
                sealed: Base64(vec![1; 100]),
            }),
            Route::FindUser => json(&Find {
                email: "bob@example.org".parse().unwrap(),
            }),
            Route::Invite => json(&Invite {
                email: "carol@example.org".parse().unwrap(),
            }),
            Route::MissingBlobs | Route::ReviveBlobs => json(&list()),
            Route::AdoptBlobs => json(&AdoptBlobs {
                from: share,
                blobs: list().blobs,
            }),
            Route::AdminSetUser => json(&AdminSetUser {
                standing: Some(Standing::Auditor),
                disabled: Some(true),
                quota: Some(1),
            }),
            Route::DeleteAccount => self.act(Order::DeleteAccount),
            Route::DeleteShare => self.act(Order::DeleteShare(share)),
            Route::SetRetention => self.act(Order::SetRetention(share, 60)),
            Route::PurgeBlobs => self.act(Order::PurgeBlobs(share, list().blobs)),
            Route::CreateShare => Share::begin(alice).appended[0].encode(),
            Route::Append => self.next.appended.last().unwrap().encode(),
            Route::PutReceipt => self.receipt(),
            Route::Publish => offer(alice, &self.share, Audience::Nobody, 2),
            Route::Request => {
                let wish = wish(alice, self.publication);
                Signed::sign(wish, &alice.account.identity).encode()
            }
            Route::Decide => self.decision(),
            Route::PutBlob
            | Route::Health
            | Route::Ready
            | Route::Metrics
            | Route::ServerInfo
            | Route::OpenApi
            | Route::Logout
            | Route::Account
            | Route::Book
            | Route::Pin
            | Route::Devices
            | Route::SecondFactor
            | Route::RemoveDevice
            | Route::Chain
            | Route::Shares
            | Route::Share
            | Route::Pull
            | Route::FindRecord
            | Route::BlobState
            | Route::Blob
            | Route::DroppedBlobs
            | Route::Publications
            | Route::FindPublication
            | Route::Requests
            | Route::Events
            | Route::AdminUsers
            | Route::AdminFigures
            | Route::AdminAudit => return None,
        })
    }

    fn receipt(&self) -> Vec<u8> {
        let (seq, record) = self.share.log.head().unwrap();
        let receipt = Receipt {
            share: self.share.id,
            seq,
            record,
            device: device(&self.alice),
            root: self.alice.root(),
            entry: self.alice.account.entry,
            time: Time(1),
        };
        Signed::sign(receipt, &self.alice.account.identity).encode()
    }

    fn decision(&self) -> Vec<u8> {
        let decision = Decision {
            request: self.request,
            verdict: Verdict::Denied,
            root: self.alice.root(),
            entry: self.alice.account.entry,
            time: Time(1),
        };
        Signed::sign(decision, &self.alice.account.identity).encode()
    }

    /// All rows of all tables but those that count and note what was tried.
    fn stored(&self) -> Vec<String> {
        let path = self.world.path().join("server.db");
        let database = rusqlite::Connection::open(path).unwrap();
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut names = database.prepare(names).unwrap();
        let tables = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let tables: Vec<String> = tables.map(Result::unwrap).collect();
        let counted = ["audit", "throttle", "session"];
        let kept = tables.iter().filter(|t| !counted.contains(&t.as_str()));
        let rows = kept.flat_map(|table| {
            let mut all = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = all.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                let values: Vec<_> = values.map(Result::unwrap).collect();
                Ok(format!("{table} {values:?}"))
            };
            all.query_map([], row)
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        });
        let objects = crate::world::files(&self.world.path().join("blobs"));
        let objects = objects.iter().map(|path| path.display().to_string());
        rows.chain(objects).collect()
    }

    /// Runs `attack`, after which everything is as it was and every body is still taken as before.
    fn unharmed(self, attack: impl FnOnce(&Self)) {
        let before = self.stored();
        assert!(before.len() > 10, "{before:?}");
        attack(&self);
        assert_eq!(self.stored(), before);
        push(&self.client, &self.next).done();
        assert_eq!(self.client.get(Route::Ready, "/ready").body, b"ready\n");
    }
}

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
