//! Contents: which blocks every file has, and that each is where its map says and nowhere twice.

use std::collections::BTreeSet;

use super::findings::{Findings, Subject};
use super::report::FindingKind as Kind;
use super::segments::Segments;
use super::shares::Shares;
use super::tree::Tree;
use crate::layout::{
    BlockEntry, BlockIndex, BlockRow, ContentRow, FileKeyRow, KeyIndex, Leaf, LeafIndex, MapId,
    Place,
};
use crate::meta::ScannedRow;
use crate::vfs::{FileKind, Ino};

/// What is kept of a file's content.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub(super) ino: Ino,
    pub(super) map: MapId,
    size: u64,
    blocks: u64,
    found: u64,
}

/// A block in the database.
struct Stored {
    id: u64,
    ino: Ino,
    block: BlockIndex,
    named: bool,
}

/// Whose leaves are passed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    File(usize),
    Trim,
    Nobody,
}

/// Blocks of the file passed by that are wrong in one way: the first, and how many.
#[derive(Default)]
struct Wrong(Option<(BlockIndex, u64)>);

impl Wrong {
    fn note(&mut self, block: BlockIndex) {
        let (_, count) = self.0.get_or_insert((block, 0));
        *count += 1;
    }
}

/// The map passed by.
struct Current {
    map: MapId,
    owner: Owner,
    missing: Wrong,
    beyond: Wrong,
    shared: Wrong,
    keyless: Wrong,
    elsewhere: Wrong,
}

/// Contents as far as they were read: some bytes for each file, none for a block.
#[derive(Default)]
pub(super) struct Maps {
    shares: Shares,
    /// By inode, or while leaves pass by, by map.
    files: Vec<File>,
    trims: BTreeSet<MapId>,
    keys: Vec<(Ino, KeyIndex)>,
    stored: Vec<Stored>,
    current: Option<Current>,
    highest_map: u64,
    /// Blocks of all maps.
    pub(super) blocks: u64,
    /// Sizes of all files.
    pub(super) bytes: u64,
}

impl Maps {
    /// Contents whose blocks may lie in blobs of these shares.
    pub(super) fn of(shares: Shares) -> Self {
        Self {
            shares,
            ..Self::default()
        }
    }

    pub(super) fn highest_map(&self) -> u64 {
        self.highest_map
    }

    pub(super) fn highest_block(&self) -> u64 {
        let stored = self.stored.last().map_or(0, |s| s.id);
        stored.max(self.shares.highest_blob())
    }

    /// The files, by inode, when all rows were taken.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// The map of a file, when all rows were taken.
    pub(super) fn map_of(&self, ino: Ino) -> Option<MapId> {
        let at = self.files.binary_search_by_key(&ino, |f| f.ino).ok()?;
        Some(self.files[at].map)
    }

    /// Takes a row of the content table.
    pub(super) fn content(&mut self, row: &ScannedRow<'_>, tree: &Tree, findings: &mut Findings) {
        let ino = Ino(row.key.a);
        let mut add = |kind, detail| findings.add(kind, Subject::Inode(ino), detail);
        if tree.kind(ino) != Some(FileKind::Regular) {
            let what = format!("there is content of inode {ino}, which is no file");
            add(Kind::StrayContent, what);
        }
        let Ok(content) = ContentRow::decode(row.value) else {
            add(
                Kind::BadRow,
                format!("the content row of inode {ino} cannot be read"),
            );
            return;
        };
        self.highest_map = self.highest_map.max(content.map.0);
        self.bytes = self.bytes.saturating_add(content.size);
        self.files.push(File {
            ino,
            map: content.map,
            size: content.size,
            blocks: content.blocks,
            found: 0,
        });
    }

    /// Takes a row of the trim table.
    pub(super) fn trim(&mut self, row: &ScannedRow<'_>) {
        self.highest_map = self.highest_map.max(row.key.a);
        self.trims.insert(MapId(row.key.a));
    }

    /// Takes a row of the table of file keys.
    pub(super) fn key(&mut self, row: &ScannedRow<'_>, tree: &mut Tree, findings: &mut Findings) {
        let ino = Ino(row.key.a);
        let index = u32::try_from(row.key.number());
        match (FileKeyRow::decode(row.value), index, tree.kind(ino)) {
            (Ok(_), Ok(index), Some(FileKind::Regular)) => {
                tree.key(ino, index);
                self.keys.push((ino, KeyIndex(index)));
            }
            (Err(_), ..) | (_, Err(_), _) => {
                let what = format!("a key row of inode {ino} cannot be read");
                findings.add(Kind::BadRow, Subject::Inode(ino), what);
            }
            _ => {
                let what = format!("there is a key of inode {ino}, which is no file");
                findings.add(Kind::StrayContent, Subject::Inode(ino), what);
            }
        }
    }

    /// Takes a row of the table of blocks in the database.
    pub(super) fn stored(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let id = row.key.a;
        let Ok(block) = BlockRow::decode(row.value) else {
            let what = format!("the row of block {id} in the database cannot be read");
            findings.add(Kind::BadRow, Subject::Volume, what);
            return;
        };
        self.stored.push(Stored {
            id,
            ino: block.ino,
            block: block.block,
            named: false,
        });
    }

    /// All but leaves were taken: looks at whose each map is.
    pub(super) fn begin_leaves(&mut self, findings: &mut Findings) {
        self.files.sort_unstable_by_key(|f| f.map);
        for pair in self.files.windows(2) {
            if pair[0].map == pair[1].map && pair[0].map != MapId::NONE {
                let what = format!("its block map is also that of inode {}", pair[0].ino);
                findings.add(Kind::SharedMap, Subject::Inode(pair[1].ino), what);
            }
        }
        for file in self.files.iter().filter(|f| self.trims.contains(&f.map)) {
            let what = "its block map is listed to be freed".to_owned();
            findings.add(Kind::SharedMap, Subject::Inode(file.ino), what);
        }
    }

