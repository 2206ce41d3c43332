//! Publications: what an owner offers to others. Readable by the server and the audience.
//!
//! `[1, share(32), slug, title, audience, serial, owner(32), entry(32), time]`, where the audience is
//! `[0]` nobody any more, `[1]` everyone, or `[2, [user...]]`.

use keyfold_crypto::{HashLabel, SignLabel, labelled_hash};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::ids::{ChainRoot, EntryHash, PublicationHash, ShareId, Time};
use crate::limits;
use crate::names::{Slug, Title, UserName};
use crate::signed::Statement;

/// To whom something is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// To nobody any more.
    Nobody,
    /// To every user of the server.
    Everyone,
    /// To these, ascending.
    Users(Vec<UserName>),
}

impl Encoded for Audience {
    const LIMIT: usize = limits::STATEMENT_BYTES;

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Nobody => {
                w.array(1);
                w.uint(0);
            }
            Self::Everyone => {
                w.array(1);
                w.uint(1);
            }
            Self::Users(users) => {
                w.array(2);
                w.uint(2);
                w.list(users);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match (r.length(2)?, r.uint()?) {
            (1, 0) => Ok(Self::Nobody),
            (1, 1) => Ok(Self::Everyone),
            (2, 2) => {
                let users: Vec<UserName> = r.list(limits::AUDIENCE)?;
                require(!users.is_empty() && users.windows(2).all(|pair| pair[0] < pair[1]))?;
                Ok(Self::Users(users))
            }
            _ => Err(DecodeError::Malformed),
        }
    }
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What is offered.
    pub share: ShareId,
    /// Its name in the owner's addresses.
    pub slug: Slug,
    /// What it is called.
    pub title: Title,
    /// To whom.
    pub audience: Audience,
    /// More than that of the publication of this share before.
    pub serial: u64,
    /// Who offers.
    pub owner: ChainRoot,
    /// The keys he signs with.
    pub entry: EntryHash,
    /// When.
    pub time: Time,
}

impl Publication {
    /// Hash of the publication.
    pub fn hash(&self) -> PublicationHash {
        PublicationHash(labelled_hash(HashLabel::PUBLICATION, &self.encode()))
    }
}

impl Statement for Publication {
    const LABEL: SignLabel = SignLabel::PUBLICATION;
}

impl Encoded for Publication {
    const LIMIT: usize = limits::STATEMENT_BYTES - 128;

    fn write(&self, w: &mut Writer) {
        w.array(9);
        w.uint(1);
        self.share.write(w);
        self.slug.write(w);
        self.title.write(w);
        self.audience.write(w);
        w.uint(self.serial);
        self.owner.write(w);
        self.entry.write(w);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(9)?;
        r.version()?;
        Ok(Self {
            share: ShareId::read(r)?,
            slug: Slug::read(r)?,
            title: Title::read(r)?,
            audience: Audience::read(r)?,
            serial: r.uint()?,
            owner: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
            time: Time::read(r)?,
        })
    }
}
