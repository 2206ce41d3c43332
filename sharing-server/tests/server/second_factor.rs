//! The second factor: set up, needed by every way in, each code good once, and no way around it.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    AdminSetUser, BeginSecondFactor, ConfirmSecondFactor, EndSecondFactor, Login, LoginReply,
    NewSecondFactor, RecoveryCodes, RecoveryLogin, SecondFactorReply, SetPassword, Standing,
};
use keyfold_server::operation;
use totp_rs::{Builder, Secret};

use crate::http::{Answer, Client, json};
use crate::people::{Person, person};
use crate::world::{World, auth, device, kdf, refused, roots};

const STEP: u64 = 30;

/// Somebody with a program that shows codes.
struct Holder<'a> {
    world: &'a World,
    person: Person,
    client: Client,
    secret: String,
    recovery: Vec<String>,
}

fn code(world: &World, secret: &str) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    totp.generate(world.clock.now().0).to_string()
}

fn begin(client: &Client, person: &Person, way: &str) -> Answer {
    let body = json(&BeginSecondFactor {
        current_auth: auth(person, way),
    });
    let path = Route::BeginSecondFactor.path(&[]);
    client.call(Route::BeginSecondFactor, &path, &body)
}

fn confirm(client: &Client, code: String) -> Answer {
    let body = json(&ConfirmSecondFactor { code });
    let path = Route::ConfirmSecondFactor.path(&[]);
    client.call(Route::ConfirmSecondFactor, &path, &body)
}

fn holder<'a>(world: &'a World, name: &str) -> Holder<'a> {
    let person = person(name);
    let client = world.join(&person);
    let new: NewSecondFactor = begin(&client, &person, "password").json();
    let codes: RecoveryCodes = confirm(&client, code(world, &new.secret)).json();
    world.clock.set_ahead(STEP);
    Holder {
        world,
        person,
        client,
        secret: new.secret,
        recovery: codes.codes,
    }
}

impl Holder<'_> {
    fn code(&self) -> String {
        code(self.world, &self.secret)
    }

    fn login(&self, code: Option<&str>) -> Answer {
        let body = Login {
            user: self.person.account.user.clone(),
            auth: auth(&self.person, "password"),
            device: device(&self.person),
            device_name: "laptop".parse().unwrap(),
            second_factor: code.map(str::to_owned),
        };
        let anyone = self.world.anonymous();
        anyone.call(Route::Login, "/v1/login", &json(&body))
    }

    fn recovery_login(&self, code: Option<&str>) -> Answer {
        let body = RecoveryLogin {
            user: self.person.account.user.clone(),
            auth: auth(&self.person, "recovery"),
            device: device(&self.person),
            device_name: "laptop".parse().unwrap(),
            second_factor: code.map(str::to_owned),
        };
        let anyone = self.world.anonymous();
        anyone.call(Route::RecoveryLogin, "/v1/login/recovery", &json(&body))
    }

    fn end(&self, way: &str, code: &str) -> Answer {
        let body = json(&EndSecondFactor {
            current_auth: auth(&self.person, way),
            code: code.to_owned(),
        });
        let path = Route::EndSecondFactor.path(&[]);
        self.client.call(Route::EndSecondFactor, &path, &body)
    }

    fn state(&self) -> SecondFactorReply {
        let path = Route::SecondFactor.path(&[]);
        self.client.get(Route::SecondFactor, &path).json()
    }
}

#[test]
fn a_second_factor_counts_once_it_is_confirmed_and_setting_it_up_needs_the_password() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    refused(&confirm(&client, "123456".into()), ErrorCode::Conflict);
    refused(
        &begin(&client, &alice, "guess"),
        ErrorCode::WrongCredentials,
    );
    let first: NewSecondFactor = begin(&client, &alice, "password").json();
    assert!(
        first
            .uri
            .starts_with("otpauth://totp/Keyfold:alice?secret=")
    );
    world.login(&alice);
    let second: NewSecondFactor = begin(&client, &alice, "recovery").json();
    assert_ne!(first.secret, second.secret);
    refused(
        &confirm(&client, code(&world, &first.secret)),
        ErrorCode::SecondFactor,
    );
    world.login(&alice);
    let codes: RecoveryCodes = confirm(&client, code(&world, &second.secret)).json();
    assert_eq!(codes.codes.len(), 10);
    refused(&begin(&client, &alice, "password"), ErrorCode::Conflict);
    let plain = world.try_login(&alice, auth(&alice, "password"));
    refused(&plain, ErrorCode::SecondFactor);
    let wrong = world.try_login(&alice, auth(&alice, "guess"));
    refused(&wrong, ErrorCode::WrongCredentials);
}

#[test]
fn a_code_is_taken_once_and_none_before_it() {
    let world = World::new();
    let alice = holder(&world, "alice");
    let before = alice.code();
    world.clock.set_ahead(STEP);
    let now = alice.code();
    alice.login(Some(&now)).json::<LoginReply>();
    refused(&alice.login(Some(&now)), ErrorCode::SecondFactor);
    refused(&alice.login(Some(&before)), ErrorCode::SecondFactor);
    world.clock.set_ahead(STEP);
    alice.login(Some(&alice.code())).json::<LoginReply>();
    world.clock.set_ahead(10 * STEP);
    refused(&alice.login(Some(&now)), ErrorCode::SecondFactor);
}

