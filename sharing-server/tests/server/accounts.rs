//! Accounts and ways in.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    AccountReply, AppendChain, Base64, BookReply, ChainReply, KdfParameters, LoginParameters,
    PutBook, Register, SetPassword,
};

use crate::http::json;
use crate::people::{named, person};
use crate::world::{World, auth, kdf, refused, registration, roots};

#[test]
fn a_name_is_given_once_and_the_same_registration_answers_the_same() {
    let world = World::new();
    let alice = person("alice");
    world.join(&alice);
    let call = |body: &Register| {
        world
            .anonymous()
            .call(Route::Register, "/v1/accounts", &json(body))
    };
    call(&registration(&alice)).done();
    let other = registration(&named("alice", "mallory"));
    refused(&call(&other), ErrorCode::UserTaken);
    let mut forged = registration(&person("bob"));
    forged.user = "carol".parse().unwrap();
    refused(&call(&forged), ErrorCode::BadSignature);
    let mut cheap = registration(&person("bob"));
    cheap.kdf.rounds = 1000;
    refused(&call(&cheap), ErrorCode::Malformed);
}

#[test]
fn who_asks_for_an_unknown_name_cannot_tell() {
    let world = World::new();
    world.join(&person("alice"));
    let ask = |name: &str| -> KdfParameters {
        let body = LoginParameters {
            user: name.parse().unwrap(),
        };
        let route = Route::LoginParameters;
        world
            .anonymous()
            .call(route, "/v1/login/parameters", &json(&body))
            .json()
    };
    assert_eq!(ask("alice"), kdf());
    assert_eq!(ask("nobody"), ask("nobody"));
    assert_ne!(ask("nobody"), ask("nobody2"));
    assert!(ask("nobody").rounds >= 600_000);
    let wrong = world.try_login(&person("alice"), auth(&person("x1"), "y"));
    let unknown = world.try_login(&person("nobody"), auth(&person("x1"), "y"));
    assert_eq!((wrong.status, wrong.body), (unknown.status, unknown.body));
}

#[test]
fn guessing_is_slowed_down_for_known_and_unknown_names_alike() {
    let world = World::new();
    let alice = person("alice");
    world.join(&alice);
    for name in ["alice", "nobody"] {
        let person = person(name);
        let codes: Vec<_> = (0..11)
            .map(|_| {
                world
                    .try_login(&person, auth(&person, "guess"))
                    .code()
                    .unwrap()
            })
            .collect();
        assert!(
            codes[..10]
                .iter()
                .all(|code| *code == ErrorCode::WrongCredentials)
        );
        assert_eq!(codes[10], ErrorCode::RateLimited);
    }
    refused(
        &world.try_login(&alice, auth(&alice, "password")),
        ErrorCode::RateLimited,
    );
}

#[test]
fn a_session_ends_and_its_token_is_nowhere_on_the_server() {
    let mut world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    client
        .get(Route::Account, "/v1/account")
        .json::<AccountReply>();
    client.call(Route::Logout, "/v1/session", &[]).done();
    refused(
        &client.get(Route::Account, "/v1/account"),
        ErrorCode::Unauthenticated,
    );
    let other = world.login(&alice);
    world.stop();
    let token = other.token.unwrap();
    for file in ["server.db", "server.db-wal"] {
        let bytes = std::fs::read(world.path().join(file)).unwrap_or_default();
        assert!(
            !bytes.windows(token.len()).any(|w| w == token.as_bytes()),
            "{file}"
        );
        let key = auth(&alice, "password");
        assert!(!bytes.windows(32).any(|w| w == key.0.as_slice()), "{file}");
    }
}

#[test]
fn a_password_is_changed_only_by_who_proves_the_old_one() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    let mut body = SetPassword {
        current_auth: auth(&alice, "wrong"),
        kdf: kdf(),
        auth: auth(&alice, "new password"),
        recovery_auth: auth(&alice, "recovery"),
        roots: roots(),
    };
    let call =
        |body: &SetPassword| client.call(Route::SetPassword, "/v1/account/password", &json(body));
    refused(&call(&body), ErrorCode::WrongCredentials);
    body.current_auth = auth(&alice, "password");
    call(&body).done();
    refused(
        &world.try_login(&alice, auth(&alice, "password")),
        ErrorCode::WrongCredentials,
    );
    world.try_login(&alice, auth(&alice, "new password")).done();
}

#[test]
fn a_chain_goes_on_by_an_entry_that_both_keys_signed_and_ends_a_lost_devices_sessions() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    let newer = alice.with_new_keys();
    let body = |entry: &[u8]| AppendChain {
        entry: Base64(entry.to_vec()),
        roots: roots(),
        remove_devices: vec![crate::world::device(&alice)],
    };
    let call =
        |entry: &[u8]| client.call(Route::AppendChain, "/v1/account/chain", &json(&body(entry)));
    let foreign = person("bob").with_new_keys().chain[1].encode();
    refused(&call(&foreign), ErrorCode::Conflict);
    call(&newer.chain[1].encode()).done();
    refused(&call(&newer.chain[1].encode()), ErrorCode::Unauthenticated);
    let client = world.login(&alice);
    let chain: ChainReply = client.get(Route::Chain, "/v1/users/alice/chain").json();
    assert_eq!(chain.entries.len(), 2);
}

#[test]
fn a_book_is_replaced_only_by_the_next_generation() {
    let world = World::new();
    let client = world.join(&person("alice"));
    let put = |generation, byte| {
        let body = PutBook {
            generation,
            sealed: Base64(vec![byte; 100]),
        };
        client.call(Route::PutBook, "/v1/account/book", &json(&body))
    };
    put(1, 1).done();
    put(1, 1).done();
    refused(&put(1, 2), ErrorCode::Conflict);
    refused(&put(3, 3), ErrorCode::Conflict);
    put(2, 2).done();
    let book: BookReply = client.get(Route::Book, "/v1/account/book").json();
    assert_eq!((book.generation, book.sealed.0), (2, vec![2; 100]));
}
