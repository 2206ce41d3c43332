//! The connection to the account's server, and what it is looked at for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_protocol::ids::{Seq, ShareId};
use keyfold_protocol::roster::Role;
use keyfold_protocol::wire::ShareItem;
use tokio::time::{Instant, sleep_until};

use super::crew::{Hired, together};
use super::desk::{Desk, Offered};
use super::giving::keep_promises;
use super::offers;
use super::pause::Pauses;
use super::placing;
use super::tending::Tending;
use crate::account::{Account, AccountError, Session};
use crate::cli::exit::Exit;
use crate::remote::Deadlines;
use crate::remote::events::{Events, Hint};
use crate::sharing::{Arrival, Asked, SharingError, Stub, remove_deleted};
use crate::sync::Fetcher;

/// Time between two looks at a server that gives no hints.
const LOOK: Duration = Duration::from_secs(2);
/// Time between two looks at one that does.
const COMPARE: Duration = Duration::from_mins(5);
/// What a program that reads waits for at most.
const FETCHING: Deadlines = Deadlines {
    connect: Duration::from_secs(5),
    call: Duration::from_secs(20),
    idle: Duration::from_secs(10),
};

/// Keeps shares up to date, with whatever account the vault has. Never ends by itself.
pub(super) async fn keep(desk: &Desk, fetcher: &Fetcher) {
    let mut pauses = Pauses::default();
    loop {
        let Err(error) = attempt(desk, fetcher).await;
        fetcher.set_cut_off(true);
        note_failure(desk, &error);
        tokio::time::sleep(pauses.after_failure()).await;
    }
}

fn note_failure(desk: &Desk, error: &AccountError) {
    desk.board(|board| {
        if board.error.is_none() {
            // What it says may name people.
            let code = Exit::from(error).code();
            tracing::warn!(code, "shares are not synced");
        }
        board.connected = false;
        board.error = Some(error.to_string());
    });
}

async fn attempt(desk: &Desk, fetcher: &Fetcher) -> Result<Infallible, AccountError> {
    let account = || Account::of(&desk.engine, Deadlines::default());
    let session = account()?.session().await?;
    let fetching = Account::of(&desk.engine, FETCHING)?.session().await?;
    fetcher.set_remote(fetching.remote().clone());
    let hired = Hired::default();
    desk.begin();
    let connection = Connection {
        desk,
        session: &session,
        fetcher,
        hired: &hired,
        seen: RefCell::default(),
        offers_due: Cell::new(true),
        looked_for_deleted: RefCell::default(),
    };
    together(connection.watch(), &hired).await
}

/// A connection, and who works with it.
struct Connection<'h, 's, 'a> {
    desk: &'s Desk,
    session: &'s Session<'a>,
    fetcher: &'s Fetcher,
    hired: &'h Hired<'s>,
    /// The head of each share as the server told it last.
    seen: RefCell<BTreeMap<ShareId, Seq>>,
    /// Whether what is offered and asked for is to be looked at.
    offers_due: Cell<bool>,
    /// The heads at which it was asked whose accounts ended.
    looked_for_deleted: RefCell<BTreeMap<ShareId, Seq>>,
}

impl<'s, 'a: 's> Connection<'_, 's, 'a> {
    /// Looks at the server whenever it hints at something, and now and then without.
    async fn watch(&self) -> Result<Infallible, AccountError> {
        let mut pauses = Pauses::default();
        let mut events = self.session.remote().events();
        // Whether hints come: without, the server is looked at every moment.
        let mut hinted = true;
        loop {
            let pause = match self.look().await {
                Ok(()) => {
                    pauses.reset();
                    if hinted { COMPARE } else { LOOK }
                }
                Err(error) => {
                    self.fetcher.set_cut_off(true);
                    note_failure(self.desk, &error);
                    hinted = false;
                    pauses.after_failure()
                }
            };
            hinted = self.wait(pause, hinted.then_some(&mut events)).await?;
        }
    }

