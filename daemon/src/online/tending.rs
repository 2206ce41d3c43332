//! One share, kept the same as on the server.

use std::sync::Arc;
use std::time::Duration;

use keyfold_fs::share::{Access, ShareInfo, ShareNumber};
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::roster::Role;
use tokio::time::{Instant, sleep, timeout_at};

use super::desk::{Bell, Board, Desk, Known, State};
use super::pause::Pauses;
use super::taking_back::revoke_queued;
use crate::account::{Session, now};
use crate::sharing::SharingError;
use crate::sync::{Fetcher, Round, ShareSync, SyncError, Upset};

/// How long after a change here it is waited for more of the same.
const SETTLE: Duration = Duration::from_millis(120);
/// Time between two rounds while changes go on and on, as a multiple of what the last one took, and at
/// most.
const REST: u32 = 2;
const REST_MOST: Duration = Duration::from_secs(2);
/// How long a file that is written to is not sent while it stays open.
const OPEN_MOST: Duration = Duration::from_secs(10);
/// Time between looks at files that are in use, before it doubles, and at most. Most are read, and only
/// for a moment.
const IN_USE: Duration = Duration::from_millis(50);
const IN_USE_MOST: Duration = Duration::from_secs(30);
/// How long after somebody's access ended that is acted on.
const EXPIRED: Duration = Duration::from_millis(1100);
/// Time after which a share is compared with the server although nobody called.
const COMPARE: Duration = Duration::from_mins(5);
/// Entries that others remove at once without its being told, and of a share of which they are half.
const MANY: usize = 100;
const FEW: usize = 4;

/// Whoever tends a share.
pub(super) struct Tending<'s, 'a> {
    desk: &'s Desk,
    session: &'s Session<'a>,
    info: ShareInfo,
    bell: Arc<Bell>,
}

impl<'s, 'a> Tending<'s, 'a> {
    pub(super) fn new(desk: &'s Desk, session: &'s Session<'a>, info: &ShareInfo) -> Self {
        desk.board(|board| board.shares.insert(info.number, Known::default()));
        Self {
            desk,
            session,
            info: info.clone(),
            bell: desk.bell(info.number),
        }
    }

    /// Keeps the share up to date until it is none of this volume any more.
    pub(super) async fn go_on(self, fetcher: &Fetcher) {
        let mut pauses = Pauses::default();
        let mut open = None;
        let mut in_use_for = IN_USE;
        while self.is_here() {
            let begun = Instant::now();
            let round = self.round(&mut open, fetcher).await;
            let rest = (begun.elapsed() * REST).min(REST_MOST);
            let in_use = matches!(round, Ok(Round::Waiting(_)));
            let failed = self.note(&round);
            let pause = if failed {
                pauses.after_failure()
            } else if in_use {
                let pause = in_use_for;
                in_use_for = (in_use_for * 2).min(IN_USE_MOST);
                pause
            } else {
                in_use_for = IN_USE;
                let expiry = self.until_somebody_expires().unwrap_or(COMPARE);
                let repacks = open.as_ref().and_then(ShareSync::repacks_after);
                expiry.min(repacks.unwrap_or(COMPARE))
            };
            if !failed {
                pauses.reset();
            }
            let ended = Instant::now();
            let mut called = false;
            while !called && let Some(urgent) = self.called_before(ended + pause).await {
                let settle = rest.saturating_sub(ended.elapsed()).max(SETTLE);
                called = urgent || in_use || self.settled(settle).await;
            }
            if let (Ok(Round::Done { .. }), false, Some(sync)) = (&round, called, &mut open) {
                self.repack(sync).await;
            }
        }
        let kept = self.session.kept();
        let (id, number) = (ShareId(self.info.id.0), self.info.number.0);
        if kept.forget_records(id, number).is_err() {
            tracing::warn!(share = number, "records of a share that ended stay");
        }
        self.desk.forget(&self.info);
        // Another may have come in its place, which nobody tends.
        self.desk.list.notify_one();
    }

    /// Packs anew what is for the most part dead, unless somebody calls meanwhile.
    async fn repack(&self, sync: &mut ShareSync<'s, 'a>) {
        if sync.repacks_after().is_none() {
            return;
        }
        let gathered = tokio::select! {
            biased;
            _ = self.bell.called() => return,
            gathered = sync.gather() => gathered,
        };
        let done = match gathered {
            Ok(gathered) => sync.repack(gathered).await,
            Err(error) => Err(error),
        };
        sync.tell_outdated();
        if done.is_err() {
            tracing::warn!(share = self.info.number.0, "packs were not packed anew");
            sync.put_off_repacking();
        }
    }

