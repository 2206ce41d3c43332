//! What is done for names that somebody has and for those that nobody has.

use keyfold_protocol::account::NewAccount;
use zeroize::Zeroizing;

use super::*;
use crate::db::Db;
use crate::service::{Pepper, Rules};

const NOW: Time = Time(1_800_000_000);

fn rules() -> Rules {
    Rules {
        pepper: Pepper(Zeroizing::new([7; 32])),
        open_registration: true,
        verify_email: true,
        quota: 1 << 20,
        registrations: 100,
        failed_logins: 100,
        public_url: "http://localhost".into(),
        audit_key: crate::service::audit::AuditKey::from_bytes(&[8; 32]),
    }
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn registration(user: &str) -> Register {
    let account = NewAccount::generate(name(user), NOW).unwrap();
    Register {
        user: name(user),
        email: format!("{user}@example.org").parse().unwrap(),
        kdf: KdfParameters {
            salt: Key([1; 32].into()),
            rounds: AccountRounds::FLOOR,
            mac: Key([2; 32].into()),
        },
        auth: Key([3; 32].into()),
        recovery_auth: Key([4; 32].into()),
        roots: SealedRoots {
            password: Base64(vec![1; 300]),
            recovery: Base64(vec![2; 300]),
        },
        entry: Base64(account.entry.encode()),
        invitation: None,
    }
}

/// A server where `proved` has proved his address, `unproved` has not, and `gone` is deleted.
fn server() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.db");
    Db::create(&path).unwrap();
    let db = Db::open(&path).unwrap();
    let rules = rules();
    db.write_now(|tx| {
        let work = Work::new(tx, Time(NOW.0 - 1000), &rules);
        for user in ["proved", "unproved", "gone"] {
            register(&work, &Origin(vec![1]), &registration(user))?;
        }
        let root = |user| accounts::by_name(tx, &name(user)).unwrap().unwrap().root;
        accounts::verify_email(tx, &root("proved"))?;
        accounts::delete(tx, &root("gone"))?;
        Ok::<_, Failure>(())
    })
    .unwrap();
    (folder, db)
}

/// The statements that a rule runs, and what it answers.
fn done<T>(db: &Db, rule: impl FnOnce(&Work<'_>) -> T) -> (Vec<String>, T) {
    let rules = rules();
    let both = db.write_now(|tx| {
        let answer = rule(&Work::new(tx, NOW, &rules));
        Ok::<_, DbError>((tx.statements.take(), answer))
    });
    both.unwrap()
}

use crate::db::DbError;

const NAMES: [&str; 4] = ["proved", "unproved", "gone", "nobody"];

#[test]
fn a_failed_login_takes_the_same_steps_whoever_is_named() {
    for way in [WayIn::Password, WayIn::Recovery] {
        let (_folder, db) = server();
        let steps = NAMES.map(|user| {
            let attempt = Attempt {
                way,
                user: name(user),
                auth: Key([9; 32].into()),
                device: DeviceId([1; 16]),
                device_name: "laptop".parse().unwrap(),
                second_factor: None,
                origin: Origin(vec![1]),
            };
            let (steps, answer) = done(&db, |work| login(work, &attempt).unwrap());
            let Err(Failure::Refused(reply)) = answer else {
                panic!("{user} got in");
            };
            (steps, *reply)
        });
        assert!(steps[0].0.len() > 5, "{steps:?}");
        assert!(steps.iter().all(|other| *other == steps[0]), "{steps:#?}");
    }
}

#[test]
fn parameters_take_the_same_steps_whoever_is_named() {
    let (_folder, db) = server();
    let steps = NAMES.map(|user| done(&db, |work| parameters(work, &name(user)).unwrap()).0);
    assert!(!steps[0].is_empty());
    assert!(steps.iter().all(|other| *other == steps[0]), "{steps:#?}");
}

#[test]
fn a_mail_asked_for_again_takes_the_same_steps_whether_it_is_sent_or_not() {
    let (_folder, db) = server();
    let ask = |user| done(&db, |work| recovery::resend(work, &name(user)).unwrap());
    let answers = NAMES.map(ask);
    let sent = answers.each_ref().map(|(_, letter)| letter.is_some());
    assert_eq!(sent, [false, true, false, false]);
    assert!(answers.iter().all(|(steps, _)| *steps == answers[0].0));
    let (steps, again) = ask("unproved");
    assert!(again.is_none(), "two mails at once");
    assert_eq!(steps, answers[0].0);
}
