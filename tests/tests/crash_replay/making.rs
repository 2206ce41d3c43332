//! A power cut while a vault is made, and while its key slots are changed.

use keyfold_crypto::RecoveryKey;
use keyfold_fs::vault::{Secret, SlotLabel};
use keyfold_recorder::{AfterFailedSync, Dice, Image, Loss, Recorder};

use crate::points::seed;
use crate::recorded::stage::{Stage, clock};
use crate::recorded::vault::{self, Timer};

/// Everything a crash may leave along a recording.
fn each_image(recorder: &Recorder, mut job: impl FnMut(usize, Loss, &Image)) {
    let mut dice = Dice::new(seed());
    let mut disk = recorder.disk(AfterFailedSync::StillWritten);
    let steps = recorder.steps();
    for position in 0..=steps.len() {
        if let Some(last) = position.checked_sub(1) {
            disk.apply(&steps[last]);
        }
        let random = [Loss::Random(dice.roll()), Loss::Random(dice.roll())];
        for loss in [Loss::Nothing, Loss::Unsynced].into_iter().chain(random) {
            job(position, loss, &disk.image(loss));
        }
    }
}

#[test]
fn a_vault_whose_making_is_cut_short_is_whole_or_none() {
    let stage = Stage::new();
    let mount_point = stage.directory();
    let recorder = Recorder::mount(&stage.directory(), &mount_point).unwrap();
    let key = vault::create(&mount_point.join("vault"));
    let made = recorder.position();
    let (mut whole, mut none) = (0, 0);
    each_image(&recorder, |position, loss, image| {
        let path = stage.fresh();
        image.write_to(&path).unwrap();
        let inside = path.join("vault");
        match vault::lock(&inside) {
            Ok(locked) => {
                let why = format!("after {position} of {made} steps ({loss:?})");
                drop(locked);
                // The second copy of the superblock may be missing.
                vault::heal(&inside, &key).unwrap_or_else(|e| panic!("{why}: {e:?}"));
                let opened = vault::open(&inside, &key, (&clock(), Timer::Off));
                let volume = opened.unwrap_or_else(|e| panic!("{why}: {e:?}"));
                crate::recorded::judge::sound(&volume).unwrap_or_else(|e| panic!("{why}: {e}"));
                volume.close().unwrap();
                whole += 1;
            }
            Err(e) => {
                assert!(position < made, "a vault that was made is lost: {e}");
                none += 1;
            }
        }
        std::fs::remove_dir_all(&path).unwrap();
    });
    assert!(whole > 0 && none > 0);
    println!("making a vault: {whole} times whole, {none} times none");
}

/// A key, and the positions from which on it has to open the vault, and must not any more.
struct Slot {
    key: Secret,
    added: usize,
    adding: usize,
    removing: usize,
    removed: usize,
}

fn opens(path: &std::path::Path, key: &Secret) -> bool {
    let locked = vault::lock(path).unwrap();
    locked.unlock(key).is_ok()
}

#[test]
fn key_slots_are_as_before_or_after_a_change_that_is_cut_short() {
    let stage = Stage::new();
    let (beneath, mount_point) = (stage.vault(), stage.directory());
    let recorder = Recorder::mount(&beneath, &mount_point).unwrap();
    let mut slots: Vec<Slot> = Vec::new();
    {
        let locked = vault::lock(&mount_point).unwrap();
        let mut vault = locked.unlock(stage.key.secret()).unwrap();
        for n in 0..3 {
            let adding = recorder.position();
            let label = SlotLabel::new(&format!("slot {n}")).unwrap();
            let (id, recovery): (_, RecoveryKey) = vault.add_recovery(label).unwrap();
            let added = recorder.position();
            let (mut removing, mut removed) = (usize::MAX, usize::MAX);
            if n == 1 {
                removing = recorder.position();
                vault.remove_slot(id).unwrap();
                removed = recorder.position();
            }
            slots.push(Slot {
                key: Secret::Recovery(recovery),
                added,
                adding,
                removing,
                removed,
            });
        }
    }
    let mut points = 0;
    each_image(&recorder, |position, loss, image| {
        let path = stage.fresh();
        image.write_to(&path).unwrap();
        let when = format!("after {position} steps ({loss:?})");
        assert!(opens(&path, stage.key.secret()), "{when}: locked out");
        for (n, slot) in slots.iter().enumerate() {
            let opened = opens(&path, &slot.key);
            if slot.added <= position && position <= slot.removing {
                assert!(opened, "{when}: slot {n} is lost");
            }
            if position <= slot.adding || slot.removed <= position {
                assert!(!opened, "{when}: slot {n} opens");
            }
        }
        std::fs::remove_dir_all(&path).unwrap();
        points += 1;
    });
    println!("key slots: {points} points");
}
