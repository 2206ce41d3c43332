//! Servers that are away and daemons that were killed lose nothing and hold up nobody.

use std::fs;
use std::time::Duration;

use keyfold_tests::{keyfold, pattern, until};

use crate::scene::{
    SOON, World, comes, given, refused, run, same, share_status, shared, status, text,
};

/// Less than anybody waits who reads.
const DEADLINE: Duration = Duration::from_secs(4);

#[test]
fn while_the_server_is_away_work_goes_on_and_comes_later() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    world.server.stop();
    fs::write(reports.join("offline"), "alice alone").unwrap();
    fs::write(here.join("offline too"), "bob alone").unwrap();
    until("the error is told", SOON, || {
        let sharing = &status(&at_alice)["sharing"];
        sharing["connected"] == false && sharing["error"].is_string()
    });
    assert!(share_status(&at_alice)["waiting"].as_u64() > Some(0));
    refused(
        &keyfold(["members", "Reports", text(at_alice.path())]),
        50,
        "cannot connect",
    );
    let waited = keyfold(["wait-synced", text(&reports), "--timeout", "1s"]);
    refused(&waited, 50, "not synced");
    // Nobody is held up by it.
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    assert_eq!(
        fs::read_to_string(here.join("offline too")).unwrap(),
        "bob alone"
    );
    world.server.start();
    comes(&here.join("offline"), "alice alone");
    comes(&reports.join("offline too"), "bob alone");

    // Neither is anybody by one that takes connections and says nothing.
    world.server.freeze();
    fs::write(reports.join("frozen"), "x").unwrap();
    at_alice.unmount();
    world.server.thaw();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn a_daemon_that_was_killed_goes_on_where_it_was() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, mut at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    for round in 0..3 {
        for file in 0..20_u8 {
            let path = here.join(format!("{round}-{file}"));
            fs::write(path, pattern(file.into(), 20_000)).unwrap();
        }
        let last = fs::File::open(here.join(format!("{round}-19"))).unwrap();
        last.sync_all().unwrap();
        drop(last);
        // Some of it is under way.
        at_bob.kill9();
        fs::write(reports.join(format!("alice {round}")), "x").unwrap();
        at_bob = bob.vault.mount();
    }
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    same("after kills", &reports, &here);
    at_alice.unmount();
    at_bob.unmount();
    bob.vault.check();
}

#[test]
fn what_was_not_read_yet_is_fetched_when_it_is_and_only_then_needs_the_server() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    let large = pattern(2, 600_000);
    for name in ["one", "two", "three"] {
        fs::write(reports.join(name), &large).unwrap();
    }
    let sizes = || -> Vec<u64> {
        let size = |name| fs::metadata(here.join(name)).map_or(0, |meta| meta.len());
        ["one", "two", "three"].map(size).to_vec()
    };
    until("names and sizes came", SOON, || sizes() == [600_000; 3]);
    assert!(fs::read(here.join("one")).unwrap() == large);
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    // Nothing was asked of the server yet: whoever reads waits until it was. What waits has a deadline,
    // which passes on a machine that stands still for that long, and then it is read again.
    let begun = std::time::Instant::now();
    let read = match fs::read(here.join("two")) {
        Err(_) if begun.elapsed() > DEADLINE => fs::read(here.join("two")),
        read => read,
    };
    assert!(read.unwrap() == large);

    world.server.stop();
    assert!(fs::read(here.join("one")).unwrap() == large);
    assert_eq!(sizes(), [600_000; 3]);
    let away = fs::read(here.join("three")).unwrap_err();
    assert_eq!(away.raw_os_error(), Some(libc::EHOSTUNREACH));
    fs::write(here.join("new"), "made meanwhile").unwrap();
    world.server.start();
    comes(&reports.join("new"), "made meanwhile");
    until("it can be read again", SOON, || {
        fs::read(here.join("three")).is_ok_and(|read| read == large)
    });
    at_alice.unmount();
    at_bob.unmount();
    bob.vault.check();
}

#[test]
fn unmounting_waits_for_no_transfer_and_the_rest_goes_out_later() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    let large = pattern(3, 40 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    world.server.freeze();
    let begun = std::time::Instant::now();
    at_alice.unmount();
    eprintln!("unmounted after {:?}", begun.elapsed());
    world.server.thaw();
    let at_alice = alice.vault.mount();
    run(&["wait-synced", text(at_alice.path()), "--timeout", "120s"]);
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    assert!(fs::read(here.join("large")).unwrap() == large);
    at_alice.unmount();
    at_bob.unmount();
}
