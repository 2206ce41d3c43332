//! Whichever call to the disk beneath fails, the program that caused it is told, what was
//! confirmed is there, and the vault mounts again.
//!
//! `KEYFOLD_FAULT_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "each suite uses its part")]
#[path = "recorded/parts.rs"]
mod recorded;

#[path = "faults/found.rs"]
mod found;
#[path = "faults/trial.rs"]
mod trial;

use keyfold_recorder::{Call, Dice, Fault, How, Lasting};

use recorded::stage::Stage;
use recorded::vault::Timer;
use recorded::workloads::{self, Workload};
use trial::Trial;

const EIO: How = How::Errno(libc::EIO);
const ENOSPC: How = How::Errno(libc::ENOSPC);

/// Every kind of fault.
const FAULTS: [(Call, How); 14] = [
    (Call::Read, EIO),
    (Call::Read, How::Short),
    (Call::Write, EIO),
    (Call::Write, ENOSPC),
    (Call::Write, How::Short),
    (Call::Sync, EIO),
    (Call::Sync, ENOSPC),
    (Call::Allocate, EIO),
    (Call::Allocate, ENOSPC),
    (Call::Punch, EIO),
    (Call::Punch, ENOSPC),
    (Call::SetLen, EIO),
    (Call::Name, EIO),
    (Call::Name, ENOSPC),
];

/// Which of the calls fail, one in each run.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// About so many of each kind.
    Sample(u64),
    /// Every one.
    All,
}

fn seed() -> u64 {
    keyfold_tests::count("KEYFOLD_FAULT_SEED", 0x5eed)
}

/// Runs `workload` again and again, each time with another fault.
fn try_all(workload: &Workload, lasting: Lasting, extent: Extent) {
    let trial = |stage: &Stage, fault| Trial::run(stage, workload, fault);
    try_each(workload.name, &trial, (lasting, extent));
}

/// Opens a vault that was killed again and again, each time with another fault.
fn open_all(lasting: Lasting, extent: Extent) {
    let workload = workloads::left_undone();
    let trial = |stage: &Stage, fault| Trial::open(stage, &workload, fault);
    try_each("opening", &trial, (lasting, extent));
}

fn try_each(
    name: &str,
    trial: &dyn Fn(&Stage, Fault) -> Trial,
    (lasting, extent): (Lasting, Extent),
) {
    let stage = Stage::new();
    let seed = seed();
    let mut dice = Dice::new(seed);
    let (mut runs, mut failed) = (0, 0);
    for (call, how) in FAULTS {
        let fault = |nth| Fault {
            call,
            of: None,
            nth,
            how,
            lasting,
        };
        let mut nth = 0;
        loop {
            let trial = trial(&stage, fault(nth));
            runs += 1;
            failed += u64::from(trial.failed);
            if trial.untouched {
                break;
            }
            nth += match extent {
                Extent::All => 1,
                Extent::Sample(some) => 1 + dice.below(2 * trial.calls / some + 1),
            };
        }
    }
    println!(
        "{name} ({lasting:?}): {runs} runs, {failed} ended read-only or not open (seed {seed})"
    );
}

#[test]
fn any_failing_call_is_told_and_loses_nothing_confirmed() {
    try_all(
        &workloads::everything_a_little(),
        Lasting::Once,
        Extent::Sample(5),
    );
}

#[test]
fn a_disk_that_goes_on_failing_loses_nothing_confirmed() {
    try_all(
        &workloads::everything_a_little(),
        Lasting::Onwards,
        Extent::Sample(3),
    );
}

#[test]
fn failures_in_commits_nobody_waits_for_are_told_later() {
    try_all(
        &workloads::everything_amid_commits(),
        Lasting::Once,
        Extent::Sample(3),
    );
}

#[test]
fn a_fault_while_opening_loses_nothing_and_the_next_opening_works() {
    open_all(Lasting::Once, Extent::Sample(3));
}

#[test]
#[ignore = "every call: minutes"]
fn any_fault_while_opening_loses_nothing_and_the_next_opening_works() {
    open_all(Lasting::Once, Extent::All);
    open_all(Lasting::Onwards, Extent::All);
}

#[test]
#[ignore = "every call of every workload: an hour"]
fn every_failing_call_of_every_workload_is_told_and_loses_nothing_confirmed() {
    let mut workloads = workloads::on_any_disk();
    workloads.retain(|w| w.timer == Timer::Off);
    workloads.push(workloads::everything_a_little());
    workloads.push(workloads::everything_amid_commits());
    for workload in workloads {
        try_all(&workload, Lasting::Once, Extent::All);
    }
}

#[test]
#[ignore = "every call: minutes"]
fn a_disk_that_goes_on_failing_from_any_call_on_loses_nothing_confirmed() {
    try_all(
        &workloads::everything_a_little(),
        Lasting::Onwards,
        Extent::All,
    );
    try_all(
        &workloads::everything_amid_commits(),
        Lasting::Onwards,
        Extent::All,
    );
}
