//! Requests: how they are told, answered, and how they end without a grant.

use std::fs;
use std::path::Path;

use keyfold_tests::{Mount, Outcome, keyfold, until};

use crate::publish::{asked, attribute, locked, offered};
use crate::scene::{SOON, World, comes, command, end, members, refused, run, status, text};

/// Asks for a locked folder. Returns the request's id.
fn request(stub: &Path, options: &[&str]) -> String {
    let told = run(&[&["request", text(stub)], options].concat());
    let id = told.split("request ").nth(1).and_then(|rest| rest.get(..8));
    id.unwrap_or_else(|| panic!("no id: {told}")).to_owned()
}

fn approve(mount: &Mount, id: &str) -> Outcome {
    keyfold(["approve", id, text(mount.path())])
}

#[test]
fn a_request_is_told_in_the_inbox_and_granted_through_the_control_file() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, stub) = offered(&at_alice, &at_bob);
    let id = request(&stub, &["--message", "for the\naudit"]);
    let again = request(&stub, &[]);
    assert_eq!(again, id, "what was asked for is asked for twice");
    until("the request is told", SOON, || {
        status(&at_alice)["sharing"]["requests"] == 1
    });
    let approve = format!("approve {id}");
    let (failed, reply) = command(&at_alice, &approve);
    assert_eq!(failed, Some(libc::EKEYREJECTED), "{reply}");
    let inbox = fs::read_to_string(at_alice.join(".keyfold/inbox")).unwrap();
    let line = inbox.lines().next().unwrap();
    assert_eq!(inbox.lines().count(), 1, "{inbox}");
    assert!(line.starts_with(&id), "{line}");
    let rest = "bob asks to read \"Plan 2027\" (verified): for the audit";
    assert!(line.ends_with(rest), "{line}");
    let (failed, reply) = command(&at_alice, &approve);
    assert_eq!(failed, None, "{reply}");
    let (failed, reply) = command(&at_alice, &approve);
    assert_eq!(failed, None, "what is done already fails: {reply}");
    comes(&stub.join("first"), "from alice");
    until("nothing waits any more", SOON, || {
        fs::read_to_string(at_alice.join(".keyfold/inbox"))
            .unwrap()
            .is_empty()
    });
    let activity = |mount: &Mount| fs::read_to_string(mount.join(".keyfold/activity")).unwrap();
    let of_alice = activity(&at_alice);
    for said in [
        "can be read by the server",
        "bob asks to read",
        "bob is reader of",
    ] {
        assert!(of_alice.contains(said), "{said}: {of_alice}");
    }
    let of_bob = activity(&at_bob);
    assert!(of_bob.contains("alice gives \"Plan"), "{of_bob}");
    at_alice.unmount();
    let at_alice = alice.vault.mount();
    assert_eq!(activity(&at_alice), of_alice);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_request_that_was_refused_or_taken_back_gives_nothing_and_can_be_made_again() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, stub) = offered(&at_alice, &at_bob);
    let state = |expected: &str| {
        until(expected, SOON, || attribute("state", &stub) == expected);
    };
    let first = request(&stub, &[]);
    state("requested");
    assert_eq!(asked(&at_alice), first);
    run(&["deny", &first, text(at_alice.path())]);
    state("locked");
    refused(&approve(&at_alice, &first), 51, "it was denied");
    let asked_word = || status(&at_bob)["sharing"]["locked"][0]["asked"].clone();
    assert_eq!(asked_word(), "denied");

    let second = request(&stub, &[]);
    state("requested");
    assert_eq!(asked(&at_alice), second);
    run(&["withdraw", &second, text(at_bob.path())]);
    state("locked");
    refused(&approve(&at_alice, &second), 51, "it was withdrawn");

    let third = request(&stub, &["--expires", "3s"]);
    assert_eq!(asked(&at_alice), third);
    until("the request is over", SOON, || {
        run(&["inbox", text(at_alice.path()), "--json"]).trim() == "[]"
    });
    assert!(!approve(&at_alice, &third).succeeded());
    locked(&stub);
    let members = members("Plan", &at_alice);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn what_is_not_offered_cannot_be_asked_for() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let folder = at_alice.join("Plan");
    fs::create_dir(&folder).unwrap();
    let publish = |options: &[&str]| {
        let words = ["publish", text(&folder), "--title", "Plan"];
        keyfold(words.iter().chain(options))
    };
    let stranger = publish(&["--to", "carol"]);
    refused(&stranger, 52, "carol is not verified yet");
    refused(&publish(&["--to", "nobody"]), 40, "nobody is called nobody");
    alice_publishes_to_bob(&publish(&["--to", "bob"]));
    locked(&at_bob.join("Shared/alice/Plan"));
    let address = attribute("link", &at_bob.join("Shared/alice/Plan"));
    assert_eq!(attribute("link", &folder), address);

    let nothing = address.replace("/plan#", "/nothing#");
    let unknown = keyfold(["request", &nothing, text(at_bob.path())]);
    refused(&unknown, 40, "nothing is offered to this account");
    refused(
        &keyfold(["request", text(&folder)]),
        40,
        "nothing that could be",
    );
    // Whom it is not offered to does not learn that it is there.
    let at_carol = carol.vault.mount();
    let hidden = keyfold(["request", &address, text(at_carol.path())]);
    refused(&hidden, 40, "nothing is offered to this account");
    at_carol.unmount();

    let second = at_alice.join("Second");
    fs::create_dir(&second).unwrap();
    let taken = [
        "publish",
        text(&second),
        "--title",
        "Other",
        "--slug",
        "plan",
        "--everyone",
    ];
    refused(&keyfold(taken), 2, "offered as plan");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

