//! What operators and administrators decide: TLS, mail, standing.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    AdminFiguresReply, AdminSetUser, AuditReply, Find, FoundReply, RegisterReply, Standing,
    VerifyEmail,
};
use keyfold_server::config::Config;
use keyfold_server::operation;

use crate::http::json;
use crate::people::{Share, person};
use crate::world::{World, auth, mailed_code, refused, registration, upload};

#[test]
fn an_address_is_proved_once_by_what_was_mailed_to_it_before_the_first_login() {
    let mails = tempfile::tempdir().unwrap();
    let world = World::with(&Config {
        verify_email: true,
        mail_folder: Some(mails.path().to_owned()),
        ..Config::default()
    });
    let alice = person("alice");
    let anyone = world.anonymous();
    let body = json(&registration(&alice));
    let reply: RegisterReply = anyone.call(Route::Register, "/v1/accounts", &body).json();
    assert!(reply.verify_email);
    let login = || world.try_login(&alice, auth(&alice, "password"));
    refused(&login(), ErrorCode::EmailUnverified);
    let wrong = world.try_login(&alice, auth(&alice, "guess"));
    refused(&wrong, ErrorCode::WrongCredentials);
    let verify = |token: String| {
        let body = json(&VerifyEmail { token });
        anyone.call(Route::VerifyEmail, "/v1/accounts/verify", &body)
    };
    refused(&verify("A".repeat(43)), ErrorCode::Expired);
    let code = mailed_code(mails.path(), "alice@example.org", &mut vec![]);
    verify(code.clone()).done();
    refused(&verify(code), ErrorCode::Expired);
    let client = world.login(&alice);
    let body = json(&Find {
        email: "alice@example.org".parse().unwrap(),
    });
    let found: FoundReply = client.call(Route::FindUser, "/v1/users/find", &body).json();
    assert_eq!(found.user, alice.account.user);
}

#[test]
fn an_account_that_is_switched_off_has_no_session_and_gets_none() {
    let world = World::new();
    let (admin, bob) = (person("admin"), person("bob"));
    let (at_admin, at_bob) = (world.join(&admin), world.join(&bob));
    let standing = AdminSetUser {
        standing: Some(Standing::Admin),
        ..AdminSetUser::default()
    };
    operation::set_user(&world.path(), &admin.account.user, &standing).unwrap();
    let off = AdminSetUser {
        disabled: Some(true),
        ..AdminSetUser::default()
    };
    let path = Route::AdminSetUser.path(&[&"bob"]);
    at_admin
        .call(Route::AdminSetUser, &path, &json(&off))
        .done();
    refused(
        &at_bob.get(Route::Account, "/v1/account"),
        ErrorCode::Unauthenticated,
    );
    let again = world.try_login(&bob, auth(&bob, "password"));
    refused(&again, ErrorCode::AccountDisabled);
    upload(&at_admin, &Share::begin(&admin));
    let route = Route::AdminFigures;
    let figures: AdminFiguresReply = at_admin.get(route, "/v1/admin/figures").json();
    assert_eq!((figures.users, figures.shares, figures.records), (2, 1, 1));
    let audit: AuditReply = at_admin
        .get(Route::AdminAudit, "/v1/admin/audit?from=2")
        .json();
    assert_eq!(audit.entries[0].number, 2);
    assert!(audit.entries.iter().any(|entry| entry.act == "set-user"));
    let metrics = at_admin.get(Route::Metrics, "/metrics").body;
    assert!(
        String::from_utf8(metrics)
            .unwrap()
            .contains("route=\"CreateShare\",status=\"200\"")
    );
}

/// A key and a certificate of `localhost`, which verifies itself.
pub(crate) fn certificate(folder: &std::path::Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    make.args([
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    assert!(make.output().unwrap().status.success());
    (key, certificate)
}

#[test]
fn with_a_certificate_the_server_speaks_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = certificate(folder.path());
    let world = World::with(&Config {
        tls_certificate: Some(certificate.clone()),
        tls_key: Some(key),
        ..Config::default()
    });
    let mut client = Command::new("openssl");
    client.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-servername",
        "localhost",
    ]);
    client.args([
        "-verify_hostname",
        "localhost",
        "-connect",
        &world.address.to_string(),
    ]);
    client.arg("-CAfile").arg(&certificate);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = client.spawn().unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut input = child.stdin.take().unwrap();
    input.write_all(request).unwrap();
    let mut answer = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut answer)
        .unwrap();
    drop(input);
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut plain = std::net::TcpStream::connect(world.address).unwrap();
    plain.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _closed = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "plain HTTP was answered");
}
