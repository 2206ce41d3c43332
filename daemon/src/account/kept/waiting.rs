//! What was ordered and waits: for the server, or for other people.

use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::ids::{ShareId, Time};
use keyfold_protocol::names::{Email, UserName};
use keyfold_protocol::roster::Role;

use super::{Kept, LONGEST, Listed, Slot};
use crate::account::error::AccountError;

/// Somebody who is to be taken out of a share, or everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// Of which share.
    pub(crate) share: ShareId,
    /// Who.
    pub(crate) user: Option<UserName>,
}

impl Encoded for Revocation {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.share.write(w);
        w.optional(self.user.as_ref(), |w, user| user.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            share: ShareId::read(r)?,
            user: r.optional(UserName::read)?,
        })
    }
}

/// Somebody who was invited by his address, and is to be given a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// Which.
    pub(crate) share: ShareId,
    /// Whom.
    pub(crate) email: Email,
    /// As what.
    pub(crate) role: Role,
    /// Seconds for which, from then on.
    pub(crate) lasts: Option<u64>,
    /// Whether with what was there before.
    pub(crate) with_history: bool,
    /// When he was invited: who was verified before that is not known to be the one.
    pub(crate) since: Time,
}

impl Encoded for Invitation {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        self.share.write(w);
        self.email.write(w);
        self.role.write(w);
        w.optional(self.lasts.as_ref(), |w, lasts| w.uint(*lasts));
        w.uint(u64::from(self.with_history));
        self.since.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        Ok(Self {
            share: ShareId::read(r)?,
            email: Email::read(r)?,
            role: Role::read(r)?,
            lasts: r.optional(Reader::uint)?,
            with_history: r.uint_up_to(1)? == 1,
            since: Time::read(r)?,
        })
    }
}

impl Kept<'_> {
    /// Who is to be taken out of shares.
    pub(crate) fn revocations(self) -> Result<Vec<Revocation>, AccountError> {
        let kept: Listed<Revocation> = self.read(Slot::Revocations)?.unwrap_or_default();
        Ok(kept.0)
    }

    /// Adds one that waits.
    pub(crate) fn add_revocation(self, wanted: &Revocation) -> Result<(), AccountError> {
        self.change_list(Slot::Revocations, |kept| {
            if !kept.contains(wanted) {
                kept.push(wanted.clone());
            }
        })
    }

    /// Forgets one that is done.
    pub(crate) fn end_revocation(self, done: &Revocation) -> Result<(), AccountError> {
        self.change_list(Slot::Revocations, |kept| {
            kept.retain(|one: &Revocation| one != done);
        })
    }

    /// Who is invited to shares.
    pub(crate) fn invitations(self) -> Result<Vec<Invitation>, AccountError> {
        let kept: Listed<Invitation> = self.read(Slot::Invitations)?.unwrap_or_default();
        Ok(kept.0)
    }

    /// Adds one that waits, in place of one of the same address.
    pub(crate) fn add_invitation(self, wanted: &Invitation) -> Result<(), AccountError> {
        self.change_list(Slot::Invitations, |kept: &mut Vec<Invitation>| {
            kept.retain(|one| (one.share, &one.email) != (wanted.share, &wanted.email));
            kept.push(wanted.clone());
        })
    }

    /// Forgets one.
    pub(crate) fn end_invitation(self, done: &Invitation) -> Result<(), AccountError> {
        self.change_list(Slot::Invitations, |kept| {
            kept.retain(|one: &Invitation| one != done);
        })
    }
}