    /// Time until somebody's access ends, and something is to be done or told.
    fn until_somebody_expires(&self) -> Option<Duration> {
        let known = |board: &mut Board| board.shares.get(&self.info.number)?.next_expiry;
        let time = self.desk.board(known)?;
        // Times are whole seconds: a moment later it is past by any clock's reckoning.
        let left = time.0.saturating_sub(now().0);
        Some(Duration::from_secs(left) + EXPIRED)
    }

    /// Waits to be called. Returns whether it is urgent; nothing when nobody called in time.
    async fn called_before(&self, over: Instant) -> Option<bool> {
        timeout_at(over, self.bell.called()).await.ok()
    }

    /// Waits until what changed is likely to stay so for a while. Returns whether anything did.
    async fn settled(&self, settle: Duration) -> bool {
        let volume = self.desk.engine.volume();
        let number = self.info.number;
        let over = Instant::now() + OPEN_MOST;
        loop {
            sleep(settle).await;
            if volume.has_settled_marks(number).unwrap_or(true) {
                return true;
            }
            if volume.pending_marks(number).is_ok_and(|marks| marks == 0) {
                return false;
            }
            match self.called_before(over).await {
                None | Some(true) => return true,
                Some(false) => {}
            }
        }
    }

    /// Numbers are given again, and ids, too: to a share that was left and is back.
    fn is(&self, info: &ShareInfo) -> bool {
        let place = |info: &ShareInfo| (info.number, info.id, info.root, info.name.clone());
        place(info) == place(&self.info)
    }

    fn is_here(&self) -> bool {
        let shares = self.desk.engine.volume().shares();
        // What cannot be read now is not gone.
        shares.map_or(true, |shares| shares.iter().any(|info| self.is(info)))
    }

    async fn round(
        &self,
        open: &mut Option<ShareSync<'s, 'a>>,
        fetcher: &Fetcher,
    ) -> Result<Round, SyncError> {
        let volume = self.desk.engine.volume();
        self.desk.note(self.info.number, |known| {
            known.running = true;
            if known.state == State::Starting {
                known.state = State::Syncing;
            }
        });
        let sync = if let Some(sync) = open {
            sync
        } else {
            let mut sync = ShareSync::open(self.session, volume, &self.info_now()?).await?;
            let desk = self.desk;
            sync.tell_caches(|outdated| desk.outdated(outdated));
            fetcher.add(sync.packs());
            let progress = Arc::clone(sync.progress());
            self.desk
                .note(self.info.number, |known| known.progress = progress);
            open.insert(sync)
        };
        for what in revoke_queued(self.session, ShareId(self.info.id.0)).await? {
            self.desk
                .note(self.info.number, |known| known.note_trouble(what));
        }
        let round = match sync.role() {
            Some(Role::Writer | Role::Owner) => sync.push().await,
            Some(Role::Reader) | None => sync.pull().await,
        };
        sync.tell_outdated();
        self.call_for_points()?;
        if let Some(path) = sync.take_unsent() {
            tracing::warn!(
                share = self.info.number.0,
                "changes were not sent and put aside"
            );
            self.desk
                .note(self.info.number, |known| known.unsent = Some(path));
        }
        let upset = sync.take_upset();
        self.tell(upset);
        for notice in sync.take_notices() {
            tracing::warn!(
                share = self.info.number.0,
                record = notice.seq.0,
                "a record is not in order"
            );
            let what = notice.to_string();
            self.desk
                .note(self.info.number, |known| known.note_trouble(what));
        }
        for what in sync.take_told() {
            self.desk
                .note(self.info.number, |known| known.note_trouble(what));
        }
        let round = round?;
        sync.tend_roster().await?;
        let expiry = sync.next_expiry();
        self.desk
            .note(self.info.number, |known| known.next_expiry = expiry);
        let role = sync.role();
        self.set_access(match role {
            Some(Role::Writer | Role::Owner) => Access::Full,
            Some(Role::Reader) | None => Access::ReadOnly,
        })?;
        self.desk.note(self.info.number, |known| {
            known.role = role;
            known.creator = sync.creator();
            known.members = sync.taking_part();
        });
        match role {
            Some(_) => Ok(round),
            None => Err(SharingError::NotAMember.into()),
        }
    }

