//! Mails by SMTP, taken by a real server of another implementation.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{RegisterReply, VerifyEmail};
use keyfold_server::config::{Config, Security, Smtp};

use crate::http::json;
use crate::operating::certificate;
use crate::people::person;
use crate::world::{World, auth, files, mailed_code, refused, registration};

/// A server that takes mails, which ends with the test.
struct Taking {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Taking {
    /// What `scripts/install-deps --tests` puts there.
    fn start(arguments: &[&str]) -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache =
            cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
        let python = cache.join("keyfold/tools/python/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/smtp_server.py");
        let mut command = Command::new(&python);
        command.arg(script).args(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{}: {error}: run scripts/install-deps --tests",
                python.display()
            )
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    /// Waits until a connection ended.
    fn wait_for_an_end(&mut self) {
        assert_eq!(self.lines.next().unwrap().unwrap(), "ended");
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn smtp(port: u16) -> Smtp {
    Smtp {
        host: "localhost".into(),
        port,
        security: Security::Starttls,
        from: "Keyfold <keyfold@example.org>".into(),
        user: None,
        password_file: None,
        certificate_authority: None,
    }
}

fn world(smtp: Smtp) -> World {
    World::with(&Config {
        verify_email: true,
        smtp: Some(smtp),
        ..Config::default()
    })
}

fn register(world: &World) {
    let body = json(&registration(&person("alice")));
    let anyone = world.anonymous();
    let reply: RegisterReply = anyone.call(Route::Register, "/v1/accounts", &body).json();
    assert!(reply.verify_email);
}

/// A folder for mails, a certificate with its key, and a file with a password.
struct Scene {
    folder: tempfile::TempDir,
    mails: PathBuf,
    password: PathBuf,
    certificate: PathBuf,
    taking: Taking,
}

fn by_starttls() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let (mails, password) = (folder.path().join("mails"), folder.path().join("password"));
    std::fs::create_dir(&mails).unwrap();
    std::fs::write(&password, "the relay's password\n").unwrap();
    let (key, certificate) = certificate(folder.path());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        &text(&mails),
        "starttls",
        &text(&certificate),
        &text(&key),
        "keyfold",
        "the relay's password",
    ];
    let taking = Taking::start(&arguments);
    Scene {
        folder,
        mails,
        password,
        certificate,
        taking,
    }
}

#[test]
fn a_mail_by_starttls_and_password_proves_an_address() {
    let scene = by_starttls();
    let world = world(Smtp {
        user: Some("keyfold".into()),
        password_file: Some(scene.password.clone()),
        certificate_authority: Some(scene.certificate.clone()),
        ..smtp(scene.taking.port)
    });
    register(&world);
    let alice = person("alice");
    let login = world.try_login(&alice, auth(&alice, "password"));
    refused(&login, ErrorCode::EmailUnverified);
    let token = mailed_code(&scene.mails, "alice@example.org", &mut vec![]);
    let mail = std::fs::read_to_string(&files(&scene.mails)[0]).unwrap();
    for header in [
        "From: Keyfold <keyfold@example.org>",
        "Subject: Confirm your address",
        "Message-ID: <",
        "Date: ",
    ] {
        assert!(mail.contains(header), "{header}: {mail}");
    }
    let body = json(&VerifyEmail { token });
    let anyone = world.anonymous();
    anyone
        .call(Route::VerifyEmail, "/v1/accounts/verify", &body)
        .done();
    world.login(&alice);
    assert!(scene.folder.path().exists());
}

#[test]
fn a_server_whose_certificate_does_not_verify_gets_no_mail() {
    let mut scene = by_starttls();
    let world = world(Smtp {
        user: Some("keyfold".into()),
        password_file: Some(scene.password.clone()),
        ..smtp(scene.taking.port)
    });
    register(&world);
    scene.taking.wait_for_an_end();
    assert!(files(&scene.mails).is_empty());
}

#[test]
fn without_starttls_nothing_is_sent_where_it_is_wanted_and_a_mail_is_where_it_is_not() {
    let mails = tempfile::tempdir().unwrap();
    let mut taking = Taking::start(&[mails.path().to_str().unwrap(), "plain"]);
    let secured = world(smtp(taking.port));
    register(&secured);
    taking.wait_for_an_end();
    assert!(files(mails.path()).is_empty());
    let plain = world(Smtp {
        security: Security::Plain,
        ..smtp(taking.port)
    });
    register(&plain);
    mailed_code(mails.path(), "alice@example.org", &mut vec![]);
}

#[test]
fn mails_leave_the_machine_by_tls_alone_and_one_way() {
    let check = |smtp: Smtp, mail_folder| {
        let config = Config {
            smtp: Some(smtp),
            mail_folder,
            ..Config::default()
        };
        config.check()
    };
    assert!(check(smtp(25), None).is_ok());
    let elsewhere = |host: &str| Smtp {
        host: host.into(),
        security: Security::Plain,
        ..smtp(25)
    };
    assert!(check(elsewhere("127.0.0.1"), None).is_ok());
    assert!(check(elsewhere("mail.example.org"), None).is_err());
    assert!(check(smtp(25), Some("/tmp".into())).is_err());
    let half = Smtp {
        user: Some("keyfold".into()),
        ..smtp(25)
    };
    assert!(check(half, None).is_err());
}
