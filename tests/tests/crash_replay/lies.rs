//! The judge notices a disk that says "durable" of what is not: no sync of the vault is there for
//! nothing, and no lost sync passes.

use keyfold_recorder::{AfterFailedSync, Loss};

use crate::recorded::judge::Judge;
use crate::recorded::recording::Recording;
use crate::recorded::stage::Stage;
use crate::recorded::vault::Timer;
use crate::recorded::words::{create, fsync, sync, write};

/// Whether lying about `name` is noticed at some point of a recording in which files are synced
/// alone and together.
fn is_noticed(recording: &Recording<'_>, names: &[&str]) -> bool {
    let mut judge = Judge::new(recording, AfterFailedSync::StillWritten);
    let nodes: Vec<_> = names
        .iter()
        .flat_map(|name| recording.recorder.named(name))
        .collect();
    assert!(nodes.len() >= names.len(), "nothing is called {names:?}");
    judge.lie_about(&nodes);
    (0..=judge.end()).any(|position| judge.judge(position, Loss::Unsynced).is_err())
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let stage = Stage::new();
    let beneath = stage.vault();
    let mut recording = Recording::begin(&stage, &beneath, Timer::Off);
    recording.run(&[
        create("a"),
        write("a", 0, 3000, 1),
        fsync("a"),
        write("a", 0, 400_000, 2),
        fsync("a"),
        create("b"),
        write("b", 0, 400_000, 3),
        sync(),
        write("b", 0, 3000, 4),
        fsync("b"),
    ]);
    recording.close().unwrap();
    // What is copied into the database counts once the log begins anew.
    recording.open().unwrap();
    recording.run(&[create("c"), sync()]);
    recording.close().unwrap();
    assert!(!is_noticed(&recording, &[]), "an honest disk is accused");
    for name in [
        "meta.db",
        "meta.db-wal",
        "journal",
        "segments",
        "000001",
        ".",
    ] {
        assert!(is_noticed(&recording, &[name]), "{name} went unnoticed");
    }
}
