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
        let calls = loop {
            let trial = trial(&stage, fault(nth));
            runs += 1;
            failed += u64::from(trial.failed);
            if trial.untouched {
                break trial.calls;
            }
            nth += match extent {
                Extent::All => 1,
                Extent::Sample(some) => 1 + dice.below(2 * trial.calls / some + 1),
            };
        };
        println!("{name}, {call:?} {how:?} ({lasting:?}): {calls} calls");
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
        Extent::Sample(3),
    );
}

#[test]
fn a_disk_that_goes_on_failing_loses_nothing_confirmed() {
    try_all(
        &workloads::everything_a_little(),
        Lasting::Onwards,
        Extent::Sample(2),
    );
}

#[test]
fn failures_in_commits_nobody_waits_for_are_told_later() {
    try_all(
        &workloads::everything_amid_commits(),
        Lasting::Once,
        Extent::Sample(2),
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

/// A test of every call for each workload.
macro_rules! every_call {
    ($($name:ident: $workload:ident;)*) => {
        $(
            #[test]
            #[ignore = "every call: many minutes"]
            fn $name() {
                try_all(&workloads::$workload(), Lasting::Once, Extent::All);
            }
        )*
    };
}

every_call! {
    any_fault_in_a_little_of_everything_is_told: everything_a_little;
    any_fault_amid_commits_is_told: everything_amid_commits;
    any_fault_while_creating_is_told: creating;
    any_fault_while_appending_is_told: appending;
    any_fault_while_overwriting_is_told: overwriting;
    any_fault_while_replacing_is_told: replacing;
    any_fault_while_linking_is_told: linking;
    any_fault_while_truncating_is_told: truncating;
    any_fault_while_punching_is_told: punching;
    any_fault_in_a_mix_of_fsyncs_is_told: mixing;
    any_fault_in_database_commits_is_told: databases;
    any_fault_among_many_small_files_is_told: many_small_files;
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
