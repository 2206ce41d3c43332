//! Giving something to a group, and to who is known by an address only.

use std::fs;
use std::path::Path;

use keyfold_tests::{Mount, Vault, keyfold, until};
use serde_json::Value;

use crate::scene::{
    Person, SOON, World, comes, command, end, members, on_vault, refused, run, share_status, text,
};

fn folder(mount: &Mount, name: &str) -> std::path::PathBuf {
    let folder = mount.join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("first"), "from alice").unwrap();
    folder
}

#[test]
fn a_group_is_everybody_in_it_when_something_is_given_to_it() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    let dave = world.person("dave");
    for other in [&carol, &dave] {
        other.trusts(&alice);
    }
    alice.trusts(&carol);
    let mounts = [&alice, &bob, &carol, &dave].map(|one| one.vault.mount());
    let [at_alice, at_bob, at_carol, at_dave] = &mounts;
    let group = |words: &[&str]| {
        let vault = ["--vault", text(at_alice.path())];
        keyfold([&["group"][..], words, &vault].concat())
    };
    let made = group(&["create", "team", "bob"]);
    made.expect_success("keyfold group create");
    refused(&group(&["create", "team"]), 21, "is a group");
    refused(&group(&["add", "team", "dave"]), 52, "dave is not verified");
    refused(&group(&["add", "crew", "carol"]), 40, "no group @crew");
    group(&["add", "team", "carol"]).expect_success("keyfold group add");
    let listed = group(&["list", "--json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["group"], "team");
    assert_eq!(listed[0]["users"], serde_json::json!(["bob", "carol"]));

    let reports = folder(at_alice, "Reports");
    refused(&keyfold(["share", text(&reports), "@crew"]), 40, "no group");
    let shared = run(&["share", text(&reports), "@team", "--write"]);
    assert!(shared.contains("bob, carol are each writer"), "{shared}");
    comes(&at_bob.join("Shared/alice/Reports/first"), "from alice");
    comes(&at_carol.join("Shared/alice/Reports/first"), "from alice");
    let again = keyfold(["share", text(&reports), "@team", "--write"]);
    refused(&again, 21, "nobody in @team");

    // A change of the group changes no share, and giving again gives to who came.
    alice.trusts(&dave);
    let changed = group(&["add", "team", "dave"]);
    assert!(changed.stdout.contains("stays as it is"), "{changed}");
    group(&["remove", "team", "bob"]).expect_success("keyfold group remove");
    let members = || {
        let shown = members("Reports", at_alice);
        shown["members"].as_array().unwrap().len()
    };
    assert_eq!(members(), 3);
    assert!(!at_dave.join("Shared").exists());
    run(&["share", text(&reports), "@team", "--write"]);
    comes(&at_dave.join("Shared/alice/Reports/first"), "from alice");
    assert_eq!(members(), 4);
    group(&["delete", "team"]).expect_success("keyfold group delete");
    assert_eq!(group(&["list", "--json"]).stdout.trim(), "[]");
    fs::write(at_bob.join("Shared/alice/Reports/second"), "from bob").unwrap();
    comes(&at_dave.join("Shared/alice/Reports/second"), "from bob");
    // The control file takes the same words.
    let (failed, reply) = command(at_alice, "group create other bob");
    assert_eq!(failed, None, "{reply}");
    for mount in mounts {
        mount.unmount();
    }
    alice.vault.check();
}

/// Somebody with a mounted vault who registers and proves his address.
fn comes_by_mail(world: &World, name: &'static str, mount: &Path, vault: Vault) -> Person {
    let before = world.server.mails().len();
    let person = world.person_with(name, vault);
    until("a mail came", SOON, || world.server.mails().len() > before);
    let mail = world.server.mails().pop().unwrap();
    let words = mail.split_whitespace();
    let words = words.map(|word| word.rsplit(['=', '/', '#']).next().unwrap());
    let token = words.max_by_key(|word| word.len()).unwrap();
    let verify = ["account", "verify", token, "--vault", text(mount)];
    on_vault(&person.vault, &verify).expect_success("keyfold account verify");
    let password = world.sandbox.file("account-password", "tall giraffe\n");
    let login = ["account", "login", name, text(mount)];
    let with = ["--account-password-file", text(&password)];
    on_vault(&person.vault, &[&login[..], &with].concat()).expect_success("keyfold account login");
    person
}

#[test]
fn who_is_invited_by_an_address_is_given_the_folder_once_he_is_verified_and_not_before() {
    let world = World::with_mail();
    let (alice, bob) = (Vault::new(), Vault::new());
    let (at_alice, at_bob) = (alice.mount(), bob.mount());
    let alice = comes_by_mail(&world, "alice", at_alice.path(), alice);
    let reports = folder(&at_alice, "Reports");
    let before = world.server.mails().len();
    let invited = run(&["share", text(&reports), "bob@example.org", "--write"]);
    assert!(invited.contains("an invitation was mailed"), "{invited}");
    until("a mail came", SOON, || world.server.mails().len() > before);
    let mail = world.server.mails().pop().unwrap();
    assert!(mail.contains("bob@example.org"), "{mail}");
    assert!(!mail.contains("Reports"), "{mail}");
    let waits = || {
        command(&at_alice, "look");
        share_status(&at_alice)["invited"][0].clone()
    };
    assert_eq!(waits()["email"], "bob@example.org");
    assert_eq!(waits()["user"], Value::Null);

    let bob = comes_by_mail(&world, "bob", at_bob.path(), bob);
    bob.trusts(&alice);
    until("alice is told who came", SOON, || waits()["user"] == "bob");
    let said = waits()["waits_for"].as_str().unwrap().to_owned();
    assert!(said.contains("keyfold trust bob"), "{said}");
    assert!(!at_bob.join("Shared").exists());
    alice.trusts(&bob);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    until("nothing is waited for", SOON, || waits() == Value::Null);
    let activity = fs::read_to_string(at_alice.join(".keyfold/activity")).unwrap();
    let line = "bob is writer of Reports now, who was invited as bob@example.org.";
    assert!(activity.contains(line), "{activity}");
    until("bob may write", SOON, || {
        fs::write(here.join("second"), "from bob").is_ok()
    });
    comes(&reports.join("second"), "from bob");

    // Whose address is known only from the server is named by the user.
    let plans = folder(&at_alice, "Plans");
    let named = keyfold(["share", text(&plans), "bob@example.org"]);
    refused(&named, 52, "is the address of bob");
    let key = bob.fingerprint();
    run(&["share", text(&plans), "bob@example.org", "--key", &key]);
    comes(&at_bob.join("Shared/alice/Plans/first"), "from alice");
    end([(at_alice, &alice), (at_bob, &bob)]);
}