    fn tell(&self, upset: Upset) {
        let path = || {
            let path = self.desk.engine.volume().path_of_directory(self.info.root);
            String::from_utf8_lossy(&path.unwrap_or_default()).into_owned()
        };
        if upset.copies > 0 {
            self.desk.tell(&format!(
                "{}: {} changed here and by others at once; both versions are kept",
                path(),
                upset.copies
            ));
        }
        let half = 2 * upset.removed >= upset.of;
        if upset.removed > MANY || upset.removed > FEW && half {
            self.desk.tell(&format!(
                "{path}: others removed {} entries. `history {path} --undelete 1h` brings the files \
                 back",
                upset.removed,
                path = path()
            ));
        }
    }

    /// Calls whoever hires for shares that began at points of this one.
    fn call_for_points(&self) -> Result<(), SyncError> {
        let shares = self.desk.engine.volume().shares()?;
        let inner = |info: &&ShareInfo| info.within.is_some_and(|w| w.share == self.info.number);
        if shares
            .iter()
            .filter(inner)
            .any(|info| !self.desk.is_tended(info.id))
        {
            self.desk.list.notify_one();
        }
        Ok(())
    }

    /// Calls whoever tends the parent, the first time that all of this share is there.
    fn call_parent(&self, parent: ShareNumber) {
        let rounds = |board: &mut Board| Some(board.shares.get(&self.info.number)?.rounds);
        if self.desk.board(rounds).is_none_or(|rounds| rounds == 0) {
            self.desk.bell(parent).look_now();
        }
    }

    /// The share as the volume has it now.
    fn info_now(&self) -> Result<ShareInfo, SyncError> {
        let shares = self.desk.engine.volume().shares()?;
        let now = shares.into_iter().find(|info| self.is(info));
        Ok(now.unwrap_or_else(|| self.info.clone()))
    }

    /// Lets programs change the share, or not, and keeps that for the next time.
    fn set_access(&self, access: Access) -> Result<(), SyncError> {
        let volume = self.desk.engine.volume();
        volume.set_share_access(self.info.number, access);
        let kept = self.session.kept();
        let put = kept.put_access(ShareId(self.info.id.0), access);
        put.map_err(|error| SyncError::Sharing(error.into()))
    }

    /// Notes what came of a round. Returns whether it is to be tried again soon.
    fn note(&self, round: &Result<Round, SyncError>) -> bool {
        let number = self.info.number;
        self.desk.note(number, |known| known.running = false);
        let error = match round {
            Ok(round) => {
                if let (Round::Done { .. }, Some(within)) = (round, self.info.within) {
                    // It may wait for what is in this one to be sent.
                    self.call_parent(within.share);
                }
                self.desk.note(number, |known| {
                    known.error = None;
                    known.rounds += 1;
                    match round {
                        Round::Done { kept_back } => {
                            known.state = State::Synced;
                            known.kept_back = *kept_back;
                        }
                        Round::Waiting(_) => known.state = State::Busy,
                    }
                });
                return false;
            }
            Err(error) => error,
        };
        if let SyncError::Sharing(SharingError::NotAMember) = error {
            self.removed();
            return false;
        }
        self.desk.note(number, |known| {
            if known.state != State::Failing {
                tracing::warn!(share = number.0, "a share could not be synced");
            }
            known.state = State::Failing;
            known.error = Some(error.to_string());
        });
        true
    }

    /// The account is no member: what is here stays, and nothing is written to it any more.
    fn removed(&self) {
        let volume = self.desk.engine.volume();
        let number = self.info.number;
        let pinned = self.session.kept().head(ShareId(self.info.id.0));
        if matches!(pinned, Ok(None)) {
            // It was being begun, and the server never came to know it.
            if let Err(error) = volume.end_share(number) {
                tracing::warn!(share = number.0, %error, "a share that never began stays");
            }
            return;
        }
        if self.set_access(Access::ReadOnly).is_err() {
            tracing::warn!(share = number.0, "that a share was left is not kept");
        }
        let known = self.desk.board(|board| board.shares.get(&number).cloned());
        if known.is_some_and(|known| known.state != State::Removed && known.rounds > 0) {
            let path = volume.path_of_share(&self.info).unwrap_or_default();
            let path = String::from_utf8_lossy(&path);
            self.desk
                .tell(&format!("this account is no member of {path} any more"));
        }
        self.desk.note(number, |known| {
            known.state = State::Removed;
            known.role = None;
            known.error = Some(SharingError::NotAMember.to_string());
        });
    }
}
