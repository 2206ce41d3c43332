//! What a vault keeps of the logs of shares: the heads, and the last records as they are, so that a
//! server that lost them is given them again.
//!
//! The records of a share lie in a ring of slots, by place. Beside the ring it is kept what is in it.

use keyfold_fs::volume::AccountSlot;
use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{RecordHash, Seq, ShareId};
use zeroize::Zeroizing;

use super::{AccountError, Heads, Kept, LONGEST, ShareHead, Slot};

/// Records that are kept of a share, at most, and their bytes.
const RECORDS: u64 = 4096;
const BYTES: u64 = 64 << 20;
/// The first slot of rings, and of what is kept beside them, by the number of the share in the volume.
const RING: u32 = 1 << 31;
const BESIDE: u32 = 1 << 30;
/// Shares that have a ring.
const NUMBERS: u64 = 1 << 19;

/// Whether the server has all of a share that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing says that it has not.
    Whole,
    /// It lost records, and perhaps content.
    InDoubt,
}

/// What is in the ring of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::account) struct Ring {
    pub(in crate::account) share: ShareId,
    /// Nothing before this place is there, nor from the end on; between there may be gaps.
    pub(in crate::account) first: Seq,
    pub(in crate::account) end: Seq,
    pub(in crate::account) bytes: u64,
    pub(in crate::account) standing: Standing,
}

impl Encoded for Ring {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(1);
        self.share.write(w);
        self.first.write(w);
        self.end.write(w);
        w.uint(self.bytes);
        w.uint(u64::from(self.standing == Standing::InDoubt));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        r.version()?;
        Ok(Self {
            share: ShareId::read(r)?,
            first: Seq::read(r)?,
            end: Seq::read(r)?,
            bytes: r.uint()?,
            standing: match r.uint_up_to(1)? {
                0 => Standing::Whole,
                _ => Standing::InDoubt,
            },
        })
    }
}

/// A record in a ring.
pub(in crate::account) struct KeptRecord {
    pub(in crate::account) share: ShareId,
    pub(in crate::account) append: Append,
}

impl Encoded for KeptRecord {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        self.share.write(w);
        w.bytes(&self.append.encode());
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        Ok(Self {
            share: ShareId::read(r)?,
            append: Append::decode(r.bytes(Append::LIMIT)?)?,
        })
    }
}

/// Values on their way into slots.
type Puts = Vec<(AccountSlot, Option<Zeroizing<Vec<u8>>>)>;

fn slot(number: u64, seq: Seq) -> AccountSlot {
    AccountSlot(RING | (number as u32) << 12 | (seq.0 % RECORDS) as u32)
}

fn beside(number: u64) -> AccountSlot {
    AccountSlot(BESIDE | number as u32)
}

