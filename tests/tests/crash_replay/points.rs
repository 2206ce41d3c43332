//! Which crashes are judged.

use keyfold_recorder::{Dice, Loss, Step};

use crate::recorded::judge::Judge;

/// How many points are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// About so many, those beside a sync before others.
    Sample(u64),
    /// Every step of the log, several ways.
    All,
}

/// The seed of a run.
pub fn seed() -> u64 {
    keyfold_tests::count("KEYFOLD_CRASH_SEED", 0x5eed)
}

fn random(dice: &mut Dice) -> Loss {
    Loss::Random(dice.roll())
}

/// Whether a position is beside a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// Just before or after one.
    AtSync,
    /// Somewhere else.
    Between,
}

/// Judges crashes from `first` on.
pub fn judge_from(judge: &mut Judge<'_>, first: usize, (extent, dice): (Extent, &mut Dice)) {
    let end = judge.end();
    let spots: Vec<Spot> = (0..=end).map(|at| spot(judge.steps(), at)).collect();
    for (position, spot) in spots.into_iter().enumerate().skip(first) {
        for loss in losses(spot, (extent, end - first), dice) {
            judge.check(position, loss);
        }
    }
    judge.check(end, Loss::Unsynced);
}

fn spot(steps: &[Step], position: usize) -> Spot {
    let is_sync = |at: usize| matches!(steps.get(at), Some(Step::Sync { .. }));
    if is_sync(position) || position.checked_sub(1).is_some_and(is_sync) {
        Spot::AtSync
    } else {
        Spot::Between
    }
}

fn losses(spot: Spot, (extent, steps): (Extent, usize), dice: &mut Dice) -> Vec<Loss> {
    let all = [Loss::Nothing, Loss::Unsynced, random(dice), random(dice)];
    match (extent, spot) {
        (Extent::All, Spot::AtSync) => all.to_vec(),
        (Extent::All, Spot::Between) => vec![all[0], all[2], all[3]],
        (Extent::Sample(points), spot) => {
            let weight = if spot == Spot::AtSync { 4 } else { 1 };
            let chosen = dice.below(steps as u64 * 2 + 1) < points * weight;
            chosen.then(|| dice.one_of(&all)).into_iter().collect()
        }
    }
}
