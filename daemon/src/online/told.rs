//! What the user is told: what waits for him, what happened, and notices on his desktop.
//!
//! Names and titles are in the vault and in the mount, and nowhere else: not in a log, and not in a
//! notice, whose words every user of the machine can see.

use std::fmt::Write;

use keyfold_protocol::account::fingerprint;
use keyfold_protocol::roster::Role;

use super::desk::Desk;
use super::notice::{self, Notice};
use crate::account::{AccountError, Happened, Kept, now};
use crate::calendar::moment;
use crate::cli::exit::Exit;
use crate::sharing::{self, InboxItem, SharingError};

/// Bytes of a line of what happened, at most.
const LINE: usize = 4 << 10;

impl Desk {
    /// What waits for the user, a line each, the newest last. It counts as shown to him.
    pub(crate) fn inbox(&self) -> String {
        let mut text = String::new();
        let requests = self.board(|board| {
            for offered in board.offered.values() {
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "{} {} \"{}\": keyfold accept {}/{}",
                    offered.owner,
                    if offered.stub.is_some() {
                        "offers"
                    } else {
                        "gives"
                    },
                    offered.name,
                    offered.owner,
                    offered.name
                );
            }
            board.requests.clone()
        });
        for item in &requests {
            let _ = writeln!(text, "{}", line_of(item));
        }
        *self.displayed.lock() = Some(requests);
        text
    }

    /// Keeps which requests the user was shown: they can be granted from then on.
    pub(super) fn keep_displayed(&self) -> Result<(), SharingError> {
        let displayed = self.displayed.lock().take();
        match displayed {
            Some(items) => Ok(sharing::note_shown(Kept::in_vault(&self.engine), &items)?),
            None => Ok(()),
        }
    }

    /// What happened, a line each, the newest last.
    pub(crate) fn activity(&self) -> Result<String, AccountError> {
        let mut text = String::new();
        for one in Kept::in_vault(&self.engine).activity()? {
            let _ = writeln!(text, "{}  {}", moment(one.time.0.cast_signed()), one.what);
        }
        Ok(text)
    }

    /// Keeps what happened.
    pub(crate) fn tell(&self, what: &str) {
        let mut what = what.replace(|c: char| c.is_control(), " ");
        if what.len() > LINE {
            let end = (0..=LINE).rfind(|end| what.is_char_boundary(*end));
            what.truncate(end.unwrap_or_default());
        }
        let happened = Happened { time: now(), what };
        if let Err(error) = Kept::in_vault(&self.engine).add_activity(happened) {
            let code = Exit::from(&error).code();
            tracing::warn!(code, "what happened is not kept");
        }
    }

    /// The same, and shows a notice.
    pub(crate) fn tell_with(&self, notice: Notice, what: &str) {
        self.tell(what);
        notice::show(notice);
    }

    /// The same, unless it was kept before.
    pub(super) fn tell_once_with(&self, notice: Notice, what: &str) {
        let kept = Kept::in_vault(&self.engine).activity();
        if !kept.is_ok_and(|kept| kept.iter().any(|one| one.what == what)) {
            self.tell_with(notice, what);
        }
    }
}

/// A request in one line.
fn line_of(item: &InboxItem) -> String {
    let known = if item.person.is_verified() {
        "verified".to_owned()
    } else {
        format!("not verified: {}", fingerprint(item.person.root()))
    };
    let message = item.message.as_ref().map(|message| {
        let line = message.as_str().replace(|c: char| c.is_control(), " ");
        format!(": {line}")
    });
    format!(
        "{}  {}  {} ({known}){}",
        item.short_id(),
        moment(item.time.0.cast_signed()),
        wish_of(item),
        message.unwrap_or_default()
    )
}

/// What somebody asks for.
pub(super) fn wish_of(item: &InboxItem) -> String {
    let wish = match item.role {
        Role::Reader => "read",
        Role::Writer => "read and write",
        Role::Owner => "own",
    };
    format!("{} asks to {wish} \"{}\"", item.user(), item.title)
}
