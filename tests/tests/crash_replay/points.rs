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

/// Judges crashes from `first` on.
pub fn judge_from(judge: &mut Judge<'_>, first: usize, (extent, dice): (Extent, &mut Dice)) {
    let end = judge.end();
    let syncs: Vec<bool> = judge
        .steps()
        .iter()
        .map(|step| matches!(step, Step::Sync { .. }))
        .collect();
    for position in first..=end {
        let beside = [position.checked_sub(1), Some(position)];
        let at_sync = beside
            .into_iter()
            .flatten()
            .any(|at| syncs.get(at) == Some(&true));
        for loss in losses(at_sync, (extent, end - first), dice) {
            judge.check(position, loss);
        }
    }
    judge.check(end, Loss::Unsynced);
}

fn losses(at_sync: bool, (extent, steps): (Extent, usize), dice: &mut Dice) -> Vec<Loss> {
    let all = [Loss::Nothing, Loss::Unsynced, random(dice), random(dice)];
    match extent {
        Extent::All if at_sync => all.to_vec(),
        Extent::All => vec![all[0], all[2], all[3]],
        Extent::Sample(points) => {
            let weight = if at_sync { 4 } else { 1 };
            let chosen = dice.below(steps as u64 * 2 + 1) < points * weight;
            chosen.then(|| dice.one_of(&all)).into_iter().collect()
        }
    }
}
