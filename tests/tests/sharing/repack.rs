//! What a server has to keep of a file that is written over and over: what is needed, and no more.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Server, keyfold, pattern, until};

use crate::scene::{SOON, World, end, run, shared, stored, text};

const SIZE: usize = 4 << 20;
const BLOCK: usize = 4096;
/// Longest time until a quiet share is packed anew, by a machine that is at work.
const LONG: Duration = Duration::from_secs(90);

/// Writes over four of each five blocks of a file, each by itself: of whatever pack they are, far more is
/// dead than alive then. Returns what the file is then.
fn overwrite_most(path: &Path, mut content: Vec<u8>, shift: usize) -> Vec<u8> {
    let file = fs::File::options().write(true).open(path).unwrap();
    for (block, was) in content.chunks_mut(BLOCK).enumerate() {
        if (block + shift) % 5 < 4 {
            was.copy_from_slice(&pattern((shift * 10_000 + block) as u64, BLOCK));
            file.write_all_at(was, (block * BLOCK) as u64).unwrap();
        }
    }
    content
}

/// Waits until nothing more is there than what is needed, once what was before is purged.
#[track_caller]
fn shrinks(server: &mut Server, file: &Path) {
    run(&["wait-synced", text(file), "--timeout", "120s"]);
    until("the server keeps what is needed", LONG, || {
        let purged = keyfold(["purge", text(file)]);
        if purged
            .stdout
            .starts_with(|first: char| ('1'..='9').contains(&first))
        {
            // What is deleted goes from the disk when the server begins, at the latest.
            server.stop();
            server.start();
        }
        stored(server) <= (SIZE + SIZE / 8) as u64
    });
}

#[test]
fn of_packs_that_are_for_the_most_part_dead_the_server_keeps_what_is_alive() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let large = reports.join("large");
    let content = pattern(7, SIZE);
    fs::write(&large, &content).unwrap();
    run(&["wait-synced", text(&large), "--timeout", "120s"]);
    let content = overwrite_most(&large, content, 0);
    shrinks(&mut world.server, &large);

    // Who had read nothing before has what is there now, and who moved it as well.
    let there = at_bob.join("Shared/alice/Reports/large");
    until("bob reads all of it", SOON, || {
        fs::read(&there).is_ok_and(|read| read == content)
    });
    at_alice.unmount();
    let at_alice = alice.vault.mount();
    assert!(fs::read(&large).unwrap() == content);
    run(&["free", text(&large)]);
    assert!(fs::read(&large).unwrap() == content);

    // Another key is in force once somebody is taken out. Whoever comes later begins from a snapshot.
    run(&["unshare", text(&reports), "bob"]);
    let content = overwrite_most(&large, content, 2);
    shrinks(&mut world.server, &large);
    let carol = world.person("carol");
    run(&[
        "share",
        text(&reports),
        "carol",
        "--key",
        &carol.fingerprint(),
    ]);
    carol.trusts(&alice);
    let at_carol = carol.vault.mount();
    let there = at_carol.join("Shared/alice/Reports/large");
    until("carol reads all of it", SOON, || {
        fs::read(&there).is_ok_and(|read| read == content)
    });
    let tablet = alice.another_device(&world);
    let at_tablet = tablet.mount();
    let there = at_tablet.join("Shared/alice/Reports/large");
    until("the other device reads all of it", SOON, || {
        fs::read(&there).is_ok_and(|read| read == content)
    });
    at_tablet.unmount();
    tablet.check();
    end([(at_alice, &alice), (at_bob, &bob), (at_carol, &carol)]);
}
