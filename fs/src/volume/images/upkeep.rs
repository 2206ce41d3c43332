//! Automatic images: made at intervals and at closing, few kept, dropped before they cost much.

use std::time::{Duration, Instant};

use crate::layout::{ImageId, ImageKind, ImageRow, SegmentRow};
use crate::volume::{Verification, Verify, Volume};

/// How many automatic images are kept.
const KEPT: usize = 2;
/// Automatic images hold back at most one slot for so many live ones,
const SHARE: u64 = 10;
/// or so many (64 MiB), whichever is more.
const ALLOWANCE: u64 = 16_384;
/// How often it is looked whether an image is due, or one too many.
const LOOK: Duration = Duration::from_mins(1);
/// Closing makes an image if the last is older than this share of the interval.
const CLOSING: u32 = 4;

impl Volume {
    /// Body of the thread that makes automatic images.
    pub(in crate::volume) fn run_image_keeper(&self, interval: Duration) {
        let mut last = Instant::now();
        loop {
            {
                let next = Instant::now() + LOOK.min(interval);
                let mut stop = self.stop.lock();
                // Commits that are hurried wake this thread, too.
                while !*stop && !self.stopped.wait_until(&mut stop, next).timed_out() {}
                if *stop {
                    return;
                }
            }
            if self.failure().is_some() || self.space.is_full() {
                continue;
            }
            self.keep_limits();
            // While the database is copied its log grows: not when programs write much, for a while.
            let waits = last.elapsed() < 2 * interval && self.committer.lock().wrote_much();
            if !waits && self.is_image_due(interval) {
                self.keep_automatic();
                last = Instant::now();
            }
        }
    }

    /// Makes an image of what is left behind, so that it can be restored.
    pub(in crate::volume) fn keep_on_closing(&self) {
        if let Some(interval) = self.options.image_interval
            && self.failure().is_none()
            && self.is_image_due(interval / CLOSING)
        {
            self.keep_automatic();
        }
    }

    fn keep_automatic(&self) {
        // Without one there is the last one; the next is tried for after the same time.
        if let Err(error) = self.keep_image(ImageKind::Automatic, None) {
            tracing::warn!(%error, "no automatic image");
        }
        self.keep_limits();
    }

    /// Whether the last automatic image is so old, and something has changed since. No image of
    /// metadata that may be altered takes the place of an older one.
    fn is_image_due(&self, interval: Duration) -> bool {
        let asked = self.options.verify != Verify::Never;
        if asked && self.progress.now() != Verification::Verified {
            return false;
        }
        let Some((_, last)) = self.automatic().pop() else {
            return true;
        };
        let age = self.now().secs.saturating_sub(last.created.secs);
        // A clock that was set back makes an image of the future, which proves nothing.
        let old = u64::try_from(age).is_err() || age as u64 >= interval.as_secs();
        let commit = self.committer.lock().state.commit;
        // Listing an image takes one commit.
        old && (commit > last.commit + 1 || !self.is_settled())
    }

    /// The automatic images, oldest first.
    fn automatic(&self) -> Vec<(ImageId, ImageRow)> {
        let mut rows = self.images.rows();
        rows.retain(|(_, row)| row.kind == ImageKind::Automatic);
        rows
    }

    /// Drops automatic images beyond their number, and beyond the space they may hold back.
    fn keep_limits(&self) {
        let mut rows = self.automatic();
        while rows.len() > KEPT || !rows.is_empty() && self.is_too_much(&rows) {
            let (id, _) = rows.remove(0);
            // One that is in use goes the next time.
            let _ = self.drop_image(id);
        }
    }

    fn is_too_much(&self, rows: &[(ImageId, ImageRow)]) -> bool {
        let ids: Vec<ImageId> = rows.iter().map(|(id, _)| *id).collect();
        let c = self.committer.lock();
        let live: u64 = c
            .segments
            .values()
            .map(|s| u64::from(SegmentRow::live(s)))
            .sum();
        c.held.alone(&ids, &c.segments) > (live / SHARE).max(ALLOWANCE)
    }

    /// Drops all automatic images, on a disk that is full. Returns whether there was one.
    pub(in crate::volume) fn drop_automatic(&self) -> bool {
        let mut dropped = false;
        for (id, _) in self.automatic() {
            // A full disk does not let the rows be committed now; the space is given back then.
            dropped |= self.try_drop_image(id).is_some();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use keyfold_crypto::{Password, Rounds};

    use crate::vault::{CreateOptions, KdfCost, UnlockedVault, VaultError};
    use crate::vfs::{Caller, Ino, Name, Place, Vfs};
    use crate::volume::{Volume, VolumeOptions};

    const CALLER: Caller = Caller {
        uid: 0,
        gid: 0,
        umask: 0,
    };

    #[derive(Debug)]
    struct Failed(#[expect(dead_code, reason = "shown by unwrap")] String);

    impl From<VaultError> for Failed {
        fn from(e: VaultError) -> Self {
            Self(e.to_string())
        }
    }

    #[test]
    fn a_volume_at_rest_after_a_large_commit_no_longer_counts_as_busy() {
        let dir = tempfile::tempdir().unwrap();
        let create = CreateOptions {
            password: Password::new("correct horse".to_owned()),
            cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap()),
        };
        let format = |v: &UnlockedVault| Volume::format(v).map_err(|e| Failed(e.to_string()));
        let made = UnlockedVault::create(&dir.path().join("v"), &create, format);
        let options = VolumeOptions {
            commit_interval: Duration::from_hours(1),
            ..VolumeOptions::default()
        };
        let volume = Volume::open(made.unwrap().0, options).unwrap();
        for n in 0..3000 {
            let name = format!("directory {n}");
            let place = Place {
                parent: Ino::ROOT,
                name: Name::new(name.as_bytes()).unwrap(),
            };
            volume.mkdir(&CALLER, place, 0o755).unwrap();
        }
        volume.commit_and_clean().unwrap();
        assert!(volume.committer.lock().wrote_much());
        volume.commit_and_clean().unwrap();
        assert!(!volume.committer.lock().wrote_much());
    }
}
