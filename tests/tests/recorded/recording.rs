//! A workload run on a volume, with the model beside it and a recorder beneath it.

use std::collections::HashMap;
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfold_fs::clock::TestClock;
use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::model::{ModelFs, Snapshot};
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::{Volume, VolumeError};
use keyfold_recorder::Recorder;

use crate::recorded::act::{Act, Confirmed, Done, Held, act};
use crate::recorded::history::History;
use crate::recorded::seen::{Seen, see};
use crate::recorded::stage::{Stage, clock, empty_model};
use crate::recorded::vault::{self, Refused, Timer};

/// A volume above a recorder.
pub struct Recording<'a> {
    pub stage: &'a Stage,
    pub recorder: Arc<Recorder>,
    pub clock: Arc<TestClock>,
    pub history: History,
    mount_point: PathBuf,
    timer: Timer,
    volume: Option<Arc<Volume>>,
    model: ModelFs,
    /// Of each moment of the history.
    snapshots: Vec<Snapshot>,
    /// Files held open, on the volume and on the model.
    held: (Held, Held),
    numbers: Numbers,
}

/// The model's inode numbers by those of the volume, and the length of the log from which on they
/// mean that: a number that a crash took back may be given out again.
#[derive(Debug, Clone, Default)]
pub struct Numbers(HashMap<Ino, Vec<(usize, Ino)>>);

impl Numbers {
    /// The model's number after `position` steps; one that it never gives out for inodes that it
    /// does not know.
    pub fn of(&self, ino: Ino, position: usize) -> Ino {
        if ino == Ino::ROOT {
            return ino;
        }
        let meanings = self.0.get(&ino).into_iter().flatten();
        let mut meanings = meanings.filter(|(since, _)| *since <= position);
        meanings
            .next_back()
            .map_or(Ino(u64::MAX - ino.0), |(_, model)| *model)
    }
}

impl<'a> Recording<'a> {
    /// Opens the vault `beneath` through a recorder.
    pub fn begin(stage: &'a Stage, beneath: &Path, timer: Timer) -> Self {
        let mut recording = Self::prepare(stage, beneath, timer);
        recording.open().unwrap();
        recording
    }

    /// Has the vault `beneath` under a recorder, and does not open it.
    pub fn prepare(stage: &'a Stage, beneath: &Path, timer: Timer) -> Self {
        let mount_point = stage.directory();
        let recorder = Arc::new(Recorder::mount(beneath, &mount_point).unwrap());
        let clock = clock();
        let model = empty_model(&clock);
        let seen = see(&model).unwrap();
        let snapshots = vec![model.snapshot()];
        Self {
            stage,
            recorder,
            clock,
            history: History::starting_at(seen),
            mount_point,
            timer,
            volume: None,
            model,
            snapshots,
            held: <(Held, Held)>::default(),
            numbers: Numbers::default(),
        }
    }

    pub fn open(&mut self) -> Result<(), Refused> {
        let how = (&self.clock, self.timer);
        self.volume = Some(vault::open(&self.mount_point, &self.stage.key, how)?);
        Ok(())
    }

    pub fn volume(&self) -> &Arc<Volume> {
        self.volume.as_ref().unwrap()
    }

    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Does `what` on the volume, and if that succeeds on the model.
    pub fn act(&mut self, what: &Act) -> FsResult<()> {
        let began = self.recorder.position();
        let volume = Arc::clone(self.volume());
        let done = act(&*volume, &mut self.held.0, what)?;
        let ended = self.recorder.position();
        let modelled = act(&self.model, &mut self.held.1, what);
        let modelled = modelled.unwrap_or_else(|e| panic!("the model refuses {what:?}: {e}"));
        self.clock.advance(1);
        if let (Some(ino), Some(model)) = (done.made, modelled.made) {
            self.numbers.0.entry(ino).or_default().push((began, model));
        }
        self.note(what, modelled, (began, ended));
        Ok(())
    }

    fn note(&mut self, what: &Act, done: Done, (began, ended): (usize, usize)) {
        match what {
            Act::Fsync(_) | Act::FsyncHeld(_) | Act::Sync => {}
            _ => {
                let seen = self.expected();
                self.history.push(seen, began, format!("{what:?}"));
                self.snapshots.push(self.model.snapshot());
            }
        }
        if let Some(ino) = done.replaced_by {
            self.history.replaced_by(ino);
        }
        if let Some(confirmed) = done.confirmed {
            self.history.confirm(confirmed, ended);
        }
    }

