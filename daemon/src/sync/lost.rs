//! Content that a server lost: whoever has it here sends it again, where the others have it from then
//! on.
//!
//! A pack is not made again byte for byte: blocks of it may be gone everywhere, as nobody needs them.
//! What is needed goes into new packs, by a record like any other, of which the content is the same. So
//! two who do it at once meet as any two who write.

use std::collections::BTreeSet;

use keyfold_fs::share::Standing;
use keyfold_fs::vfs::Ino;
use keyfold_protocol::ids::BlobId;
use keyfold_protocol::roster::Role;

use super::error::SyncError;
use super::shown::engine_node;
use super::{ShareSync, packer};

/// Blobs that are needed and that the server does not have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nobody asked.
    #[default]
    Unknown,
    /// What of them is here is to be sent.
    ToSend(BTreeSet<BlobId>),
    /// Nothing of them is here.
    Elsewhere(BTreeSet<BlobId>),
}

impl Lost {
    pub(super) fn contains(&self, blob: &BlobId) -> bool {
        match self {
            Self::Unknown => false,
            Self::ToSend(blobs) | Self::Elsewhere(blobs) => blobs.contains(blob),
        }
    }
}

impl ShareSync<'_, '_> {
    /// Tells that the server was given back what it had lost.
    pub(super) fn tell_given_back(&mut self) {
        if let Some((after, until)) = self.shared.take_given_back() {
            self.told.push(format!(
                "the server lost the records {} to {}: it was restored from a backup. They were \
                 sent to it again",
                after.next().0,
                until.0
            ));
        }
    }

    /// Asks what the server lacks, where it lost records. Called while base and head are the same.
    pub(super) async fn look_for_lost(&mut self) -> Result<(), SyncError> {
        if !self.shared.is_in_doubt() {
            return Ok(());
        }
        let mut needed = self.needed();
        needed.retain(|blob| self.lost == Lost::Unknown || self.lost.contains(blob));
        let needed: Vec<BlobId> = needed.into_iter().collect();
        let remote = self.shared.session().remote();
        let missing = packer::missing(remote, self.shared.id(), &needed).await?;
        let missing: BTreeSet<BlobId> = missing.into_iter().collect();
        self.lost = match self.lost {
            _ if missing.is_empty() => Lost::Unknown,
            Lost::Elsewhere(_) => Lost::Elsewhere(missing),
            Lost::Unknown | Lost::ToSend(_) => Lost::ToSend(missing),
        };
        if self.lost == Lost::Unknown {
            self.shared.is_whole()?;
        }
        Ok(())
    }

    /// Files of which the server lost content that is to be sent again.
    pub(super) fn to_send_again(&self) -> Result<BTreeSet<Ino>, SyncError> {
        let mut files = BTreeSet::new();
        let Lost::ToSend(lost) = &self.lost else {
            return Ok(files);
        };
        for (id, node) in self.base.nodes() {
            let packs = node.content().into_iter().flat_map(|c| c.packs.keys());
            if packs.into_iter().any(|blob| lost.contains(blob)) {
                let known = self.volume.share_node(self.share, engine_node(id))?;
                let here = known.filter(|known| known.standing == Standing::Here);
                files.extend(here.map(|known| known.ino));
            }
        }
        Ok(files)
    }

    /// What files need, and who begins anew.
    fn needed(&self) -> BTreeSet<BlobId> {
        let mut needed: BTreeSet<BlobId> = self.head.needed_blobs().collect();
        if self.role() == Some(Role::Owner) {
            let newest = self.newest.iter();
            needed.extend(newest.flat_map(|newest| newest.chunks.iter().copied()));
        }
        needed
    }

    /// All that was lost and is here was sent.
    pub(super) fn sent_again(&mut self) -> Result<(), SyncError> {
        let Lost::ToSend(lost) = &self.lost else {
            return Ok(());
        };
        let left: BTreeSet<BlobId> = self.needed().intersection(lost).copied().collect();
        if left.is_empty() {
            self.lost = Lost::Unknown;
            return Ok(self.shared.is_whole()?);
        }
        let files = self.head.nodes().filter(|(_, node)| {
            let mut packs = node.content().into_iter().flat_map(|c| c.packs.keys());
            packs.any(|blob| left.contains(blob))
        });
        self.told.push(format!(
            "the server lost content of {} files, and not all of it is here. It comes back when a \
             device that has it is online",
            files.count()
        ));
        self.lost = Lost::Elsewhere(left);
        Ok(())
    }

    /// Whether the server lost the snapshot that newcomers begin from.
    pub(super) fn newest_is_lost(&self) -> bool {
        let newest = self.newest.as_ref();
        newest.is_some_and(|newest| newest.chunks.iter().any(|blob| self.lost.contains(blob)))
    }
}
