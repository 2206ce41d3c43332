//! One run of a workload with one fault in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_fs::error::{FsError, LostWrite};
use keyfold_fs::volume::VolumeState;
use keyfold_recorder::{AfterFailedSync, Call, Fault, Hit, How, Lasting, Loss, Step};

use crate::recorded::act::Act;
use crate::recorded::judge::Judge;
use crate::recorded::recording::Recording;
use crate::recorded::stage::Stage;
use crate::recorded::workloads::Workload;

/// What came of it.
pub struct Trial {
    /// The fault hit nothing: there are not so many calls.
    pub untouched: bool,
    /// The volume turned read-only.
    pub failed: bool,
    /// Calls of the kind.
    pub calls: u64,
}

struct Run<'a> {
    recording: Recording<'a>,
    fault: Fault,
    /// What programs were told, with what they had asked for.
    told: Vec<(String, FsError)>,
    hits: Vec<Hit>,
    /// How many of these calls were made to open the vault: nothing was at stake in them that a
    /// volume which opened could have lost.
    while_opening: usize,
    /// Where the power goes, beside the end.
    cuts: Vec<usize>,
}

impl Trial {
    /// Runs `workload` with `fault`.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(stage: &Stage, workload: &Workload, fault: Fault) -> Self {
        let beneath = stage.vault();
        let recording = Recording::begin(stage, &beneath, workload.timer);
        recording.recorder.arm(Some(fault));
        let run = Run::new(recording, fault);
        let trial = run.judged(workload.name, |run| run.run(workload));
        std::fs::remove_dir_all(beneath).unwrap();
        trial
    }

    /// Runs `workload`, kills it, and opens the vault with `fault`.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn open(stage: &Stage, workload: &Workload, fault: Fault) -> Self {
        let beneath = stage.vault();
        let mut recording = Recording::begin(stage, &beneath, workload.timer);
        recording.run(&workload.acts);
        let killed = recording.kill();
        recording.recorder.arm(Some(fault));
        let run = Run::new(recording, fault);
        let trial = run.judged("opening", |run| run.open(killed));
        std::fs::remove_dir_all(beneath).unwrap();
        trial
    }
}

/// Says what was going on when something panics.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {}", self.0);
        }
    }
}

impl<'a> Run<'a> {
    fn new(recording: Recording<'a>, fault: Fault) -> Self {
        Self {
            recording,
            fault,
            told: Vec::new(),
            hits: Vec::new(),
            while_opening: 0,
            cuts: Vec::new(),
        }
    }

    fn judged(mut self, what: &str, job: impl FnOnce(&mut Self) -> Result<Trial, String>) -> Trial {
        let fault = self.fault;
        let _context = Context(format!("{what} with {fault:?}"));
        job(&mut self).unwrap_or_else(|why| {
            panic!(
                "{what} with {fault:?}, which hit {:?}: {why}\ntold: {:#?}",
                self.hits, self.told
            )
        })
    }

    /// Opens, which may fail, and if it does not works as usual.
    fn open(&mut self, killed: usize) -> Result<Trial, String> {
        let opened = self.recording.open();
        self.while_opening = self.recording.recorder.hits().len();
        let mut failed = opened.is_err();
        if opened.is_ok() {
            let recorder = Arc::clone(&self.recording.recorder);
            recorder.unharmed(|| self.recording.settle(killed))?;
            self.act(&Act::Create("opened".to_owned()))?;
            self.act(&Act::Fsync("opened".to_owned()))?;
            failed = self.judge_live()? == VolumeState::Failed;
        }
        self.cuts.push(self.recording.recorder.position());
        self.hits = self.recording.recorder.hits();
        let calls = self.recording.recorder.calls();
        self.recording.recorder.arm(None);
        let untouched = self.hits.is_empty();
        if let Err(e) = opened
            && untouched
        {
            return Err(format!("opening failed without a fault: {}", e.0));
        }
        self.remount()?;
        self.judge_power_cut()?;
        Ok(Trial {
            untouched,
            failed,
            calls,
        })
    }

    fn run(&mut self, workload: &Workload) -> Result<Trial, String> {
        for act in &workload.acts {
            self.act(act)?;
        }
        self.act(&Act::Sync)?;
        let state = self.judge_live()?;
        let calls = self.recording.recorder.calls();
        if self.fault.lasting == Lasting::Onwards && state != VolumeState::Failed {
            self.recover_live()?;
        }
        let closed = self.recording.close();
        self.hits = self.recording.recorder.hits();
        self.recording.recorder.arm(None);
        let untouched = self.hits.is_empty();
        if untouched && !self.told.is_empty() {
            return Err("errors without a fault".to_owned());
        }
        if let Err(e) = &closed
            && untouched
        {
            return Err(format!("closing failed without a fault: {e}"));
        }
        self.judge_power_cut()?;
        self.remount()?;
        Ok(Trial {
            untouched,
            failed: state == VolumeState::Failed,
            calls,
        })
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        if let Some(error) = self.recording.act_in_trouble(act)? {
            self.told.push((format!("{act:?}"), error));
        }
        Ok(())
    }

    /// While the volume is open: it says what happened, and shows all that it accepted.
    fn judge_live(&mut self) -> Result<VolumeState, String> {
        self.hits = self.recording.recorder.hits();
        self.await_failure()?;
        let recording = &self.recording;
        let status = recording.volume().status();
        if status.security_events > 0 {
            return Err("a fault was taken for an attack".to_owned());
        }
        let shown = recording.recorder.unharmed(|| recording.shown());
        let expected = recording.expected();
        if shown != expected {
            let how = expected.difference(&shown);
            return Err(format!("what was accepted cannot be read any more:\n{how}"));
        }
        if (status.state == VolumeState::Failed) != status.reason.is_some() {
            return Err(format!("{:?} because of {:?}", status.state, status.reason));
        }
        self.cuts.push(recording.recorder.position());
        self.judge_state(status.state)?;
        self.judge_told(status.state)?;
        Ok(status.state)
    }

