//! Checking a volume: that what is committed is what was written, and that it fits together.
//!
//! The rows are gone over in one snapshot, so a mounted volume can go on meanwhile; what is found
//! missing on disk is compared with what is committed by then. Memory is bounded by the number of
//! inodes and by a bit for each slot: rows stream by in the order of their keys, and what needs
//! two tables is compared by sorted numbers or sums. Nothing is ever changed.

use keyfold_crypto::{StateHash, StateHashKey};

use crate::error::FsResult;
use crate::layout::StateRow;
use crate::meta::{Key, ScannedRow, Scanner, Table};
use crate::vault::Damage;
use crate::volume::Volume;

mod data;
mod findings;
mod images;
mod maps;
mod report;
mod segments;
mod shares;
mod tree;

pub use report::{
    CheckReport, CheckState, Counts, FINDINGS_LIMIT, Finding, FindingKind, FoundPath, Unusable,
};

use data::Reader;
pub(crate) use findings::{Findings, Subject};
use images::Images;
use maps::Maps;
use segments::{Owners, Segments};
use shares::Shares;
use tree::Tree;

/// Rows between two reports of progress.
const STEP: u64 = 4096;
/// How often the authentication of pages is tried while a volume goes on: a page that is being
/// written while it is read looks altered once.
const PAGE_ATTEMPTS: usize = 3;

/// Whether a check reads every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadData {
    /// Only what describes the files.
    #[default]
    No,
    /// Their content too.
    Yes,
}

/// What a check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Whether every block is read.
    pub read_data: ReadData,
}

/// Part of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Pages of the database.
    Pages,
    /// Rows of the database.
    Rows,
    /// Blocks of files.
    Data,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Rows or blocks it has seen.
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
}

/// Checks an open volume, mounted or not, and tells what is wrong with it.
///
/// # Errors
/// When the check itself cannot be done. Damage is no error.
pub fn check(
    volume: &Volume,
    options: &CheckOptions,
    progress: &mut dyn FnMut(Progress),
) -> FsResult<CheckReport> {
    let committed = volume.commit_for_check();
    let scanner = volume.scanner();
    let mut findings = Findings::default();
    superblock_copies(volume, &mut findings);
    let mut rows = Rows::new(volume, &scanner, progress);
    let contents = rows.all(&mut findings)?;
    let mut counts = rows.counts;
    let commit = rows.commit;
    if let (ReadData::Yes, Some(maps)) = (options.read_data, &contents) {
        let mut reader = Reader {
            volume,
            scanner: &scanner,
            blocks_read: 0,
            total: maps.blocks,
        };
        for file in maps.files() {
            reader.file(file, &mut findings, progress)?;
        }
        counts.blocks_read = reader.blocks_read;
    }
    let (findings, more) = findings.finish(&scanner);
    Ok(CheckReport {
        state: if findings.is_empty() {
            CheckState::Intact
        } else {
            CheckState::Damaged
        },
        commit,
        uncommitted: !committed,
        counts,
        findings,
        more,
    })
}

/// What unlocking met and could do without. A stale copy is what a crash leaves, and no damage.
fn superblock_copies(volume: &Volume, findings: &mut Findings) {
    let found = volume.vault().found();
    let copies = [
        ("superblock.json", found.primary),
        ("superblock.bak", found.backup),
    ];
    for (copy, damage) in copies {
        if let Some(damage) = damage.filter(|damage| *damage != Damage::Stale) {
            let what = format!("{copy} {damage}; mounting the vault for writing replaces it");
            findings.add(FindingKind::SuperblockCopy, Subject::Volume, what);
        }
    }
}

/// Going over all rows of one commit.
struct Rows<'a> {
    volume: &'a Volume,
    scanner: &'a Scanner,
    progress: &'a mut dyn FnMut(Progress),
    key: StateHashKey,
    hash: StateHash,
    seen: u64,
    /// A table could not be read to its end: what is not there may only be unreadable.
    broken: bool,
    commit: u64,
    counts: Counts,
}

