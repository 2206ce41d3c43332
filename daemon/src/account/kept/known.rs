//! What a vault saw of others and of shares: to be held against what a server says next.

use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::ids::{ChainRoot, EntryHash, RecordHash, RequestHash, Seq, ShareId, Time};
use keyfold_protocol::limits;
use keyfold_protocol::names::{Slug, UserName};

use super::{AccountError, Changes, Kept, LIST, LONGEST, Slot};

/// Bytes of the longest line of what happened.
const LINE: usize = 8 << 10;

/// Somebody's key chain as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// His name.
    pub(crate) user: UserName,
    /// Since when.
    pub(crate) since: Time,
    /// Hashes of his entries, first entry first.
    pub(crate) entries: Vec<EntryHash>,
}

impl Encoded for Known {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.user.write(w);
        self.since.write(w);
        w.list(&self.entries);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            user: UserName::read(r)?,
            since: Time::read(r)?,
            entries: r.list(limits::CHAIN_ENTRIES)?,
        })
    }
}

/// Key chains as last seen.
pub(crate) type People = Listed<Known>;

/// The last record of a share that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareHead {
    /// Which share.
    pub(crate) share: ShareId,
    /// Its place.
    pub(crate) seq: Seq,
    /// The record.
    pub(crate) record: RecordHash,
}

impl Encoded for ShareHead {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.share.write(w);
        self.seq.write(w);
        self.record.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            share: ShareId::read(r)?,
            seq: Seq::read(r)?,
            record: RecordHash::read(r)?,
        })
    }
}

/// Heads of shares.
pub(crate) type Heads = Listed<ShareHead>;

/// A request as it was shown: which, whose, and by which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShownRequest {
    /// Which.
    pub(crate) request: RequestHash,
    /// Who asks.
    pub(crate) root: ChainRoot,
    /// The keys he had.
    pub(crate) entry: EntryHash,
}

impl Encoded for ShownRequest {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.request.write(w);
        self.root.write(w);
        self.entry.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            request: RequestHash::read(r)?,
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
        })
    }
}

/// Requests that were shown.
pub(crate) type Shown = Listed<ShownRequest>;

/// Shares.
pub(crate) type Shares = Listed<ShareId>;

/// A share that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    /// Which.
    pub(crate) share: ShareId,
    /// Its name in addresses.
    pub(crate) slug: Slug,
}

impl Encoded for Offered {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.share.write(w);
        self.slug.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            share: ShareId::read(r)?,
            slug: Slug::read(r)?,
        })
    }
}

/// Shares that are offered.
pub(crate) type Published = Listed<Offered>;

/// Something that happened about shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    /// When.
    pub(crate) time: Time,
    /// What, in one line.
    pub(crate) what: String,
}

impl Encoded for Happened {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.time.write(w);
        w.text(&self.what);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            time: Time::read(r)?,
            what: r.text(LINE)?.to_owned(),
        })
    }
}

/// What happened about shares.
pub(crate) type Activity = Listed<Happened>;

/// A value that is a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed<T>(pub(crate) Vec<T>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Encoded> Encoded for Listed<T> {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.uint(1);
        w.list(&self.0);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        r.version()?;
        Ok(Self(r.list(LIST)?))
    }
}

impl Kept<'_> {
    /// Keeps a list as `change` makes it, while nobody else changes it.
    pub(super) fn change_list<T: Encoded + Clone + PartialEq>(
        self,
        slot: Slot,
        change: impl FnOnce(&mut Vec<T>),
    ) -> Result<(), AccountError> {
        let _alone = self.alone();
        let before: Listed<T> = self.read(slot)?.unwrap_or_default();
        let mut after = before.clone();
        change(&mut after.0);
        if before == after {
            return Ok(());
        }
        self.change(&Changes::default().put(slot, &after))
    }
}
