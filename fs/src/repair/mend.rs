//! What is to be changed in a database: rows, and words for what was wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use parking_lot::MutexGuard;

use keyfold_crypto::StateHash;

use super::aside::Aside;
use super::{Altered, RepairError};
use crate::check::{CheckReport, Finding, FindingKind as Kind, Findings, Subject};
use crate::error::{FsError, FsResult};
use crate::layout::{ImageId, ImageRow, SegmentId, StateRow};
use crate::meta::{Key, RowMap, Scanner, Table, Writer};
use crate::vault::UnlockedVault;
use crate::volume::{Volume, image_path};

/// Mending under way: reads the volume as it is, and plans.
pub(super) struct Mend<'a> {
    pub(super) volume: &'a Volume,
    pub(super) scanner: MutexGuard<'a, Scanner>,
    pub(super) rows: RowMap,
    pub(super) state: StateRow,
    pub(super) findings: Findings,
    /// Inodes whose row cannot be read: what belongs to them is left alone.
    pub(super) unreadable: BTreeSet<u64>,
    /// Regular files that there are.
    pub(super) files: BTreeSet<u64>,
    /// Segments whose owners of slots are recorded wrongly.
    pub(super) owners: BTreeSet<SegmentId>,
    before: StateRow,
}

/// What is to be written.
pub(super) struct Plan {
    rows: RowMap,
    state: StateRow,
    changed: bool,
    pub(super) mended: Vec<Finding>,
    pub(super) more: u64,
}

impl<'a> Mend<'a> {
    /// Begins with what a check of the volume found.
    pub(super) fn new(
        volume: &'a Volume,
        report: &CheckReport,
        altered: Altered,
    ) -> FsResult<Self> {
        let of_owners = report.findings.iter().filter(|f| f.kind == Kind::RunOwner);
        let owners = of_owners.filter_map(|f| u32::try_from(f.segment?).ok());
        let scanner = volume.scanner();
        let state = scanner.state().ok().flatten().ok_or(FsError::Database)?;
        let mut mend = Self {
            volume,
            scanner,
            rows: RowMap::default(),
            state,
            findings: Findings::default(),
            unreadable: BTreeSet::new(),
            files: BTreeSet::new(),
            owners: owners.map(SegmentId).collect(),
            before: state,
        };
        if altered == Altered::Accept {
            mend.accept_altered()?;
        }
        Ok(mend)
    }

    /// Makes the state hash that of the rows there are.
    fn accept_altered(&mut self) -> FsResult<()> {
        let key = self.volume.vault().master().state_hash_key();
        let mut hash = StateHash::default();
        for table in Table::ALL {
            self.scanner.each(table, &mut |row| {
                let bytes = row.key.hash_bytes();
                hash.add(&key.row(row.key.table as u8, &bytes, row.value));
            })?;
        }
        self.state.hash = hash.to_bytes();
        if self.state.hash != self.before.hash {
            let what = "rows that are not those of the last commit were taken for good".to_owned();
            self.note(Kind::StateHash, Subject::Volume, what);
        }
        Ok(())
    }

    pub(super) fn note(&mut self, kind: Kind, subject: Subject, what: String) {
        self.findings.add(kind, subject, what);
    }

    pub(super) fn put(&mut self, key: Key, row: Box<[u8]>) {
        self.rows.put(key, Some(row));
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.rows.put(key, None);
    }

    /// Forgets images that are missing or altered; their files go aside.
    pub(super) fn images(
        &mut self,
        vault: &UnlockedVault,
        aside: &mut Aside,
    ) -> Result<(), RepairError> {
        let mut whole = BTreeSet::new();
        let mut gone = Vec::new();
        let volume = self.volume;
        self.scanner.each(Table::Image, &mut |row| {
            let id = ImageId(row.key.a as u32);
            let image = ImageRow::decode(row.value);
            if image.is_ok_and(|i| !i.is_whole() || volume.is_image_whole(id, &i)) {
                whole.insert(row.key.a);
            } else {
                gone.push(id);
            }
        })?;
        for id in gone {
            aside.take(vault.dir().path(), &image_path(Path::new(""), id))?;
            self.delete(Key::image(id));
            let what = format!("image {id} was missing or altered, and is forgotten");
            self.note(Kind::Image, Subject::Volume, what);
        }
        let mut held = BTreeMap::new();
        self.scanner.each(Table::Held, &mut |row| {
            if !whole.contains(&row.key.a) {
                held.insert(row.key.clone(), row.key.number());
            }
        })?;
        for (key, segment) in held {
            self.delete(key);
            let what = format!("slots of segment {segment} were held for an image that is gone");
            self.note(Kind::Held, Subject::Segment(segment), what);
        }
        Ok(())
    }

    /// Names what is mended, and hands over what is to be written.
    pub(super) fn finish(self) -> Plan {
        let changed = self.rows.iter().next().is_some() || self.state != self.before;
        let (mended, more) = self.findings.finish(&self.scanner);
        Plan {
            rows: self.rows,
            state: self.state,
            changed,
            mended,
            more,
        }
    }
}

impl Plan {
    pub(super) fn changes_anything(&self) -> bool {
        self.changed
    }

    /// Writes everything in one durable transaction.
    pub(super) fn write(mut self, vault: &UnlockedVault) -> Result<(), RepairError> {
        let master = vault.master();
        let path = vault.dir().meta_db();
        let mut writer = Writer::open(&path, &master.meta_db_key(), master.state_hash_key())
            .map_err(|_| FsError::Database)?;
        writer
            .commit(self.rows.iter(), &mut self.state)
            .and_then(|()| writer.checkpoint_all())
            .map_err(|_| RepairError::Rows(FsError::Database))
    }
}
