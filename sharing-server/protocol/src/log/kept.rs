//! A log as whoever applied it keeps it, so that it is not applied from its first record again.
//!
//! ```text
//! log    = [1, share(32), records forgotten, hashes(32 each), roster, roster record(32), roster time,
//!           rotation due (0 or 1), [entry...], [[epoch, secret(32)]...], [[epoch, begun]...]]
//! entry  = [root(32), user, entry(32), seq, identity(32), kem]
//! roster = [nonce(16), version, epoch, commitment(32), creator(32),
//!           [[entry(32), role, expires or null]...]]
//! ```
//!
//! It is kept where nobody else writes: nothing of it is verified again.

use std::collections::BTreeMap;

use keyfold_crypto::{EpochCommitment, EpochKey, IdentityPublic, KemPublic};
use zeroize::Zeroizing;

use super::{Log, Own};
use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::chain::KeyEntry;
use crate::ids::{ChainRoot, EntryHash, Epoch, Nonce, RecordHash, RosterVersion, ShareId, Time};
use crate::limits;
use crate::names::UserName;
use crate::roster::{Member, NewEpoch, Role, Roster};

/// Records whose hashes are kept. What other devices say they saw before those is not compared any
/// more.
const RECORDS: usize = 4096;
/// Keys of everybody who ever was a member, and epochs, at most.
const MANY: usize = 1 << 20;

impl Log {
    /// Its bytes, with the keys of its epochs; none of a log without a record. Which records are void
    /// is not kept.
    pub fn keep(&self) -> Option<Zeroizing<Vec<u8>>> {
        let roster = self.roster.as_ref()?;
        let older = self.records.len().saturating_sub(RECORDS);
        let mut w = Writer::default();
        w.array(11);
        w.uint(1);
        self.share.write(&mut w);
        w.uint(self.forgotten + older as u64);
        let hashes = self.records[older..].iter().flat_map(|hash| hash.0);
        w.bytes(&hashes.collect::<Vec<u8>>());
        write_roster(&mut w, roster);
        self.roster_record.write(&mut w);
        self.roster_time.write(&mut w);
        w.uint(u64::from(self.rotation_due));
        w.array(self.entries.len());
        for entry in self.entries.values() {
            write_entry(&mut w, entry);
        }
        w.array(self.epochs.len());
        for (epoch, key) in &self.epochs {
            w.array(2);
            epoch.write(&mut w);
            w.bytes(key.secret().as_slice());
        }
        w.array(self.begun.len());
        for (epoch, begun) in &self.begun {
            w.array(2);
            epoch.write(&mut w);
            begun.write(&mut w);
        }
        Some(Zeroizing::new(w.finish()))
    }

    /// The log that was kept, as `own` goes on with it.
    pub fn resume(own: Own, bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        r.array(11)?;
        r.version()?;
        let mut log = Self::new(own, ShareId::read(&mut r)?);
        log.forgotten = r.uint()?;
        let (hashes, rest) = r.bytes(RECORDS * 32)?.as_chunks::<32>();
        require(rest.is_empty() && !hashes.is_empty())?;
        log.records = hashes.iter().map(|hash| RecordHash(*hash)).collect();
        let roster = KeptRoster::read(&mut r)?;
        log.roster_record = RecordHash::read(&mut r)?;
        log.roster_time = Time::read(&mut r)?;
        log.rotation_due = r.uint_up_to(1)? == 1;
        for _ in 0..r.length(MANY)? {
            let entry = read_entry(&mut r)?;
            log.entries.insert(entry.entry, entry);
        }
        for _ in 0..r.length(MANY)? {
            r.array(2)?;
            let epoch = Epoch::read(&mut r)?;
            let key = EpochKey::from_slice(r.bytes(32)?).map_err(|_| DecodeError::Malformed)?;
            log.epochs.insert(epoch, key);
        }
        for _ in 0..r.length(MANY)? {
            r.array(2)?;
            let epoch = Epoch::read(&mut r)?;
            log.begun.insert(epoch, NewEpoch::read(&mut r)?);
        }
        r.end()?;
        log.roster = Some(roster.with(&log.entries)?);
        Ok(log)
    }
}

fn write_entry(w: &mut Writer, entry: &KeyEntry) {
    w.array(6);
    entry.root.write(w);
    entry.user.write(w);
    entry.entry.write(w);
    w.uint(entry.seq);
    w.bytes(&entry.identity.0);
    w.bytes(entry.kem.as_bytes());
}

fn read_entry(r: &mut Reader<'_>) -> Decoded<KeyEntry> {
    r.array(6)?;
    Ok(KeyEntry {
        root: ChainRoot::read(r)?,
        user: UserName::read(r)?,
        entry: EntryHash::read(r)?,
        seq: r.uint()?,
        identity: IdentityPublic(r.fixed()?),
        kem: KemPublic::from_slice(r.bytes(limits::CHAIN_ENTRY_BYTES)?)
            .map_err(|_| DecodeError::Malformed)?,
    })
}

fn write_roster(w: &mut Writer, roster: &Roster) {
    w.array(6);
    roster.nonce.write(w);
    w.uint(roster.version.0);
    roster.epoch.write(w);
    w.bytes(&roster.commitment.0);
    roster.creator.write(w);
    w.array(roster.members.len());
    for member in roster.members.values() {
        w.array(3);
        member.key.entry.write(w);
        member.role.write(w);
        w.optional(member.expires.as_ref(), |w, time| time.write(w));
    }
}

/// A roster whose members' keys are elsewhere.
struct KeptRoster {
    roster: Roster,
    members: Vec<(EntryHash, Role, Option<Time>)>,
}

impl KeptRoster {
    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        let roster = Roster {
            nonce: Nonce::read(r)?,
            version: RosterVersion(r.uint()?),
            epoch: Epoch::read(r)?,
            commitment: EpochCommitment(r.fixed()?),
            creator: ChainRoot::read(r)?,
            members: BTreeMap::new(),
        };
        let mut members = Vec::new();
        for _ in 0..r.length(limits::MEMBERS)? {
            r.array(3)?;
            let entry = EntryHash::read(r)?;
            members.push((entry, Role::read(r)?, r.optional(Time::read)?));
        }
        Ok(Self { roster, members })
    }

    fn with(self, entries: &BTreeMap<EntryHash, KeyEntry>) -> Decoded<Roster> {
        let mut roster = self.roster;
        for (entry, role, expires) in self.members {
            let key = entries.get(&entry).ok_or(DecodeError::Malformed)?.clone();
            let root = key.root;
            let member = Member { key, role, expires };
            roster.members.insert(root, member);
        }
        Ok(roster)
    }
}