fn alice_publishes_to_bob(published: &Outcome) {
    published.expect_success("publish --to bob");
    let told = &published.stdout;
    for said in ["by the server", "those who run it", "bob", "/plan#"] {
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn an_offer_that_was_changed_since_is_granted_as_it_was_shown() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (folder, stub) = offered(&at_alice, &at_bob);
    let id = request(&stub, &[]);
    assert_eq!(asked(&at_alice), id);
    run(&[
        "publish",
        text(&folder),
        "--title",
        "Plan 2028",
        "--to",
        "bob",
    ]);
    let stub = at_bob.join("Shared/alice/Plan 2028");
    locked(&stub);
    assert!(!at_bob.join("Shared/alice/Plan 2027").exists());
    assert_eq!(attribute("state", &stub), "requested");
    approve(&at_alice, &id).expect_success("approve");
    comes(&stub.join("first"), "from alice");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_title_leads_nowhere_else_and_takes_no_name_that_is_there() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    fs::create_dir_all(at_bob.join("Shared/alice/Mine")).unwrap();
    fs::write(at_bob.join("Shared/alice/Mine/own"), "bob's").unwrap();
    for (number, title) in ["..", ".keyfold", "a/../../b", "Mine", "Mine"]
        .iter()
        .enumerate()
    {
        let folder = at_alice.join(format!("{number}"));
        fs::create_dir(&folder).unwrap();
        let slug = format!("slug-{number}");
        let words = ["publish", text(&folder), "--title", title, "--slug", &slug];
        run(&[&words[..], &["--to", "bob"]].concat());
    }
    let bidi = keyfold([
        "publish",
        text(&at_alice.join("0")),
        "--title",
        "a\u{202e}b",
        "--everyone",
    ]);
    refused(&bidi, 2, "steer a terminal");
    until("all five are there", SOON, || {
        status(&at_bob)["sharing"]["locked"]
            .as_array()
            .is_some_and(|all| all.len() == 5)
    });
    let listed = |dir: &str| {
        let entries = fs::read_dir(at_bob.join(dir)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let names = listed("Shared/alice");
    let (plain, made): (Vec<String>, Vec<String>) = names
        .into_iter()
        .partition(|name| !name.starts_with("share "));
    assert_eq!(plain, ["Mine", "Mine (2)", "Mine (3)", "a_.._.._b"]);
    assert_eq!(made.len(), 2, "{made:?}");
    assert_eq!(listed("Shared"), ["alice"]);
    assert_eq!(listed(""), ["Shared"]);
    let own = fs::read_to_string(at_bob.join("Shared/alice/Mine/own"));
    assert_eq!(own.unwrap(), "bob's");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_mount_that_takes_no_commands_neither_asks_nor_gives() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, stub) = offered(&at_alice, &at_bob);
    let id = request(&stub, &[]);
    asked(&at_alice);
    at_alice.unmount();
    let at_alice = alice.vault.mount_with(&["-o", "control=read"]);
    until("the request is told", SOON, || {
        status(&at_alice)["sharing"]["requests"] == 1
    });
    assert!(
        fs::read_to_string(at_alice.join(".keyfold/inbox"))
            .unwrap()
            .contains(&id)
    );
    for line in [
        format!("approve {id}"),
        format!("deny {id}"),
        "publish Plan --title Other --everyone".to_owned(),
        "unpublish Plan".to_owned(),
    ] {
        assert_eq!(command(&at_alice, &line).0, Some(libc::EACCES), "{line}");
    }
    at_alice.unmount();
    let at_alice = alice.vault.mount_with(&["-o", "control=off"]);
    for file in ["inbox", "activity"] {
        let read = fs::read(at_alice.join(".keyfold").join(file)).unwrap_err();
        assert_eq!(read.raw_os_error(), Some(libc::EACCES), "{file}");
    }
    locked(&stub);
    end([(at_alice, &alice), (at_bob, &bob)]);
}