    /// Does `what`, which may fail as things are. What failed changed nothing, or, as an fsync or
    /// a close does, everything it was to change. Returns the error.
    ///
    /// # Errors
    /// When it was done by half.
    pub fn act_in_trouble(&mut self, what: &Act) -> Result<Option<FsError>, String> {
        let began = self.recorder.position();
        let Err(error) = self.act(what) else {
            return Ok(None);
        };
        if error == FsError::ReadOnly {
            return Ok(Some(error));
        }
        let shown = self.recorder.unharmed(|| self.shown());
        if shown == self.expected() {
            return Ok(Some(error));
        }
        let mut done = act(&self.model, &mut self.held.1, what)
            .map_err(|e| format!("{what:?} failed ({error}), changed something, and is {e}"))?;
        self.clock.advance(1);
        let expected = self.expected();
        if shown != expected {
            let how = expected.difference(&shown);
            return Err(format!(
                "{what:?} failed ({error}) and was done by half:\n{how}"
            ));
        }
        done.confirmed = None;
        self.note(what, done, (began, began));
        Ok(Some(error))
    }

    /// Does `what` unless it cannot be done now, in which volume and model agree.
    pub fn act_if_possible(&mut self, what: &Act) {
        if let Err(e) = self.act(what) {
            self.check_impossible(what, e);
        }
    }

    fn check_impossible(&mut self, what: &Act, error: FsError) {
        let modelled = act(&self.model, &mut self.held.1, what);
        let same = modelled.is_err_and(|m| discriminant(&m) == discriminant(&error));
        assert!(same, "{what:?} failed: {error}; on the model: {modelled:?}");
    }

    /// Does all of `acts`, of which some meet a full disk and change nothing then. Returns how
    /// many.
    pub fn run_on_full_disk(&mut self, acts: &[Act]) -> usize {
        let mut refused = 0;
        for what in acts {
            match self.act(what) {
                Ok(()) => {}
                Err(FsError::NoSpace) => refused += 1,
                Err(e) => self.check_impossible(what, e),
            }
        }
        refused
    }

    /// Does all of `acts`, which succeed.
    pub fn run(&mut self, acts: &[Act]) {
        for what in acts {
            self.act(what)
                .unwrap_or_else(|e| panic!("{what:?} failed: {e}"));
        }
    }

    /// What the model shows.
    pub fn expected(&self) -> Seen {
        see(&self.model).unwrap()
    }

    /// What the volume shows.
    pub fn shown(&self) -> Seen {
        {
            let seen = see(&**self.volume()).unwrap();
            seen.renumbered(|ino| self.numbers.of(ino, usize::MAX))
        }
    }

    /// Compares the volume with the model.
    pub fn check_live(&self) {
        let (expected, shown) = (self.expected(), self.shown());
        let difference = expected.difference(&shown);
        assert!(expected == shown, "volume and model differ:\n{difference}");
    }

    /// Kills the process, if it is not dead yet. Another one can begin. Returns the length of the
    /// log.
    pub fn kill(&mut self) -> usize {
        let killed = self.recorder.position();
        self.recorder.kill_at(killed);
        self.drop_volume();
        self.recorder.revive();
        self.history.forget_from(killed);
        self.snapshots.truncate(self.history.now() + 1);
        killed
    }

    /// Ends the process that was killed, and opens the vault again. What it shows then is what a
    /// power cut has to leave from here on.
    ///
    /// # Errors
    /// When it does not open, or shows what it may not.
    pub fn mount_again(&mut self) -> Result<(), String> {
        let killed = self.kill();
        self.open().map_err(|e| e.0)?;
        self.settle(killed)
    }

    /// Puts the model to what the volume shows that was opened after a kill.
    ///
    /// # Errors
    /// When it shows what it may not.
    pub fn settle(&mut self, killed: usize) -> Result<(), String> {
        let shown = self.shown();
        let fit = self.history.fit(killed, &shown)?;
        let mut state = self.snapshots[fit.namespace].clone();
        for (ino, moment) in fit.contents {
            state.take_content(ino, &self.snapshots[moment]);
        }
        self.model.restore(&state);
        self.model.remount();
        let expected = self.expected();
        if expected != shown {
            return Err("the model cannot be put to what the volume shows".to_owned());
        }
        self.snapshots.push(self.model.snapshot());
        self.history
            .push(expected, killed, "mounting again".to_owned());
        let now = self.recorder.position();
        self.history.confirm(Confirmed::Everything, now);
        Ok(())
    }

    /// Ends the volume without a commit.
    pub fn drop_volume(&mut self) {
        self.held = <(Held, Held)>::default();
        if let Some(volume) = self.volume.take() {
            volume.crash();
            assert_eq!(Arc::strong_count(&volume), 1, "the volume is still in use");
        }
    }

    /// Closes the volume, which confirms everything.
    pub fn close(&mut self) -> Result<(), VolumeError> {
        let volume = self.volume.take().unwrap();
        for (ino, handle) in std::mem::take(&mut self.held.0).into_values() {
            use keyfold_fs::vfs::Vfs;
            volume.release(ino, handle);
        }
        let closed = volume.close();
        assert_eq!(Arc::strong_count(&volume), 1, "the volume is still in use");
        drop(volume);
        closed?;
        self.history
            .confirm(Confirmed::Everything, self.recorder.position());
        Ok(())
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        // Nothing of the volume may wait for the recorder when that goes.
        if let Some(volume) = self.volume.take() {
            volume.crash();
        }
    }
}
