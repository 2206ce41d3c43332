//! Whatever moment the power goes at, the volume mounts by itself and holds what it promised.
//!
//! `KEYFOLD_CRASH_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "each suite uses its part")]
#[path = "recorded/parts.rs"]
mod recorded;

#[path = "crash_replay/killed.rs"]
mod killed;
#[path = "crash_replay/lies.rs"]
mod lies;
#[path = "crash_replay/making.rs"]
mod making;
#[path = "crash_replay/pairs.rs"]
mod pairs;
#[path = "crash_replay/points.rs"]
mod points;
#[path = "crash_replay/sequences.rs"]
mod sequences;
#[path = "crash_replay/slots.rs"]
mod slots;

use keyfold_recorder::{AfterFailedSync, Dice};

use points::{Extent, judge_from, seed};
use recorded::judge::Judge;
use recorded::recording::Recording;
use recorded::stage::Stage;
use recorded::workloads::{self, Workload};

/// Records a workload and judges crashes all along it.
fn replay(workload: &Workload, extent: Extent) {
    let stage = Stage::new();
    let beneath = match workload.disk {
        Some(mebibytes) => stage.vault_on_small_disk(mebibytes),
        None => stage.vault(),
    };
    let mut recording = Recording::begin(&stage, &beneath, workload.timer);
    let refused = recording.run_on_full_disk(&workload.acts);
    assert_eq!(refused > 0, workload.disk.is_some(), "{refused} refused");
    recording.check_live();
    recording.close().unwrap();
    assert!(slots::none_is_written_twice(&recording.recorder.steps()) > 0);
    let mut judge = Judge::new(&recording, AfterFailedSync::StillWritten);
    if let Some(mebibytes) = workload.disk {
        judge.rebuild_in(stage.small_disk(mebibytes));
    }
    let seed = seed();
    judge_from(&mut judge, 0, (extent, &mut Dice::new(seed)));
    println!(
        "{}: {end} steps, {} points, {} images (seed {seed})",
        workload.name,
        judge.tally.points,
        judge.tally.images,
        end = judge.end(),
    );
}

/// A test of a sample and one of all points for each workload.
macro_rules! survives {
    ($($name:ident, $all:ident: $workload:ident;)*) => {
        $(
            #[test]
            fn $name() {
                replay(&workloads::$workload(), Extent::Sample(60));
            }

            #[test]
            #[ignore = "every point: minutes"]
            fn $all() {
                replay(&workloads::$workload(), Extent::All);
            }
        )*
    };
}

survives! {
    creating_survives_a_power_cut, creating_survives_a_power_cut_anywhere: creating;
    appending_survives_a_power_cut, appending_survives_a_power_cut_anywhere: appending;
    overwriting_survives_a_power_cut, overwriting_survives_a_power_cut_anywhere: overwriting;
    a_rename_is_old_or_new_after_a_power_cut, a_rename_is_old_or_new_wherever_the_power_goes:
        replacing;
    links_survive_a_power_cut, links_survive_a_power_cut_anywhere: linking;
    truncating_survives_a_power_cut, truncating_survives_a_power_cut_anywhere: truncating;
    punching_survives_a_power_cut, punching_survives_a_power_cut_anywhere: punching;
    a_mix_of_fsyncs_survives_a_power_cut, a_mix_of_fsyncs_survives_a_power_cut_anywhere: mixing;
    database_commits_survive_a_power_cut, database_commits_survive_a_power_cut_anywhere: databases;
    many_small_files_survive_a_power_cut, many_small_files_survive_a_power_cut_anywhere:
        many_small_files;
    removing_many_survives_a_power_cut, removing_many_survives_a_power_cut_anywhere: removing_many;
    commits_amid_changes_survive_a_power_cut, commits_amid_changes_survive_a_power_cut_anywhere:
        committing_all_the_time;
    a_disk_that_fills_up_survives_a_power_cut, a_disk_that_fills_up_survives_a_power_cut_anywhere:
        filling_the_disk;
}