    /// Waits until the server is to be looked at. Returns whether hints are worth waiting for then.
    async fn wait(
        &self,
        pause: Duration,
        mut events: Option<&mut Events>,
    ) -> Result<bool, AccountError> {
        let over = Instant::now() + pause;
        loop {
            let hint = async {
                match &mut events {
                    Some(events) => events.next().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = sleep_until(over) => {
                    self.offers_due.set(true);
                    return Ok(true);
                }
                () = self.desk.list.notified() => {
                    self.offers_due.set(true);
                    return Ok(events.is_some());
                }
                () = self.fetcher.fell_silent() => return Ok(events.is_some()),
                hint = hint => match hint {
                    Ok(Hint::Share(share)) if self.call(share)? => {}
                    Ok(Hint::Share(_) | Hint::Membership(_)) => return Ok(true),
                    Ok(_) => {
                        self.offers_due.set(true);
                        return Ok(true);
                    }
                    Err(_) => return Ok(false),
                }
            }
        }
    }

    /// Calls whoever tends a share, if somebody does.
    fn call(&self, share: ShareId) -> Result<bool, AccountError> {
        let shares = self.desk.engine.volume().shares();
        let shares = shares.map_err(AccountError::Kept)?;
        let here = shares.iter().find(|info| info.id.0 == share.0);
        if let Some(info) = here {
            self.desk.bell(info.number).look_now();
        }
        Ok(here.is_some())
    }

    async fn look(&self) -> Result<(), AccountError> {
        // What is in the volume is tended before the server is asked: it tells why it does not go on.
        self.tend_all()?;
        let listed = self.session.remote().shares().await?.shares;
        self.fetcher.set_cut_off(false);
        let back = self.desk.board(|board| {
            board.error = None;
            !std::mem::replace(&mut board.connected, true)
        });
        if back {
            self.desk.keeper.look();
            self.desk.look_now();
        }
        self.compare(&listed)?;
        for item in &listed {
            self.remove_deleted(item).await;
            self.arrive(item).await?;
        }
        // What is kept of invitations cannot be read; shares go on.
        let awaited = keep_promises(self.desk, self.session)
            .await
            .unwrap_or_default();
        self.desk.board(|board| board.awaited = awaited);
        self.tend_all()?;
        if self.offers_due.replace(false) {
            let members = listed.iter().map(|item| item.share).collect();
            let looked = offers::look(self.desk, self.session, &members).await;
            looked.inspect_err(|_| self.offers_due.set(true))?;
        }
        Ok(())
    }

    /// Hires somebody for each share that nobody tends.
    fn tend_all(&self) -> Result<(), AccountError> {
        let shares = self.desk.engine.volume().shares();
        for info in shares.map_err(AccountError::Kept)? {
            if self.desk.is_beginning(info.id) || !self.desk.begins_to_tend(info.id) {
                continue;
            }
            let tending = Tending::new(self.desk, self.session, &info);
            self.hired.hire(tending.go_on(self.fetcher));
        }
        Ok(())
    }

    /// Calls whoever tends a share that is another than it was.
    fn compare(&self, listed: &[ShareItem]) -> Result<(), AccountError> {
        let shares = self.desk.engine.volume().shares();
        let mut seen = self.seen.borrow_mut();
        for info in shares.map_err(AccountError::Kept)? {
            let id = ShareId(info.id.0);
            let item = listed.iter().find(|item| item.share == id);
            let head = item.map(|item| item.head.seq);
            let before = match head {
                Some(head) => seen.insert(id, head),
                None => seen.remove(&id),
            };
            if before != head {
                self.desk.bell(info.number).look_now();
            }
        }
        Ok(())
    }

    /// Takes people out whose accounts ended, of which the log of a share says nothing.
    async fn remove_deleted(&self, item: &ShareItem) {
        let asked = self.looked_for_deleted.borrow().get(&item.share).copied();
        if !item.rotation_due || item.role != Role::Owner || asked == Some(item.head.seq) {
            return;
        }
        // Whatever is wrong with a share, whoever tends it tells.
        if remove_deleted(self.session, item.share).await.is_ok() {
            let head = item.head.seq;
            self.looked_for_deleted
                .borrow_mut()
                .insert(item.share, head);
        }
    }

    /// Puts a share that is not in the volume there, if that may be done unasked.
    async fn arrive(&self, item: &ShareItem) -> Result<(), AccountError> {
        let volume = self.desk.engine.volume();
        let shares = volume.shares().map_err(AccountError::Kept)?;
        let here = shares.iter().any(|info| info.id.0 == item.share.0);
        let before = self.seen.borrow().get(&item.share).copied();
        let is_ending = self.desk.is_beginning(EngineShareId(item.share.0));
        if here || is_ending || before == Some(item.head.seq) {
            return Ok(());
        }
        let arrival = match Arrival::of(self.session, item.share).await {
            Ok(arrival) => arrival,
            // Taken away again meanwhile.
            Err(SharingError::NotAMember) => return Ok(()),
            Err(SharingError::Account(AccountError::Remote(error))) => return Err(error.into()),
            Err(error) => {
                self.offer(item.share, ("?", "?"), error.to_string());
                return Ok(());
            }
        };
        self.seen.borrow_mut().insert(item.share, item.head.seq);
        let Some(arrival) = arrival else {
            // Whoever makes it has not said yet what it is.
            let granted = Stub::note_asked(volume, item.share, Asked::Granted);
            return granted.map_err(AccountError::Kept);
        };
        let from = (arrival.owner.as_str(), arrival.name.as_str());
        if !arrival.is_verified {
            let why = format!("{} is not verified", arrival.owner);
            self.offer(item.share, from, why);
            return Ok(());
        }
        match placing::place(self.desk, &arrival) {
            Ok(()) => {}
            Err(error) => self.offer(item.share, from, error.to_string()),
        }
        Ok(())
    }

    fn offer(&self, share: ShareId, (owner, name): (&str, &str), why: String) {
        let offered = Offered {
            owner: owner.to_owned(),
            name: name.to_owned(),
            why,
            stub: None,
        };
        self.desk
            .board(|board| board.offered.insert(share, offered));
    }
}
