//! Receipts: what a device has seen of a share, so that two heads cannot be shown to two members.
//!
//! `[1, share(32), seq, record(32), device(16), root(32), entry(32), time]`

use keyfold_crypto::SignLabel;

use crate::cbor::{Decoded, Encoded, Reader, Writer};
use crate::ids::{ChainRoot, DeviceId, EntryHash, RecordHash, Seq, ShareId, Time};
use crate::signed::Statement;

/// A head, as a device saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of what.
    pub share: ShareId,
    /// The head's place.
    pub seq: Seq,
    /// The head.
    pub record: RecordHash,
    /// Which device.
    pub device: DeviceId,
    /// Whose.
    pub root: ChainRoot,
    /// The keys it signs with.
    pub entry: EntryHash,
    /// When.
    pub time: Time,
}

impl Statement for Receipt {
    const LABEL: SignLabel = SignLabel::RECEIPT;
}

impl Encoded for Receipt {
    const LIMIT: usize = 256;

    fn write(&self, w: &mut Writer) {
        w.array(8);
        w.uint(1);
        self.share.write(w);
        self.seq.write(w);
        self.record.write(w);
        self.device.write(w);
        self.root.write(w);
        self.entry.write(w);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(8)?;
        r.version()?;
        Ok(Self {
            share: ShareId::read(r)?,
            seq: Seq::read(r)?,
            record: RecordHash::read(r)?,
            device: DeviceId::read(r)?,
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
            time: Time::read(r)?,
        })
    }
}
