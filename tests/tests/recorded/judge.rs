//! Rebuilding what a crash leaves, opening it, and comparing it with what may be there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfold_fs::check::{CheckOptions, CheckState, ReadData, check};
use keyfold_fs::clock::TestClock;
use keyfold_fs::vfs::Vfs;
use keyfold_fs::volume::Volume;
use keyfold_recorder::{AfterFailedSync, Disk, Loss, Node, Step};

use crate::recorded::history::History;
use crate::recorded::recording::{Numbers, Recording};
use crate::recorded::seen::{Seen, see};
use crate::recorded::stage::Stage;
use crate::recorded::vault::{self, Timer};

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
    place: Option<PathBuf>,
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
            place: None,
            tally: Tally::default(),
        }
    }

    /// Takes every sync of these for nothing, as a disk does that lies about them.
    pub fn lie_about(&mut self, nodes: &[Node]) {
        for step in &mut self.steps {
            if let Step::Sync { node } = *step
                && nodes.contains(&node)
            {
                *step = Step::SyncFailed { node };
            }
        }
    }

    /// Rebuilds in this directory from here on.
    pub fn rebuild_in(&mut self, place: PathBuf) {
        self.place = Some(place);
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

    /// The same without a panic.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn judge(&mut self, position: usize, loss: Loss) -> Result<(), String> {
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
            let path = match &self.place {
                Some(place) => place.join("rebuilt"),
                None => self.stage.fresh(),
            };
            image.write_to(&path).map_err(|e| e.to_string())?;
            let seen = self.recover(&path)?;
            std::fs::remove_dir_all(&path).map_err(|e| e.to_string())?;
            self.known.insert(digest, seen);
        }
        let seen = self.known[&digest].renumbered(|ino| self.numbers.of(ino, position));
        self.history.fit(position, &seen).map(drop)
    }

    /// Opens what is left. Returns what it shows.
    fn recover(&self, path: &Path) -> Result<Seen, String> {
        let opened = vault::open(path, &self.stage.key, (self.clock, Timer::Off));
        let volume = opened.map_err(|e| e.0)?;
        let found = Self::look(&volume);
        let closed = volume.close().map_err(|e| format!("closing failed: {e}"));
        let (seen, segments) = found?;
        closed?;
        check_segment_files(path, segments)?;
        Ok(seen)
    }

    fn look(volume: &Volume) -> Result<(Seen, u64), String> {
        let seen = see(volume)?;
        let segments = sound(volume)?;
        let again = see(volume)?;
        if again != seen {
            let how = seen.difference(&again);
            return Err(format!("collecting changed what there is:\n{how}"));
        }
        Ok((seen, segments))
    }
}

/// After a collection everything is accounted for, and nothing was taken for an attack. Returns
/// how many segments hold anything.
pub fn sound(volume: &Volume) -> Result<u64, String> {
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
    Ok(report.counts.segments)
}

/// In a vault that was closed every segment file has something in it.
fn check_segment_files(path: &Path, in_use: u64) -> Result<(), String> {
    let files = std::fs::read_dir(path.join("segments")).map_err(|e| e.to_string())?;
    let found = files.count() as u64;
    if found == in_use {
        Ok(())
    } else {
        Err(format!("{found} segment files, {in_use} of them in use"))
    }
}
