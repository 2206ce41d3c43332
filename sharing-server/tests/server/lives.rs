//! Accounts from an invitation to their end, and the way in by recovery key.

use keyfold_protocol::act::Order;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::publication::Audience;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    AccountReply, Find, Invite, Key, LoginReply, PutPin, RecoveryLogin, Register, RequestsReply,
    SetPassword, ShareItem,
};
use keyfold_server::config::Config;

use crate::http::{Answer, Client, json};
use crate::people::{Person, Share, named, person};
use crate::requests::{ask, publish};
use crate::world::{
    DAY, World, auth, device, files, kdf, mailed_code, pull, refused, registration, roots,
    signed_act, until, upload,
};

fn recovery_login(world: &World, person: &Person, auth: Key) -> Answer {
    let body = RecoveryLogin {
        user: person.account.user.clone(),
        auth,
        device: device(person),
        device_name: "phone".parse().unwrap(),
        second_factor: None,
    };
    let route = Route::RecoveryLogin;
    world
        .anonymous()
        .call(route, "/v1/login/recovery", &json(&body))
}

#[test]
fn a_recovery_key_opens_the_account_and_sets_a_new_password() {
    let world = World::new();
    let alice = person("alice");
    world.join(&alice);
    let reply: LoginReply = recovery_login(&world, &alice, auth(&alice, "recovery")).json();
    assert_eq!(reply.root, roots().recovery);
    let client = Client {
        address: world.address,
        token: Some(reply.token),
    };
    let account: AccountReply = client.get(Route::Account, "/v1/account").json();
    assert_eq!(account.root, alice.root());
    upload(&client, &Share::begin(&alice));
    let body = json(&SetPassword {
        current_auth: auth(&alice, "recovery"),
        kdf: kdf(),
        auth: auth(&alice, "new password"),
        recovery_auth: auth(&alice, "new recovery"),
        roots: roots(),
    });
    let set = client.call(Route::SetPassword, "/v1/account/password", &body);
    set.done();
    world.try_login(&alice, auth(&alice, "new password")).done();
    let before = recovery_login(&world, &alice, auth(&alice, "recovery"));
    refused(&before, ErrorCode::WrongCredentials);
    recovery_login(&world, &alice, auth(&alice, "new recovery")).done();
}

#[test]
fn neither_way_in_takes_what_proves_the_other_and_both_are_counted_together() {
    let world = World::with(&Config {
        failed_logins: 4,
        ..Config::default()
    });
    let alice = person("alice");
    world.join(&alice);
    for _ in 0..2 {
        let crossed = recovery_login(&world, &alice, auth(&alice, "password"));
        refused(&crossed, ErrorCode::WrongCredentials);
        let crossed = world.try_login(&alice, auth(&alice, "recovery"));
        refused(&crossed, ErrorCode::WrongCredentials);
    }
    let right = recovery_login(&world, &alice, auth(&alice, "recovery"));
    refused(&right, ErrorCode::RateLimited);
    let nobody = recovery_login(&world, &person("nobody"), auth(&alice, "recovery"));
    refused(&nobody, ErrorCode::WrongCredentials);
}

fn register(world: &World, body: &Register) -> Answer {
    let anyone = world.anonymous();
    anyone.call(Route::Register, "/v1/accounts", &json(body))
}

/// Alice with a share of her own, one with Bob, a pin, and a request to him.
fn busy(world: &World) -> (Client, Client, Share) {
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let own = Share::begin(&alice);
    upload(&at_alice, &own);
    let blob = keyfold_protocol::pack::blob_id(b"sealed");
    let path = Route::PutBlob.path(&[&own.id, &blob]) + "?offset=0&size=6";
    at_alice.call(Route::PutBlob, &path, b"sealed").done();
    let common = Share::with(&bob, &[(&alice, Role::Owner)]);
    upload(&at_bob, &common);
    let others = Share::begin(&bob);
    upload(&at_bob, &others);
    let publication = publish(&at_bob, &bob, &others, Audience::Everyone, 1);
    ask(&at_alice, &alice, publication);
    let pin = json(&PutPin {
        counter: 1,
        sealed: keyfold_protocol::wire::Base64(b"planted sealed pin".to_vec()),
    });
    let path = Route::PutPin.path(&[&"00".repeat(16)]);
    at_alice.call(Route::PutPin, &path, &pin).done();
    (at_alice, at_bob, common)
}

fn delete(world: &World, client: &Client, whom: &Person) -> Answer {
    let body = signed_act(world, whom, Order::DeleteAccount);
    client.call(Route::DeleteAccount, "/v1/account/delete", &body)
}

