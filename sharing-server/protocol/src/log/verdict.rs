//! What is known of a share, and how it compares with what others say of it.

use keyfold_crypto::EpochKey;

use super::{Log, Own, Void};
use crate::ids::{Epoch, RecordHash, Seq, ShareId};
use crate::receipt::Receipt;
use crate::roster::{NewEpoch, Role, Roster};
use crate::signed::Signed;

/// How a head compares with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadVerdict {
    /// The same.
    Same,
    /// Later: to be pulled.
    Ahead,
    /// Earlier, and on our chain as far as it is known: the server lost records, and is to be given
    /// them again.
    Behind,
    /// Another record at a place that we know.
    Fork,
}

/// How a receipt compares with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptVerdict {
    /// On our chain, or later than it.
    Confirms,
    /// Its device saw another chain.
    Fork,
    /// Not of this share, not of a member, or not signed by him.
    Invalid,
}

impl Log {
    /// Which share this is.
    pub fn share(&self) -> ShareId {
        self.share
    }

    /// Who applies the log.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// The last record.
    pub fn head(&self) -> Option<(Seq, RecordHash)> {
        let last = self.records.last()?;
        Some((Seq(self.next_seq().0 - 1), *last))
    }

    /// The place of the next record.
    pub fn next_seq(&self) -> Seq {
        Seq(self.forgotten + self.records.len() as u64)
    }

    /// The record at a place; none where there is none yet, and where it was forgotten.
    pub fn record_at(&self, seq: Seq) -> Option<RecordHash> {
        let index = seq.0.checked_sub(self.forgotten)?;
        self.records.get(usize::try_from(index).ok()?).copied()
    }

    /// The first of the epochs that can be read by whoever is given the key of the one in force.
    pub fn readable_from(&self) -> Option<Epoch> {
        let now = self.roster.as_ref()?.epoch;
        let closed = |(_, begun): &(&Epoch, &NewEpoch)| begun.previous.is_none();
        let (epoch, _) = self.begun.range(..=now).rfind(closed)?;
        Some(*epoch)
    }

    /// Who takes part.
    pub fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// The last roster record that is not void.
    pub fn roster_record(&self) -> RecordHash {
        self.roster_record
    }

    /// Our role, while we are a member.
    pub fn role(&self) -> Option<Role> {
        let roster = self.roster.as_ref()?;
        roster.members.get(&self.own.root).map(|member| member.role)
    }

    /// The key of an epoch, if we have it.
    pub fn epoch_key(&self, epoch: Epoch) -> Option<&EpochKey> {
        self.epochs.get(&epoch)
    }

    /// Somebody left or lost a device since the epoch began: an owner is to begin another.
    pub fn rotation_due(&self) -> bool {
        self.rotation_due
    }

    /// Void records with their reasons.
    pub fn voids(&self) -> impl Iterator<Item = (Seq, Void)> {
        self.voids.iter().map(|(seq, void)| (*seq, *void))
    }

    /// Notes that a content record turned out not to be applicable to the tree.
    pub fn note_void(&mut self, seq: Seq, void: Void) {
        if seq < self.next_seq() {
            self.voids.insert(seq, void);
        }
    }

    /// How a head that the server names compares with ours.
    pub fn compare(&self, seq: Seq, record: RecordHash) -> HeadVerdict {
        match (self.record_at(seq), self.head()) {
            (Some(known), _) if known != record => HeadVerdict::Fork,
            (Some(_), Some((head, _))) if head == seq => HeadVerdict::Same,
            (Some(_), _) => HeadVerdict::Behind,
            (None, _) if seq < Seq(self.forgotten) => HeadVerdict::Behind,
            (None, _) => HeadVerdict::Ahead,
        }
    }

    /// How what another device saw compares with ours.
    pub fn check_receipt(&self, signed: &Signed<Receipt>) -> ReceiptVerdict {
        let receipt = signed.unverified();
        let Some(entry) = self.entries.get(&receipt.entry) else {
            return ReceiptVerdict::Invalid;
        };
        let genuine = receipt.share == self.share
            && entry.root == receipt.root
            && signed.verify(&entry.identity).is_ok();
        if !genuine {
            return ReceiptVerdict::Invalid;
        }
        match self.compare(receipt.seq, receipt.record) {
            HeadVerdict::Fork => ReceiptVerdict::Fork,
            _ => ReceiptVerdict::Confirms,
        }
    }
}
