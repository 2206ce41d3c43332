//! Random operations on a filesystem and on the model beside it, compared after every step, after
//! mounting again and after crashes.
//!
//! `KEYFOLD_MODEL_CASES` and `KEYFOLD_MODEL_OPS` lengthen a run; `KEYFOLD_MODEL_SEED` repeats one.

mod compare;
mod crash;
mod errno;
mod faulty;
mod history;
mod host;
mod ops;
mod pair;
mod run;
mod sequence;
mod subject;
mod tree;
mod vault;

use std::time::Duration;

use keyfold_fs::volume::VolumeOptions;

use crate::faulty::{Fault, FaultyFs};
use crate::host::HostFs;
use crate::sequence::{check_sequences, find_failure, seed};
use crate::subject::ModelSubject;
use crate::vault::{Template, VolumeSubject};

#[test]
fn model_agrees_with_itself() {
    check_sequences(&mut || Ok(ModelSubject::new()));
}

/// Needs root: the operations are done in the name of several users.
#[test]
fn model_agrees_with_the_filesystem_of_this_machine() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    check_sequences(&mut || HostFs::new().map_err(|e| e.to_string()));
}

#[test]
fn what_a_crash_may_lose_is_accepted() {
    check_sequences(&mut || Ok(FaultyFs::new(Fault::None)));
}

#[test]
fn every_fault_is_noticed() {
    let faults = [
        Fault::KeptSetuid,
        Fault::StaleTail,
        Fault::LostByte,
        Fault::MovedName,
        Fault::OtherErrno,
        Fault::ForgottenCtime,
        Fault::EmptiedOrphan,
        Fault::LostFsync,
        Fault::LostName,
        Fault::TornFile,
        Fault::EarlyRename,
    ];
    let seed = seed();
    for fault in faults {
        let found = find_failure(&mut || Ok(FaultyFs::new(fault)), seed);
        let Err(failure) = found else {
            panic!("{fault:?} went unnoticed")
        };
        println!("{fault:?} was noticed:\n{failure}");
    }
}

/// Nothing is committed unless something asks for it, so that crashes lose much.
#[test]
fn volume_agrees_with_the_model() {
    let hour = Duration::from_hours(1);
    let template = Template::new(VolumeOptions {
        commit_interval: hour,
        ..VolumeOptions::default()
    });
    check_sequences(&mut || VolumeSubject::new(&template));
}

#[test]
fn volume_agrees_while_it_commits_all_the_time() {
    let template = Template::new(VolumeOptions {
        commit_interval: Duration::from_millis(2),
        dirty_limit: 1 << 20,
        rows_limit: 64 << 10,
        ..VolumeOptions::default()
    });
    check_sequences(&mut || VolumeSubject::new(&template));
}