#[test]
fn the_code_that_confirmed_is_no_code_for_a_login_and_a_code_used_again_is_an_alert() {
    let world = World::new();
    let admin = world.join(&person("admin"));
    let standing = AdminSetUser {
        standing: Some(Standing::Admin),
        ..AdminSetUser::default()
    };
    operation::set_user(&world.path(), &"admin".parse().unwrap(), &standing).unwrap();
    let alice = person("alice");
    let client = world.join(&alice);
    let new: NewSecondFactor = begin(&client, &alice, "password").json();
    let used = code(&world, &new.secret);
    let codes: RecoveryCodes = confirm(&client, used.clone()).json();
    let alice = Holder {
        world: &world,
        person: alice,
        client,
        secret: new.secret,
        recovery: codes.codes,
    };
    refused(&alice.login(Some(&used)), ErrorCode::SecondFactor);
    assert_eq!(alice.recovery.len(), 10);
    let metrics = String::from_utf8(admin.get(Route::Metrics, "/metrics").body).unwrap();
    assert!(
        metrics.contains("keyfold_alerts_total{alert=\"reused-code\"} 1"),
        "{metrics}"
    );
}

#[test]
fn of_many_logins_with_one_code_at_once_one_gets_in() {
    let world = World::new();
    let alice = holder(&world, "alice");
    let code = alice.code();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| alice.login(Some(&code)).status))
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().unwrap())
            .collect()
    });
    let let_in = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(let_in, 1, "{statuses:?}");
}

#[test]
fn no_way_in_goes_around_the_second_factor() {
    let world = World::new();
    let alice = holder(&world, "alice");
    refused(&alice.recovery_login(None), ErrorCode::SecondFactor);
    refused(
        &alice.recovery_login(Some("000000")),
        ErrorCode::SecondFactor,
    );
    // Another password and another recovery key leave it as it is.
    let body = json(&SetPassword {
        current_auth: auth(&alice.person, "recovery"),
        kdf: kdf(),
        auth: auth(&alice.person, "password"),
        recovery_auth: auth(&alice.person, "recovery"),
        roots: roots(),
    });
    let path = "/v1/account/password";
    alice.client.call(Route::SetPassword, path, &body).done();
    refused(&alice.login(None), ErrorCode::SecondFactor);
    refused(&alice.recovery_login(None), ErrorCode::SecondFactor);
    alice
        .recovery_login(Some(&alice.code()))
        .json::<LoginReply>();
    // Nobody's code is another's.
    let bob = holder(&world, "bob");
    refused(&alice.login(Some(&bob.code())), ErrorCode::SecondFactor);
    refused(
        &alice.login(Some(&bob.recovery[0])),
        ErrorCode::SecondFactor,
    );
    for odd in ["", " ", "12345", "1234567", "١٢٣٤٥٦", "-1", "\0\0\0\0\0\0"] {
        refused(&alice.login(Some(odd)), ErrorCode::SecondFactor);
    }
}

#[test]
fn a_recovery_code_lets_in_once_however_it_is_typed() {
    let world = World::new();
    let alice = holder(&world, "alice");
    assert_eq!(alice.state().recovery_codes, 10);
    let typed = alice.recovery[0].to_uppercase().replace('-', " ");
    alice.login(Some(&typed)).json::<LoginReply>();
    refused(
        &alice.login(Some(&alice.recovery[0])),
        ErrorCode::SecondFactor,
    );
    alice
        .recovery_login(Some(&alice.recovery[1]))
        .json::<LoginReply>();
    assert_eq!(alice.state().recovery_codes, 8);
}

#[test]
fn codes_are_not_guessed_at_length_and_wrong_ones_lock_nobody_out_for_good() {
    let world = World::new();
    let alice = holder(&world, "alice");
    for _ in 0..20 {
        refused(&alice.login(Some("000000")), ErrorCode::SecondFactor);
    }
    refused(&alice.login(Some(&alice.code())), ErrorCode::RateLimited);
    world.clock.set_ahead(900);
    alice.login(Some(&alice.code())).json::<LoginReply>();
}

#[test]
fn it_ends_with_password_and_code_and_not_with_one_of_them() {
    let world = World::new();
    let alice = holder(&world, "alice");
    refused(
        &alice.end("guess", &alice.code()),
        ErrorCode::WrongCredentials,
    );
    refused(&alice.end("password", "000000"), ErrorCode::SecondFactor);
    assert!(alice.state().on);
    alice.end("password", &alice.code()).done();
    let state = alice.state();
    assert_eq!((state.on, state.recovery_codes), (false, 0));
    refused(&alice.end("password", &alice.code()), ErrorCode::Conflict);
    alice.login(None).json::<LoginReply>();
    // Set up anew it has another secret, and codes of the one before are none.
    let again: NewSecondFactor = begin(&alice.client, &alice.person, "password").json();
    assert_ne!(again.secret, alice.secret);
}

#[test]
fn neither_secret_nor_recovery_code_can_be_read_in_the_database() {
    let world = World::new();
    let alice = holder(&world, "alice");
    let secret = Secret::try_from_base32(&alice.secret).unwrap();
    let mut planted: Vec<Vec<u8>> = vec![secret.as_bytes().to_vec(), alice.secret.clone().into()];
    planted.extend(alice.recovery.iter().map(|code| code.clone().into_bytes()));
    planted.extend(
        alice
            .recovery
            .iter()
            .map(|code| code.replace('-', "").into_bytes()),
    );
    for file in crate::world::files(&world.path()) {
        let bytes = std::fs::read(&file).unwrap();
        for planted in &planted {
            let there = bytes.windows(planted.len()).any(|part| part == planted);
            assert!(!there, "{}", file.display());
        }
    }
}
