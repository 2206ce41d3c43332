//! Images that are made without being asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_fs::check::ReadData;
use keyfold_fs::clock::TestClock;
use keyfold_fs::layout::ImageKind;
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{Ino, Timestamp, Vfs};

use crate::bench::{Bench, assert_intact, at, pattern};
use crate::keeping::content;

const HOUR: u32 = 3600;

/// A volume that makes an image every four hours of a clock that the test moves.
fn clocked() -> (Bench, Arc<TestClock>) {
    let mut bench = Bench::new();
    let clock = Arc::new(TestClock::new(Timestamp {
        secs: 1_795_000_000,
        nanos: 0,
    }));
    bench.close();
    bench.images = Some(Duration::from_hours(4));
    bench.clock = Arc::clone(&clock) as Arc<_>;
    bench.open(Access::ReadWrite);
    (bench, clock)
}

fn names(bench: &Bench) -> Vec<String> {
    let images = bench.v().images();
    assert!(images.iter().all(|i| i.kind == ImageKind::Automatic));
    images.into_iter().map(|i| i.name).collect()
}

#[test]
fn closing_keeps_what_has_changed_and_the_two_newest_stay() {
    let (mut bench, clock) = clocked();
    bench.file(Ino::ROOT, "0", b"content");
    bench.remount();
    let first = names(&bench);
    assert_eq!(first.len(), 1);
    assert!(first[0].starts_with("auto-"), "{first:?}");
    clock.advance(2 * HOUR);
    bench.remount();
    assert_eq!(names(&bench), first, "nothing has changed");
    bench.file(Ino::ROOT, "1", b"content");
    bench.remount();
    assert_eq!(names(&bench).len(), 2);
    bench.file(Ino::ROOT, "2", b"content");
    bench.remount();
    assert_eq!(names(&bench).len(), 2, "the last one is young");
    clock.advance(2 * HOUR);
    bench.remount();
    let last = names(&bench);
    assert_eq!(last.len(), 2);
    assert!(!last.contains(&first[0]));
    let newest = bench.v().images()[1].id;
    let read = bench.v().with_image(newest, |v| content(v, "2")).unwrap();
    assert_eq!(read.as_deref(), Some(&b"content"[..]));
    assert_intact(&bench.check(ReadData::Yes), "with automatic images");
}

#[test]
fn a_clock_that_was_set_back_does_not_end_automatic_images() {
    let (mut bench, clock) = clocked();
    bench.file(Ino::ROOT, "0", b"content");
    bench.remount();
    clock.set(Timestamp { secs: 5, nanos: 0 });
    bench.file(Ino::ROOT, "1", b"content");
    bench.remount();
    assert_eq!(names(&bench).len(), 2);
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_open_volume_makes_images_and_drops_those_that_hold_back_too_much() {
    let mut bench = Bench::committing_every(Duration::from_millis(100));
    bench.close();
    bench.images = Some(Duration::from_secs(1));
    bench.open(Access::ReadWrite);
    bench.file(Ino::ROOT, "large", &pattern(100 << 20, 1));
    let size = |data: Option<Vec<u8>>| data.map_or(0, |d| d.len());
    until("an image of the file", || {
        let images = bench.v().images();
        let has = |id| bench.v().with_image(id, |v| size(content(v, "large")));
        images
            .iter()
            .any(|i| has(i.id).is_ok_and(|s| s == 100 << 20))
    });
    bench.v().unlink(at(Ino::ROOT, "large")).unwrap();
    until("the space is given back", || {
        let status = bench.v().status();
        status.live_bytes == 0 && status.held_back_bytes <= 64 << 20
    });
    assert_intact(&bench.check(ReadData::Yes), "afterwards");
}
