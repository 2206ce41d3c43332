//! A check of a volume that goes on meanwhile finds no damage that is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyfold_fs::check::ReadData;
use keyfold_fs::vfs::{FileRange, Ino, SetAttr, Vfs};

use crate::bench::{Bench, CALLER, RW, assert_intact, at, pattern};

/// Writes, overwrites and removes files until told to stop, committing all the time.
fn churn(volume: &dyn Vfs, stop: &AtomicBool, rounds: &AtomicU64, seed: u64) {
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let name = format!("churn {seed} {}", round % 7);
        let place = at(Ino::ROOT, &name);
        if round.is_multiple_of(3) {
            let _ = volume.unlink(place);
        }
        let opened = volume.create(&CALLER, place, 0o600, RW).or_else(|_| {
            let entry = volume.lookup(place)?;
            volume.open(entry.attr.ino, RW).map(|h| (entry, h))
        });
        let Ok((entry, handle)) = opened else {
            continue;
        };
        let ino = entry.attr.ino;
        for part in 0..8 {
            let offset = (round * 7919 + part * 131) % 900 * 4096;
            let range = FileRange {
                ino,
                handle,
                offset,
            };
            volume.write(range, &pattern(100_000, round)).unwrap();
        }
        if round.is_multiple_of(5) {
            let size = Some(round % 11 * 10_000);
            let set = SetAttr {
                size,
                ..SetAttr::default()
            };
            volume.setattr(ino, Some(handle), &set).unwrap();
        }
        if round.is_multiple_of(2) {
            volume.fsync(ino, handle).unwrap();
        } else {
            volume.sync().unwrap();
        }
        volume.release(ino, handle);
        volume.forget(ino, 1);
    }
}

#[test]
fn a_volume_in_use_is_intact() {
    let mut bench = Bench::committing_every(Duration::from_millis(20));
    for n in 0..20 {
        bench.file(Ino::ROOT, &format!("still {n}"), &pattern(300_000, n));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..2)
        .map(|seed| {
            let (volume, stop) = (Arc::clone(bench.v()), Arc::clone(&stop));
            let rounds = Arc::clone(&rounds);
            std::thread::spawn(move || churn(&*volume, &stop, &rounds, seed))
        })
        .collect();
    let mut reports = Vec::new();
    for _ in 0..12 {
        let before = rounds.load(Ordering::Relaxed);
        reports.push((before, bench.check(ReadData::Yes)));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    for (round, report) in &reports {
        assert_intact(report, &format!("in round {round}"));
        assert!(report.counts.blocks_read >= 20 * 74);
    }
    let moved = reports.last().unwrap().0 - reports[0].0;
    assert!(moved > 0, "nothing happened while the volume was checked");
    bench.remount();
    assert_intact(&bench.check(ReadData::Yes), "in the end");
}
