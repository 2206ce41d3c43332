//! Killed, mounted again, and then the power goes: what the mount after the kill showed is there.

use keyfold_recorder::{AfterFailedSync, Dice};

use crate::points::{Extent, judge_from, seed};
use crate::recorded::judge::{Judge, Tally};
use crate::recorded::recording::Recording;
use crate::recorded::stage::Stage;
use crate::recorded::words::{append, create, fsync, rename, sync, write};
use crate::recorded::workloads::{self, Workload};
use crate::slots;

/// Kills `workload` about `kills` times, anywhere, and cuts the power as `extent` says.
fn kill(workload: &Workload, kills: usize, extent: Extent) {
    let stage = Stage::new();
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tally = Tally::default();
    let length = {
        let beneath = stage.vault();
        let mut recording = Recording::begin(&stage, &beneath, workload.timer);
        recording.run(&workload.acts);
        recording.recorder.position()
    };
    let mut at = 1 + dice.below((length / kills) as u64 + 1) as usize;
    while at < length {
        let more = kill_at(&stage, workload, (at, extent, &mut dice));
        tally.points += more.points;
        tally.images += more.images;
        at += 1 + dice.below((2 * length / kills) as u64) as usize;
    }
    println!(
        "{} killed: {} points, {} images (seed {seed})",
        workload.name, tally.points, tally.images
    );
}

fn kill_at(
    stage: &Stage,
    workload: &Workload,
    (at, extent, dice): (usize, Extent, &mut Dice),
) -> Tally {
    let beneath = stage.vault();
    let mut recording = Recording::prepare(stage, &beneath, workload.timer);
    recording.recorder.kill_at(at);
    if recording.open().is_ok() {
        for act in &workload.acts {
            let done = recording.act(act);
            if recording.recorder.is_killed() {
                break;
            }
            done.unwrap_or_else(|e| panic!("{act:?} failed: {e}"));
        }
    }
    let killed = recording.recorder.position();
    let mounted = recording.mount_again();
    mounted.unwrap_or_else(|why| panic!("killed after {killed} steps: {why}"));
    recording.run(&[
        create("after"),
        write("after", 0, 9000, 201),
        fsync("after"),
        create("other"),
        write("other", 0, 200_000, 202),
        rename("other", "after"),
        append("after", 100, 203),
        sync(),
    ]);
    recording.check_live();
    recording.close().unwrap();
    slots::none_is_written_twice(&recording.recorder.steps());
    let mut judge = Judge::new(&recording, AfterFailedSync::StillWritten);
    judge_from(&mut judge, killed, (extent, dice));
    let tally = judge.tally;
    drop(recording);
    std::fs::remove_dir_all(beneath).unwrap();
    tally
}

#[test]
fn what_a_mount_after_a_kill_shows_survives_a_power_cut() {
    kill(&workloads::mixing(), 5, Extent::Sample(8));
    kill(&workloads::punching(), 5, Extent::Sample(8));
}

#[test]
#[ignore = "every workload, dozens of kills: minutes"]
fn what_a_mount_after_any_kill_shows_survives_a_power_cut() {
    for workload in workloads::on_any_disk() {
        kill(&workload, 40, Extent::Sample(60));
    }
}