impl<'a> Rows<'a> {
    fn new(
        volume: &'a Volume,
        scanner: &'a Scanner,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            volume,
            scanner,
            progress,
            key: volume.vault().master().state_hash_key(),
            hash: StateHash::default(),
            seen: 0,
            broken: false,
            commit: 0,
            counts: Counts::default(),
        }
    }

    /// Checks all tables. Returns what is known of contents, unless nothing can be.
    fn all(&mut self, findings: &mut Findings) -> FsResult<Option<Maps>> {
        // A connection that reads an altered page answers nothing any more: pages come first.
        if !self.pages(findings)? {
            return Ok(None);
        }
        let scanner = self.scanner;
        let _snapshot = scanner.snapshot()?;
        if !self.structure(findings) {
            return Ok(None);
        }
        let Ok(Some(state)) = scanner.state() else {
            let what = "the state of the last commit cannot be read".to_owned();
            findings.add(FindingKind::BadRow, Subject::Volume, what);
            return Ok(None);
        };
        self.commit = state.commit;
        let mut tree = Tree::default();
        let mut shares = Shares::default();
        self.namespace(&mut tree, &mut shares, findings);
        let mut maps = Maps::of(shares);
        let mut segments = Segments::new(self.volume);
        self.contents((&mut maps, &mut segments, &mut tree), findings)?;
        for table in RESERVED {
            self.each(table, findings, &mut |_, _| {});
        }
        self.account(findings);
        if !self.broken {
            tree.judge(findings);
            self.judge_state(&state, (&tree, &maps, &segments), findings);
        }
        self.counts = Counts {
            inodes: tree.inodes(),
            directories: tree.directories(),
            files: tree.files,
            blocks: maps.blocks,
            bytes: maps.bytes,
            segments: segments.in_use(),
            blocks_read: 0,
        };
        Ok(Some(maps).filter(|_| !self.broken))
    }

    /// The authentication of pages. Returns whether all are as they were written.
    fn pages(&mut self, findings: &mut Findings) -> FsResult<bool> {
        (self.progress)(Progress {
            phase: Phase::Pages,
            done: 0,
            total: None,
        });
        let mut pages = self.scanner.bad_pages()?;
        for _ in 1..PAGE_ATTEMPTS {
            if pages.is_empty() {
                break;
            }
            let again = self.scanner.bad_pages()?;
            pages.retain(|p| again.contains(p));
        }
        let intact = pages.is_empty();
        for line in pages {
            let what = format!("{line}; nothing else was checked, restore it from a backup");
            findings.add(FindingKind::DatabasePage, Subject::Volume, what);
        }
        Ok(intact)
    }

    /// The tables and their indexes. Returns whether their rows can be gone over.
    fn structure(&self, findings: &mut Findings) -> bool {
        if !self.scanner.has_schema() {
            let what = "the tables of the database are not those of this format".to_owned();
            findings.add(FindingKind::DatabaseSchema, Subject::Volume, what);
            return false;
        }
        let Ok(structure) = self.scanner.bad_structure() else {
            let what = "the database cannot be read; nothing else was checked".to_owned();
            findings.add(FindingKind::DatabaseUnreadable, Subject::Volume, what);
            return false;
        };
        for line in structure {
            let what = format!("the database says: {line}");
            findings.add(FindingKind::DatabaseStructure, Subject::Volume, what);
        }
        true
    }

    fn namespace(&mut self, tree: &mut Tree, shares: &mut Shares, findings: &mut Findings) {
        self.each(Table::Inode, findings, &mut |row, f| tree.inode(row, f));
        self.shares(tree, shares, findings);
        self.each(Table::Orphan, findings, &mut |row, f| tree.orphan(row, f));
        self.each(Table::Dentry, findings, &mut |row, f| {
            tree.dentry(row, f);
            shares.dentry(row, f);
        });
        if !self.broken {
            shares.end_names(tree, findings);
        }
        self.each(Table::Xattr, findings, &mut |row, f| tree.xattr(row, f));
    }

    fn shares(&mut self, tree: &Tree, shares: &mut Shares, findings: &mut Findings) {
        self.each(Table::Share, findings, &mut |row, f| shares.share(row, f));
        self.each(Table::ShareNode, findings, &mut |row, f| {
            shares.node(row, tree, f);
        });
        self.each(Table::Outbox, findings, &mut |row, f| shares.mark(row, f));
        self.each(Table::Blob, findings, &mut |row, f| shares.blob(row, f));
        if !self.broken {
            shares.end_nodes(findings);
            shares.end_blobs(findings);
        }
    }

    fn contents(
        &mut self,
        (maps, segments, tree): (&mut Maps, &mut Segments<'_>, &mut Tree),
        findings: &mut Findings,
    ) -> FsResult<()> {
        self.each(Table::Content, findings, &mut |row, f| {
            maps.content(row, tree, f);
        });
        self.each(Table::Trim, findings, &mut |row, _| maps.trim(row));
        self.each(Table::FileKey, findings, &mut |row, f| {
            maps.key(row, tree, f);
        });
        self.each(Table::Block, findings, &mut |row, f| maps.stored(row, f));
        self.try_each(Table::Segment, findings, &mut |row, f| {
            segments.segment(row, f)
        })?;
        if self.broken {
            // Whatever is missing would be reported once for each row that refers to it.
            return Ok(());
        }
        maps.begin_leaves(findings);
        self.each(Table::Leaf, findings, &mut |row, f| {
            maps.leaf(row, segments, f);
        });
        maps.end_leaves(findings);
        segments.judge_live(findings);
        self.each(Table::Freed, findings, &mut |row, f| segments.freed(row, f));
        let scanner = self.scanner;
        let mut owners = Owners::new(scanner, maps, segments);
        self.try_each(Table::RunOwner, findings, &mut |row, f| owners.row(row, f))?;
        owners.end(findings);
        let mut images = Images::new(self.volume);
        self.each(Table::Image, findings, &mut |row, f| images.image(row, f));
        self.try_each(Table::Held, findings, &mut |row, f| {
            images.held(row, segments, f)
        })
    }

    fn account(&mut self, findings: &mut Findings) {
        let volume = self.volume;
        self.each(Table::Account, findings, &mut |row, findings| {
            if !volume.is_account_value(row.key.a, row.value) {
                let what = format!("slot {} of the account does not open", row.key.a);
                findings.add(FindingKind::BadRow, Subject::Volume, what);
            }
        });
    }

    fn judge_state(
        &self,
        state: &StateRow,
        (tree, maps, segments): (&Tree, &Maps, &Segments<'_>),
        findings: &mut Findings,
    ) {
        if self.hash.to_bytes() != state.hash {
            let what = "the rows are not those of the last commit: some were altered, removed, \
                        added or replaced by older ones"
                .to_owned();
            findings.add(FindingKind::StateHash, Subject::Volume, what);
        }
        let exact = [
            ("inodes", state.inodes, tree.inodes()),
            ("blocks", state.blocks, maps.blocks),
        ];
        for (what, says, found) in exact.into_iter().filter(|(_, says, found)| says != found) {
            let what = format!("the volume counts {says} {what} and has {found}");
            findings.add(FindingKind::Counter, Subject::Volume, what);
        }
        let next = [
            ("inode", state.next_ino, tree.highest() + 1),
            ("block map", state.next_map, maps.highest_map() + 1),
            (
                "block in the database, or blob,",
                state.next_block,
                maps.highest_block() + 1,
            ),
            ("segment", state.next_segment, segments.highest()),
        ];
        for (what, says, least) in next.into_iter().filter(|(_, says, least)| says < least) {
            let what = format!("the next {what} would be number {says}, which is in use");
            let what = format!("{what}; the lowest free one is {least}");
            findings.add(FindingKind::Counter, Subject::Volume, what);
        }
    }

    fn each(
        &mut self,
        table: Table,
        findings: &mut Findings,
        f: &mut dyn FnMut(&ScannedRow<'_>, &mut Findings),
    ) {
        // Without an error of its own the closure leaves only those of the table, which are noted.
        let _ = self.try_each(table, findings, &mut |row, findings| {
            f(row, findings);
            Ok(())
        });
    }

    /// Passes the rows of a table by, each into the hash and then to `f`.
    fn try_each(
        &mut self,
        table: Table,
        findings: &mut Findings,
        f: &mut dyn FnMut(&ScannedRow<'_>, &mut Findings) -> FsResult<()>,
    ) -> FsResult<()> {
        let mut outcome = Ok(());
        let scanner = self.scanner;
        let read = scanner.each(table, &mut |row| {
            self.count(row);
            if is_possible(&row.key) {
                if outcome.is_ok() {
                    outcome = f(row, findings);
                }
            } else {
                let what = format!("a row of the table {table:?} has a key that none can have");
                findings.add(FindingKind::BadRow, Subject::Volume, what);
            }
        });
        if read.is_err() {
            self.broken = true;
            let what = format!("the table {table:?} cannot be read to its end");
            findings.add(FindingKind::DatabaseUnreadable, Subject::Volume, what);
        }
        outcome
    }

    fn count(&mut self, row: &ScannedRow<'_>) {
        let key = row.key.hash_bytes();
        self.hash
            .add(&self.key.row(row.key.table as u8, &key, row.value));
        self.seen += 1;
        if self.seen.is_multiple_of(STEP) {
            (self.progress)(Progress {
                phase: Phase::Rows,
                done: self.seen,
                total: None,
            });
        }
    }
}

/// Tables of the format that this version writes nothing into.
const RESERVED: [Table; 1] = [Table::LeafHash];

/// Whether the key has the columns of its table, in the range that numbers have.
fn is_possible(key: &Key) -> bool {
    i64::try_from(key.a).is_ok() && key.has_shape()
}
