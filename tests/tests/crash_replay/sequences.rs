//! Every small sequence of operations, and a power cut in it.

use keyfold_recorder::{AfterFailedSync, Dice};

use crate::pairs;
use crate::points::{Extent, judge_from, seed};
use crate::recorded::act::Act;
use crate::recorded::judge::{Judge, Tally};
use crate::recorded::recording::Recording;
use crate::recorded::stage::Stage;
use crate::recorded::vault::Timer;

/// Sequences that share a vault.
const TOGETHER: usize = 12;

/// Judges every `step`-th sequence.
fn judge_sequences(step: usize, points: u64) {
    let stage = Stage::new();
    let seed = seed();
    let mut dice = Dice::new(seed);
    let first = dice.below(step as u64) as usize;
    let sequences: Vec<_> = pairs::all().into_iter().skip(first).step_by(step).collect();
    let mut tally = Tally::default();
    for (part, some) in sequences.chunks(TOGETHER).enumerate() {
        let points = points * some.len() as u64;
        let more = judge_some(&stage, some, (points, &mut dice));
        tally.points += more.points;
        tally.images += more.images;
        if part % 50 == 49 {
            println!(
                "so far {} points in {} sequences",
                tally.points,
                (part + 1) * TOGETHER
            );
        }
    }
    println!(
        "{} sequences: {} points, {} images (seed {seed})",
        sequences.len(),
        tally.points,
        tally.images
    );
}

fn judge_some(stage: &Stage, some: &[Vec<Act>], (points, dice): (u64, &mut Dice)) -> Tally {
    let beneath = stage.vault();
    let mut recording = Recording::begin(stage, &beneath, Timer::Off);
    let opened = recording.recorder.position();
    for act in some.iter().flatten() {
        recording.act_if_possible(act);
    }
    recording.check_live();
    recording.close().unwrap();
    let mut judge = Judge::new(&recording, AfterFailedSync::StillWritten);
    judge_from(&mut judge, opened, (Extent::Sample(points), dice));
    let tally = judge.tally;
    drop(recording);
    std::fs::remove_dir_all(beneath).unwrap();
    tally
}

#[test]
fn pairs_of_operations_survive_a_power_cut() {
    judge_sequences(150, 6);
}

#[test]
#[ignore = "all 6084 sequences: many minutes"]
fn every_pair_of_operations_survives_a_power_cut() {
    judge_sequences(1, 6);
}

#[test]
fn every_pair_is_enumerated() {
    assert_eq!(pairs::all().len(), 26 * 3 * 26 * 3);
}
