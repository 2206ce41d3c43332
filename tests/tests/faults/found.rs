//! Faults that were answered wrongly once.

use keyfold_fs::error::FsError;
use keyfold_fs::volume::VolumeState;
use keyfold_recorder::{AfterFailedSync, Call, Fault, How, Lasting, Loss};

use crate::recorded::judge::{Judge, sound};
use crate::recorded::recording::Recording;
use crate::recorded::seen::see;
use crate::recorded::stage::Stage;
use crate::recorded::vault::Timer;
use crate::recorded::words::{chmod, create, fsync, mkdir, punch, sync, write};
use crate::{EIO, ENOSPC};

fn fault(call: Call, of: &'static str, how: How) -> Fault {
    Fault {
        call,
        of: Some(of),
        nth: 0,
        how,
        lasting: Lasting::Once,
    }
}

fn state(recording: &Recording<'_>) -> VolumeState {
    recording.volume().status().state
}

/// Cuts the power now: all that was confirmed is there.
fn cut_power(recording: &Recording<'_>) {
    let mut judge = Judge::new(recording, AfterFailedSync::NeverWritten);
    let now = judge.end();
    for loss in [Loss::Nothing, Loss::Unsynced] {
        judge.check(now, loss);
    }
}

#[test]
fn metadata_that_could_not_be_read_once_is_read_the_next_time() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording.run(&[create("a"), write("a", 0, 50_000, 1)]);
    recording.close().unwrap();
    recording.open().unwrap();
    recording
        .recorder
        .arm(Some(fault(Call::Read, "meta.db", EIO)));
    let failed = see(&**recording.volume()).unwrap_err();
    assert!(failed.contains("Database"), "{failed}");
    assert_eq!(recording.recorder.hits().len(), 1);
    recording.check_live();
    sound(recording.volume()).unwrap();
}

#[test]
fn closing_after_a_failed_commit_says_so_and_keeps_what_fsync_confirmed() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording.run(&[mkdir("d"), fsync(""), mkdir("e")]);
    let fault = fault(Call::Write, "meta.db-wal", EIO);
    recording.recorder.arm(Some(fault));
    assert!(recording.act(&sync()).is_err());
    assert_eq!(state(&recording), VolumeState::Failed);
    assert!(recording.close().is_err(), "closing tells of no loss");
    cut_power(&recording);
    recording.mount_again().unwrap();
}

#[test]
fn no_room_for_a_record_of_the_journal_is_no_failure() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording
        .recorder
        .arm(Some(fault(Call::Write, "journal", ENOSPC)));
    recording.run(&[create("a"), write("a", 0, 3000, 1), fsync("a")]);
    assert_eq!(recording.recorder.hits().len(), 1);
    assert_eq!(state(&recording), VolumeState::ReadWrite);
    cut_power(&recording);
}

#[test]
fn an_fsync_after_one_that_found_no_room_makes_all_names_durable() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording.run(&[create("a"), write("a", 0, 3000, 1)]);
    recording.recorder.arm(Some(Fault {
        call: Call::Write,
        of: None,
        nth: 0,
        how: ENOSPC,
        lasting: Lasting::Onwards,
    }));
    assert_eq!(recording.act(&fsync("a")), Err(FsError::NoSpace));
    recording.recorder.arm(None);
    recording.run(&[chmod("a", 0o600), fsync("a")]);
    cut_power(&recording);
}

#[test]
fn a_hole_that_cannot_be_made_changes_nothing() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording.run(&[create("a"), write("a", 0, 3_000_000, 1)]);
    let mut hits = 0;
    loop {
        recording.close().unwrap();
        recording.open().unwrap();
        recording.recorder.arm(Some(Fault {
            nth: hits,
            ..fault(Call::Read, "meta.db", EIO)
        }));
        let hole = punch("a", 1000 * hits, 2_900_000);
        let told = recording.act_in_trouble(&hole).unwrap();
        if recording.recorder.hits().is_empty() {
            break;
        }
        hits += 1;
        if told.is_none() {
            recording.run(&[write("a", 0, 3_000_000, hits as u8)]);
        }
    }
    assert!(hits > 4, "only {hits} reads failed");
}

#[test]
fn what_found_no_room_in_its_segment_is_stored_in_another_place() {
    let stage = Stage::new();
    let mut recording = Recording::begin(&stage, &stage.vault(), Timer::Off);
    recording.run(&[create("a"), write("a", 0, 100_000, 1)]);
    recording.recorder.arm(Some(Fault {
        of: None,
        lasting: Lasting::Onwards,
        ..fault(Call::Write, "", ENOSPC)
    }));
    for _ in 0..3 {
        assert_eq!(recording.act(&sync()), Err(FsError::NoSpace));
        assert_eq!(recording.act(&create("b")), Err(FsError::NoSpace));
    }
    recording.recorder.arm(None);
    recording.run(&[sync(), write("a", 50_000, 400_000, 2), sync()]);
    recording.check_live();
    cut_power(&recording);
    sound(recording.volume()).unwrap();
}
