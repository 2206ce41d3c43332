//! What of shares is to stay in this vault whole.

use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::ids::{NodeId, ShareId};

use super::{AccountError, Kept, LONGEST, Listed, Slot};

/// A file or folder of a share that is to stay in this vault, with all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Staying {
    /// The share.
    pub(crate) share: ShareId,
    /// The file or folder.
    pub(crate) node: NodeId,
}

impl Encoded for Staying {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.share.write(w);
        self.node.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            share: ShareId::read(r)?,
            node: NodeId::read(r)?,
        })
    }
}

impl Kept<'_> {
    /// What is to stay in this vault.
    pub(crate) fn staying(self) -> Result<Vec<Staying>, AccountError> {
        let kept: Listed<Staying> = self.read(Slot::Staying)?.unwrap_or_default();
        Ok(kept.0)
    }

    /// Keeps other of what is to stay, as `change` makes it.
    pub(crate) fn change_staying(
        self,
        change: impl FnOnce(&mut Vec<Staying>),
    ) -> Result<(), AccountError> {
        self.change_list(Slot::Staying, change)
    }
}
