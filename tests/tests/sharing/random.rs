//! Whatever is done on both sides, they end the same.
//!
//! `KEYFOLD_SEED` repeats a run.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use keyfold_tests::{Seeded, pattern};

use crate::scene::{World, end, given, same};

/// Does something at random below a directory. Fails as programs fail, which is as good.
fn stir(random: &mut Seeded, dir: &Path) -> std::io::Result<()> {
    let name = |random: &mut Seeded| {
        let within = ["", "a/", "b/", "a/c/"][random.below(4) as usize];
        dir.join(format!("{within}{}", random.below(6)))
    };
    let (one, other) = (name(random), name(random));
    let length = random.below(20_000) as usize;
    match random.below(10) {
        0..3 => fs::write(one, pattern(random.next_u64(), length)),
        3 => {
            let mut file = fs::File::options().append(true).open(one)?;
            file.write_all(&pattern(random.next_u64(), length / 4))
        }
        4 => {
            let file = fs::File::options().write(true).open(one)?;
            file.write_all_at(b"in place", random.below(20_000))
        }
        5 => fs::rename(one, other),
        6 => fs::remove_file(one),
        7 => fs::create_dir_all(dir.join(["a", "b", "a/c"][random.below(3) as usize])),
        8 => fs::remove_dir(dir.join(["a", "b", "a/c"][random.below(3) as usize])),
        _ => nix::unistd::truncate(&one, length as i64).map_err(Into::into),
    }
}

fn random_changes(rounds: u64, steps: u64) {
    let mut random = Seeded::new();
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (mut at_alice, mut at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    for round in 0..rounds {
        let accident = random.below(4);
        if accident == 0 {
            world.server.stop();
        }
        for _ in 0..steps {
            let dir = if random.below(2) == 0 {
                &reports
            } else {
                &here
            };
            let _ = stir(&mut random, dir);
        }
        match accident {
            0 => world.server.start(),
            1 => {
                at_bob.kill9();
                at_bob = bob.vault.mount();
            }
            2 => {
                at_alice.kill9();
                at_alice = alice.vault.mount();
            }
            _ => {}
        }
        same(&format!("after round {round}"), &reports, &here);
    }
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn random_changes_on_both_sides_end_the_same() {
    random_changes(4, 40);
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn many_random_changes_on_both_sides_end_the_same() {
    random_changes(60, 80);
}