impl Kept<'_> {
    /// The head of a share as last applied.
    pub(crate) fn head(self, share: ShareId) -> Result<Option<ShareHead>, AccountError> {
        let heads: Heads = self.read(Slot::Heads)?.unwrap_or_default();
        Ok(heads.0.into_iter().find(|head| head.share == share))
    }

    /// Keeps the head of a share, which never goes back, and records of it as they are.
    pub(crate) fn put_head(self, head: ShareHead, records: &[Append]) -> Result<(), AccountError> {
        let _alone = self.alone();
        let mut puts = self.with_records(head.share, records)?;
        let mut heads: Heads = self.read(Slot::Heads)?.unwrap_or_default();
        match heads.0.iter_mut().find(|known| known.share == head.share) {
            Some(known) if known.seq >= head.seq => return self.put(&puts),
            Some(known) => *known = head,
            None => heads.0.push(head),
        }
        let slot = AccountSlot(Slot::Heads as u32);
        puts.push((slot, Some(Zeroizing::new(heads.encode()))));
        self.put(&puts)
    }

    /// Keeps records of a share as they are. One that is there stays, unless this one has more grants.
    pub(crate) fn put_records(
        self,
        share: ShareId,
        records: &[Append],
    ) -> Result<(), AccountError> {
        let _alone = self.alone();
        self.put(&self.with_records(share, records)?)
    }

    /// A record of a share, if it was kept.
    pub(crate) fn record(
        self,
        share: ShareId,
        (seq, record): (Seq, RecordHash),
    ) -> Result<Option<Append>, AccountError> {
        let Some(number) = self.number(share)? else {
            return Ok(None);
        };
        let found = self.record_in(slot(number, seq))?;
        let found = found.filter(|(kept, _)| {
            let header = &kept.append.record.header;
            kept.share == share && header.seq == seq && header.hash() == record
        });
        Ok(found.map(|(kept, _)| kept.append))
    }

    /// Whether the server is known to have all of a share.
    pub(crate) fn standing(self, share: ShareId) -> Result<Standing, AccountError> {
        let ring = match self.number(share)? {
            Some(number) => self.ring(number, share)?,
            None => None,
        };
        Ok(ring.map_or(Standing::Whole, |ring| ring.standing))
    }

    /// Keeps whether the server is known to have all of a share.
    pub(crate) fn put_standing(
        self,
        share: ShareId,
        standing: Standing,
    ) -> Result<(), AccountError> {
        let _alone = self.alone();
        let Some(number) = self.number(share)? else {
            return Ok(());
        };
        let Some(ring) = self.ring(number, share)? else {
            return Ok(());
        };
        if ring.standing == standing {
            return Ok(());
        }
        let ring = Ring { standing, ..ring }.encode();
        self.put(&vec![(beside(number), Some(Zeroizing::new(ring)))])
    }

    /// Forgets the records of a share that had this number.
    pub(crate) fn forget_records(self, share: ShareId, number: u64) -> Result<(), AccountError> {
        let _alone = self.alone();
        let Some(ring) = self.ring(number, share)? else {
            return Ok(());
        };
        let slots = (ring.first.0..ring.end.0).map(|seq| slot(number, Seq(seq)));
        let all = slots.chain([beside(number)]);
        self.put(&all.map(|slot| (slot, None)).collect())
    }

    fn put(self, puts: &Puts) -> Result<(), AccountError> {
        if puts.is_empty() {
            return Ok(());
        }
        let puts: Vec<_> = puts
            .iter()
            .map(|(slot, value)| (*slot, value.as_ref().map(|value| value.as_slice())))
            .collect();
        Ok(self.engine.put_account_values(&puts)?)
    }

    /// The number of a share in the volume, if it has room for a ring.
    fn number(self, share: ShareId) -> Result<Option<u64>, AccountError> {
        let shares = self.engine.volume().shares().map_err(AccountError::Kept)?;
        let here = shares.iter().find(|info| info.id.0 == share.0);
        Ok(here.map(|info| info.number.0).filter(|n| *n < NUMBERS))
    }

    fn ring(self, number: u64, share: ShareId) -> Result<Option<Ring>, AccountError> {
        let value = self.engine.account_value(beside(number))?;
        // What is not of this form is made anew: it is a copy of what others have.
        let ring = value.and_then(|value| Ring::decode(&value).ok());
        Ok(ring.filter(|ring| ring.share == share))
    }

    /// What lies in a slot of a ring, and its bytes.
    fn record_in(self, slot: AccountSlot) -> Result<Option<(KeptRecord, u64)>, AccountError> {
        let value = self.engine.account_value(slot)?;
        Ok(value.and_then(|value| {
            let bytes = value.len() as u64;
            Some((KeptRecord::decode(&value).ok()?, bytes))
        }))
    }

    fn with_records(self, share: ShareId, records: &[Append]) -> Result<Puts, AccountError> {
        let mut puts = Puts::new();
        let (Some(number), Some(newest)) = (
            self.number(share)?,
            records.iter().map(|one| one.record.header.seq).max(),
        ) else {
            return Ok(puts);
        };
        let mut ring = self.ring(number, share)?.unwrap_or(Ring {
            share,
            first: newest,
            end: newest,
            bytes: 0,
            standing: Standing::Whole,
        });
        ring.end = ring.end.max(newest.next());
        for append in records {
            self.add(&mut ring, (number, append), &mut puts)?;
        }
        self.make_room(&mut ring, (number, records), &mut puts)?;
        if !puts.is_empty() {
            puts.push((beside(number), Some(Zeroizing::new(ring.encode()))));
        }
        Ok(puts)
    }

    fn add(
        self,
        ring: &mut Ring,
        (number, append): (u64, &Append),
        puts: &mut Puts,
    ) -> Result<(), AccountError> {
        let header = &append.record.header;
        if header.seq.0 + RECORDS < ring.end.0 {
            return Ok(());
        }
        let kept = KeptRecord {
            share: ring.share,
            append: append.clone(),
        };
        let value = kept.encode();
        if value.len() > LONGEST {
            return Ok(());
        }
        let slot = slot(number, header.seq);
        let before = self.record_in(slot)?;
        if let Some((known, bytes)) = before.filter(|(known, _)| known.share == ring.share) {
            let same = known.append.record.header.hash() == header.hash();
            if same && known.append.grants.len() >= append.grants.len() {
                return Ok(());
            }
            ring.bytes = ring.bytes.saturating_sub(bytes);
        }
        ring.bytes += value.len() as u64;
        ring.first = ring.first.min(header.seq);
        puts.push((slot, Some(Zeroizing::new(value))));
        Ok(())
    }

    /// Has no more in a ring than there may be. What comes now stays.
    fn make_room(
        self,
        ring: &mut Ring,
        (number, new): (u64, &[Append]),
        puts: &mut Puts,
    ) -> Result<(), AccountError> {
        // What those before had is another record's already.
        ring.first = ring.first.max(Seq(ring.end.0.saturating_sub(RECORDS)));
        let oldest = new.iter().map(|append| append.record.header.seq).min();
        while ring.bytes > BYTES && Some(ring.first) < oldest {
            let slot = slot(number, ring.first);
            let there = self.record_in(slot)?.filter(|(kept, _)| {
                kept.share == ring.share && kept.append.record.header.seq == ring.first
            });
            if let Some((_, bytes)) = there {
                ring.bytes = ring.bytes.saturating_sub(bytes);
                puts.push((slot, None));
            }
            ring.first = ring.first.next();
        }
        Ok(())
    }
}