    /// Takes a row of the leaf table.
    pub(super) fn leaf(
        &mut self,
        row: &ScannedRow<'_>,
        segments: &mut Segments<'_>,
        findings: &mut Findings,
    ) {
        let (map, index) = (MapId::of_key(row.key.a), MapId::leaf_of_key(row.key.a));
        let owner = self.turn_to(map, findings);
        let leaf = match Leaf::decode(row.value) {
            Ok(leaf) if !leaf.is_empty() => leaf,
            _ => {
                let subject = match owner {
                    Owner::File(at) => Subject::Block(self.files[at].ino, index.block(0).0),
                    Owner::Trim | Owner::Nobody => Subject::Volume,
                };
                let what = format!("leaf {} of block map {} cannot be read", index.0, map.0);
                findings.add(Kind::BadRow, subject, what);
                return;
            }
        };
        self.entries(index, &leaf, segments);
    }

    /// Begins with another map, if this is one. Returns whose it is.
    fn turn_to(&mut self, map: MapId, findings: &mut Findings) -> Owner {
        if let Some(current) = &self.current
            && current.map == map
        {
            return current.owner;
        }
        self.end_map(findings);
        self.highest_map = self.highest_map.max(map.0);
        let owner = match self.files.binary_search_by_key(&map, |f| f.map) {
            Ok(at) => Owner::File(at),
            Err(_) if self.trims.contains(&map) => Owner::Trim,
            Err(_) => {
                let what = format!("block map {} has leaves and belongs to no file", map.0);
                findings.add(Kind::StrayLeaf, Subject::Volume, what);
                Owner::Nobody
            }
        };
        self.current = Some(Current {
            map,
            owner,
            missing: Wrong::default(),
            beyond: Wrong::default(),
            shared: Wrong::default(),
            keyless: Wrong::default(),
            elsewhere: Wrong::default(),
        });
        owner
    }

    fn entries(&mut self, index: LeafIndex, leaf: &Leaf, segments: &mut Segments<'_>) {
        let Some(current) = &mut self.current else {
            return;
        };
        for (position, entry) in leaf.used() {
            let block = index.block(position);
            self.blocks += 1;
            let file = match current.owner {
                Owner::File(at) => Some(&mut self.files[at]),
                Owner::Trim | Owner::Nobody => None,
            };
            let ino = file.as_ref().map(|f| f.ino);
            if let Some(file) = file {
                file.found += 1;
                if block.offset() >= file.size {
                    current.beyond.note(block);
                }
                if self.keys.binary_search(&(file.ino, entry.key)).is_err() {
                    current.keyless.note(block);
                }
            }
            if let Place::Remote(remote) = entry.place {
                if !self.shares.has_blob(remote) {
                    current.elsewhere.note(block);
                }
                continue;
            }
            Self::place(&mut self.stored, (ino, block, entry), current, segments);
        }
    }

    fn place(
        stored: &mut [Stored],
        (ino, block, entry): (Option<Ino>, BlockIndex, &BlockEntry),
        current: &mut Current,
        segments: &mut Segments<'_>,
    ) {
        match entry.place {
            Place::Segment(slot) => {
                let found = segments.occupy(slot, ino);
                if found.taken {
                    current.shared.note(block);
                }
                if !found.on_disk {
                    current.missing.note(block);
                }
            }
            Place::Database(id) => match stored.binary_search_by_key(&id, |s| s.id) {
                Ok(at) => {
                    let row = &mut stored[at];
                    let own = row.block == block && ino.is_none_or(|ino| ino == row.ino);
                    if row.named || !own {
                        current.shared.note(block);
                    }
                    row.named = true;
                }
                Err(_) => current.missing.note(block),
            },
            Place::Hole | Place::Remote(_) => current.elsewhere.note(block),
        }
    }

    fn end_map(&mut self, findings: &mut Findings) {
        let Some(current) = self.current.take() else {
            return;
        };
        let Owner::File(at) = current.owner else {
            return;
        };
        let ino = self.files[at].ino;
        let wrongs = [
            (Kind::BlockMissing, current.missing, "are not stored"),
            (Kind::BeyondEnd, current.beyond, "lie beyond its end"),
            (
                Kind::SharedBlock,
                current.shared,
                "lie where another one does",
            ),
            (
                Kind::KeyMissing,
                current.keyless,
                "are sealed with a key it does not have",
            ),
            (
                Kind::UnknownPlace,
                current.elsewhere,
                "lie in a blob that is of no share",
            ),
        ];
        for (kind, wrong, says) in wrongs {
            if let Some((block, count)) = wrong.0 {
                if kind == Kind::BlockMissing {
                    findings.missing.insert(ino);
                }
                let what = format!(
                    "{count} of its blocks {says}; the first is block {}",
                    block.0
                );
                findings.add(kind, Subject::Block(ino, block.0), what);
            }
        }
    }

    /// All leaves were taken.
    pub(super) fn end_leaves(&mut self, findings: &mut Findings) {
        self.end_map(findings);
        self.files.sort_unstable_by_key(|f| f.ino);
        for file in self.files.iter().filter(|f| f.blocks != f.found) {
            let (says, found) = (file.blocks, file.found);
            let what = format!("it counts {says} blocks and has {found}");
            findings.add(Kind::BlockCount, Subject::Inode(file.ino), what);
        }
        for row in self.stored.iter().filter(|s| !s.named) {
            let what = format!("block {} in the database belongs to no file", row.id);
            findings.add(Kind::StrayBlock, Subject::Block(row.ino, row.block.0), what);
        }
    }
}
