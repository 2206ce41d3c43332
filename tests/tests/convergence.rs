//! Three machines of two people change one folder at random, each with times of its own without the
//! server or without a daemon: they end the same, and nothing that was confirmed is lost.
//!
//! `KEYFOLD_SEED` repeats a run; `KEYFOLD_ROUNDS` makes it longer or shorter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "convergence/accident.rs"]
mod accident;
#[path = "convergence/acts.rs"]
mod acts;
#[path = "convergence/cells.rs"]
mod cells;
#[path = "convergence/ledger.rs"]
mod ledger;
#[path = "convergence/machines.rs"]
mod machines;
#[path = "convergence/picture.rs"]
mod picture;
#[path = "sharing/scene.rs"]
#[allow(dead_code, reason = "other suites use more of it")]
mod scene;

use keyfold_tests::{Seeded, count};

use accident::Accident;
use acts::Act;
use ledger::Ledger;
use machines::Machines;

/// Runs rounds of changes, most with an accident, and compares after each.
fn converge(rounds: u64, acts: u64) {
    let rounds = count("KEYFOLD_ROUNDS", rounds);
    let mut random = Seeded::new();
    let mut machines = Machines::new();
    let mut ledger = Ledger::default();
    ledger.tell(&machines.settled("to begin with"));
    // What the folder was begun with is gone for good, whoever is killed.
    machines.sync_all();
    for round in 0..rounds {
        let accident = Accident::any(&mut random);
        println!("round {round}: {accident:?}");
        ledger.note(format!("round {round}: {accident:?}"));
        accident.begins(&mut machines, &mut ledger);
        for _ in 0..acts {
            accident.goes_on(&mut random, &mut machines, &mut ledger);
            let which = random.below(machines.len());
            // An act draws as many numbers as it likes, and the next one is the same.
            let mut random = Seeded::from_seed(random.next_u64());
            if let Some(machine) = machines.at_work(which) {
                Act::any(&mut random).carry_out(&mut random, machine, &mut ledger);
            }
        }
        accident.ends(&mut machines);
        let when = format!("after round {round}");
        let picture = machines.settled(&when);
        ledger.compare(&when, &picture);
        ledger.tell(&picture);
    }
    println!("{ledger}");
    ledger.expect_work();
    machines.end();
}

#[test]
fn three_machines_end_the_same_and_lose_nothing_that_was_confirmed() {
    converge(4, 40);
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn three_machines_end_the_same_however_long_it_goes_on() {
    converge(100, 60);
}
