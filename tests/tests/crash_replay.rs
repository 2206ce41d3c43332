//! Whatever moment the power goes at, the volume mounts by itself and holds what it promised.
//!
//! `KEYFOLD_CRASH_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "recorded/act.rs"]
mod act;
#[path = "recorded/history.rs"]
mod history;
#[path = "recorded/judge.rs"]
mod judge;
#[path = "recorded/recording.rs"]
mod recording;
#[path = "recorded/seen.rs"]
mod seen;
#[path = "recorded/stage.rs"]
mod stage;
#[path = "recorded/vault.rs"]
mod vault;
#[path = "recorded/workloads.rs"]
mod workloads;

use std::time::Instant;

use keyfold_recorder::{AfterFailedSync, Dice, Loss, Step};

use judge::Judge;
use recording::Recording;
use stage::Stage;
use workloads::Workload;

/// How many points are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// So many of those that there are.
    Sample(u64),
    /// Every step of the log, several ways.
    All,
}

fn seed() -> u64 {
    keyfold_tests::count("KEYFOLD_CRASH_SEED", 0x5eed)
}

/// Records a workload and judges crashes all along it.
fn replay(workload: &Workload, extent: Extent) {
    let stage = Stage::new();
    let started = Instant::now();
    let beneath = stage.vault();
    let mut recording = Recording::begin(&stage, &beneath, workload.timer);
    recording.run(&workload.acts);
    recording.check_live();
    recording.close().unwrap();
    let recorded = started.elapsed();
    let mut judge = Judge::new(&recording, AfterFailedSync::StillWritten);
    let seed = seed();
    judge_all(&mut judge, extent, &mut Dice::new(seed));
    println!(
        "{}: {} steps, {} points, {} images, recorded in {recorded:.1?}, judged in {:.1?} \
         (seed {seed})",
        workload.name,
        judge.end(),
        judge.tally.points,
        judge.tally.images,
        started.elapsed() - recorded,
    );
}

fn judge_all(judge: &mut Judge<'_>, extent: Extent, dice: &mut Dice) {
    let end = judge.end();
    let is_sync =
        |judge: &Judge<'_>, at: usize| at < end && matches!(judge.steps()[at], Step::Sync { .. });
    for position in 0..=end {
        let at_sync = is_sync(judge, position) || position > 0 && is_sync(judge, position - 1);
        let losses = match extent {
            Extent::All if at_sync => {
                vec![Loss::Nothing, Loss::Unsynced, random(dice), random(dice)]
            }
            Extent::All => vec![Loss::Nothing, random(dice), random(dice)],
            Extent::Sample(points) => {
                let weight = if at_sync { 4 } else { 1 };
                let chosen = dice.below(end as u64 * 2) < points * weight;
                let loss = [Loss::Nothing, Loss::Unsynced, random(dice), random(dice)];
                let loss = dice.one_of(&loss);
                if chosen || position == end {
                    vec![loss]
                } else {
                    Vec::new()
                }
            }
        };
        for loss in losses {
            judge.check(position, loss);
        }
    }
}

fn random(dice: &mut Dice) -> Loss {
    Loss::Random(dice.roll())
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
    commits_amid_changes_survive_a_power_cut, commits_amid_changes_survive_a_power_cut_anywhere:
        committing_all_the_time;
}