#[test]
fn a_deleted_account_is_gone_with_what_only_it_had_and_others_keep_what_they_share() {
    let mut world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob, common) = busy(&world);
    refused(&delete(&world, &at_alice, &bob), ErrorCode::BadSignature);
    delete(&world, &at_alice, &alice).done();
    let asked = at_alice.get(Route::Account, "/v1/account");
    refused(&asked, ErrorCode::Unauthenticated);
    let login = world.try_login(&alice, auth(&alice, "password"));
    let nobody = person("nobody");
    let unknown = world.try_login(&nobody, auth(&nobody, "password"));
    assert_eq!((login.status, login.body), (unknown.status, unknown.body));
    let chain = at_bob.get(Route::Chain, "/v1/users/alice/chain");
    refused(&chain, ErrorCode::NotFound);
    let find = json(&Find {
        email: "alice@example.org".parse().unwrap(),
    });
    let found = at_bob.call(Route::FindUser, "/v1/users/find", &find);
    refused(&found, ErrorCode::NotFound);
    let requests: RequestsReply = at_bob.get(Route::Requests, "/v1/requests").json();
    assert_eq!(requests.incoming, []);
    let path = Route::Share.path(&[&common.id]);
    let item: ShareItem = at_bob.get(Route::Share, &path).json();
    assert!(item.rotation_due);
    assert_eq!(pull(&at_bob, common.id, 0).records.len(), 2);
    // What is over is looked for whenever the server starts.
    world.stop();
    world.start();
    let blobs = world.path().join("blobs");
    until("a blob of a share that ended stays", || {
        files(&blobs).is_empty()
    });
    world.stop();
    for file in files(&world.path()) {
        let bytes = std::fs::read(&file).unwrap();
        for planted in [&b"alice@example.org"[..], b"planted sealed pin"] {
            let there = bytes.windows(planted.len()).any(|part| part == planted);
            assert!(!there, "{} has {planted:?}", file.display());
        }
    }
}

#[test]
fn the_name_of_a_deleted_account_is_never_given_again() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    delete(&world, &client, &alice).done();
    refused(
        &register(&world, &registration(&alice)),
        ErrorCode::UserTaken,
    );
    let other = registration(&named("alice", "mallory"));
    refused(&register(&world, &other), ErrorCode::UserTaken);
    let again = delete(&world, &client, &alice);
    refused(&again, ErrorCode::Unauthenticated);
}

#[test]
fn who_is_invited_registers_once_where_nobody_else_may() {
    let mails = tempfile::tempdir().unwrap();
    let mut world = World::with(&Config {
        mail_folder: Some(mails.path().to_owned()),
        ..Config::default()
    });
    world.join(&person("alice"));
    world.reconfigure(|config| config.open_registration = false);
    let client = world.login(&person("alice"));
    let uninvited = registration(&person("bob"));
    refused(&register(&world, &uninvited), ErrorCode::Forbidden);
    let invite = |client: &Client, email: &str| {
        let body = json(&Invite {
            email: email.parse().unwrap(),
        });
        client.call(Route::Invite, "/v1/invitations", &body)
    };
    invite(&client, "bob@example.org").done();
    let mut read = Vec::new();
    let code = mailed_code(mails.path(), "bob@example.org", &mut read);
    // One mail a day, whoever sends it; the answer is the same.
    invite(&client, "bob@example.org").done();
    invite(&client, "carol@example.org").done();
    let for_carol = mailed_code(mails.path(), "carol@example.org", &mut read);
    assert_eq!(files(mails.path()).len(), 2);
    let with = |name: &str, code: &str| Register {
        invitation: Some(code.to_owned()),
        ..registration(&person(name))
    };
    let mut forged = with("bob", &code);
    forged.auth = forged.recovery_auth.clone();
    forged.user = "mallory".parse().unwrap();
    refused(&register(&world, &forged), ErrorCode::BadSignature);
    refused(
        &register(&world, &with("bob", "guessed")),
        ErrorCode::Forbidden,
    );
    register(&world, &with("bob", &code)).done();
    world.login(&person("bob"));
    refused(
        &register(&world, &with("dave", &code)),
        ErrorCode::Forbidden,
    );
    world.clock.set_ahead(14 * DAY);
    refused(
        &register(&world, &with("carol", &for_carol)),
        ErrorCode::Forbidden,
    );
    invite(&client, "carol@example.org").done();
    let again = mailed_code(mails.path(), "carol@example.org", &mut read);
    register(&world, &with("carol", &again)).done();
}

#[test]
fn nobody_sends_mails_to_more_than_some_addresses_in_a_day() {
    let world = World::new();
    let client = world.join(&person("alice"));
    let invite = |number: u32| {
        let body = json(&Invite {
            email: format!("somebody{number}@example.org").parse().unwrap(),
        });
        client.call(Route::Invite, "/v1/invitations", &body)
    };
    (0..50).for_each(|number| invite(number).done());
    refused(&invite(50), ErrorCode::RateLimited);
    world.clock.set_ahead(DAY);
    invite(51).done();
}

#[test]
fn a_statement_of_an_account_is_no_act_of_another() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let body = signed_act(&world, &alice, Order::DeleteAccount);
    assert!(
        Encoded::decode(&body)
            .map(|_: keyfold_protocol::signed::Signed<keyfold_protocol::act::Act>| ())
            .is_ok()
    );
    let answer = at_bob.call(Route::DeleteAccount, "/v1/account/delete", &body);
    refused(&answer, ErrorCode::BadSignature);
    at_alice.get(Route::Account, "/v1/account").done();
    at_bob.get(Route::Account, "/v1/account").done();
}