    /// Whoever met the failing call may be a thread that nobody waits for: so the volume has a
    /// moment to turn read-only, and the next change is refused.
    fn await_failure(&mut self) -> Result<(), String> {
        let since = self.hits.iter().skip(self.while_opening);
        let failed = |run: &Self| run.recording.volume().status().state == VolumeState::Failed;
        if since.into_iter().any(|hit| self.must_fail(hit)) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !failed(self) && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
        if failed(self) && self.told.is_empty() {
            self.act(&Act::Mkdir("refused".to_owned()))?;
        }
        Ok(())
    }

    /// After EIO or a failed sync the volume is read-only, and after a full disk it is not.
    fn judge_state(&self, state: VolumeState) -> Result<(), String> {
        let failed = state == VolumeState::Failed;
        let since = self.hits.iter().skip(self.while_opening);
        let must_fail = since.into_iter().any(|hit| self.must_fail(hit));
        if must_fail && !failed {
            return Err(format!("the volume is {state:?}"));
        }
        let may_fail = match (self.fault.call, self.fault.how) {
            (_, How::Short) | (Call::Punch, _) => false,
            (Call::Sync, _) => true,
            (_, How::Errno(code)) => code != libc::ENOSPC,
        };
        if failed && (!may_fail || self.hits.is_empty()) {
            return Err("the volume is read-only".to_owned());
        }
        Ok(())
    }

    /// Whether this call's failure leaves open what is on the disk.
    fn must_fail(&self, hit: &Hit) -> bool {
        let eio = self.fault.how == How::Errno(libc::EIO);
        let name = hit.name.to_string_lossy();
        // The names that a commit needs were synced when the vault was opened.
        if name == "." {
            return false;
        }
        let holds_data = name == "meta.db-wal" || name == "journal" || name.parse::<u32>().is_ok();
        match hit.call {
            Call::Sync => true,
            Call::Write => eio && holds_data && !self.went_on(hit),
            _ => false,
        }
    }

    /// Whether a write that failed was done all the same: when the kernel makes several requests of
    /// one, and a later one fails, it tells of a short write, and whoever wrote goes on from there.
    /// In a segment nothing else is ever written in that place.
    fn went_on(&self, hit: &Hit) -> bool {
        let in_segment = hit.name.to_string_lossy().parse::<u32>().is_ok();
        let again = |step: &Step| match step {
            Step::Write { file, offset, .. } => Some((*file, *offset)) == hit.place,
            _ => false,
        };
        in_segment && self.recording.recorder.steps().iter().any(again)
    }

    /// Errors are of the kind of the fault, and a lost call is told.
    fn judge_told(&self, state: VolumeState) -> Result<(), String> {
        let failed = state == VolumeState::Failed;
        for (_, error) in &self.told {
            let fits = match error {
                FsError::ReadOnly => failed,
                FsError::NoSpace | FsError::WriteLost(LostWrite::NoSpace) => {
                    self.fault.how == How::Errno(libc::ENOSPC)
                }
                FsError::Disk(_) | FsError::Database | FsError::WriteLost(LostWrite::Disk) => {
                    self.fault.how != How::Short
                }
                // What a failed operation was to make is not there for later ones.
                FsError::NotFound | FsError::NoAttribute | FsError::BadHandle => {
                    self.told.len() > 1
                }
                _ => false,
            };
            if !fits {
                return Err(format!("{error:?} does not say what happened"));
            }
        }
        if failed && self.told.is_empty() {
            return Err("the volume is read-only, and nobody was told".to_owned());
        }
        Ok(())
    }

    /// Once the disk is well again, so is a volume that did not fail: whether files are synced
    /// alone first or all together.
    fn recover_live(&mut self) -> Result<(), String> {
        self.recording.recorder.disarm();
        let create = Act::Create("well".to_owned());
        let fsync = Act::Fsync("well".to_owned());
        for act in [create, fsync, Act::Sync] {
            if let Err(e) = self.recording.act(&act) {
                return Err(format!("{act:?} fails when the disk is well again: {e}"));
            }
            self.cuts.push(self.recording.recorder.position());
        }
        Ok(())
    }

    fn judge_power_cut(&self) -> Result<(), String> {
        let mut fates = vec![AfterFailedSync::StillWritten];
        let steps = self.recording.recorder.steps();
        if steps.iter().any(|s| matches!(s, Step::SyncFailed { .. })) {
            fates.push(AfterFailedSync::NeverWritten);
        }
        for fate in fates {
            let mut judge = Judge::new(&self.recording, fate);
            for position in self.cuts.iter().copied().chain([judge.end()]) {
                let random = Loss::Random(self.fault.nth);
                for loss in [Loss::Nothing, Loss::Unsynced, random] {
                    let judged = judge.judge(position, loss);
                    judged.map_err(|why| {
                        format!("after a power cut ({position}, {fate:?}, {loss:?}): {why}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// It mounts, shows what it may, and works.
    fn remount(&mut self) -> Result<(), String> {
        let mounted = self.recording.mount_again();
        mounted.map_err(|why| format!("mounting again: {why}"))?;
        let probe = [
            Act::Create("again".to_owned()),
            Act::Fsync("again".to_owned()),
        ];
        for act in probe {
            let done = self.recording.act(&act);
            done.map_err(|e| format!("{act:?} after mounting again: {e}"))?;
        }
        let closed = self.recording.close();
        closed.map_err(|e| format!("closing after mounting again: {e}"))
    }
}
