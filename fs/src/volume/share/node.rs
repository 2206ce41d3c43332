//! Nodes of a share, as rows, and what whoever syncs it keeps with them.

use crate::error::{FsError, FsResult};
use crate::layout::{InodeRow, Mark, MemberRow, NodeId, NodeRow, ShareNumber, ShareRow, Standing};
use crate::meta::{Key, Txn};
use crate::share::{Kept, NodeInfo};
use crate::vfs::Ino;

pub(super) fn live_share(txn: &Txn<'_>, share: ShareNumber) -> FsResult<(ShareRow, Ino)> {
    let row = txn.get(&Key::share(share), ShareRow::decode)?;
    let row = row.ok_or(FsError::NotFound)?;
    let root = row.root.ok_or(FsError::NotFound)?;
    Ok((row, root))
}

/// Makes a new inode a node of a share.
pub(in crate::volume) fn admit(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &InodeRow),
    share: ShareNumber,
) -> FsResult<()> {
    put_node(txn, (share, new_node_id(row)?), ino);
    Ok(())
}

/// Adds the rows of what is to be kept. Returns marks that are done with once they are applied.
pub(super) fn keep(txn: &mut Txn<'_>, share: ShareNumber, kept: &Kept) -> FsResult<Vec<Mark>> {
    let (row, _) = live_share(txn, share)?;
    if let Some(data) = &kept.share {
        let data = data.clone();
        txn.put(Key::share(share), ShareRow { data, ..row }.encode());
    }
    for (node, data) in &kept.nodes {
        let key = Key::share_node(share, *node);
        let row = txn.get(&key, NodeRow::decode)?.ok_or(FsError::NotFound)?;
        match data {
            Some(data) => {
                let data = data.clone();
                txn.put(key, NodeRow { data, ..row }.encode());
            }
            None if row.standing == Standing::Here => {
                return Err(FsError::InvalidArgument);
            }
            None => forget_node(txn, (share, *node), &row)?,
        }
    }
    let mut done = Vec::with_capacity(kept.confirmed.len());
    for number in &kept.confirmed {
        let key = Key::mark(share, *number);
        if let Some(mark) = txn.get(&key, Mark::decode)? {
            txn.delete(key);
            done.push(mark);
        }
    }
    Ok(done)
}

/// Adds both rows of a node.
pub(super) fn put_node(txn: &mut Txn<'_>, (share, node): (ShareNumber, NodeId), ino: Ino) {
    let row = NodeRow {
        ino,
        standing: Standing::Here,
        data: Box::default(),
    };
    txn.put(Key::share_node(share, node), row.encode());
    txn.put(Key::member(ino), MemberRow { share, node }.encode());
}

/// Deletes both rows of a node.
pub(super) fn forget_node(
    txn: &mut Txn<'_>,
    (share, node): (ShareNumber, NodeId),
    row: &NodeRow,
) -> FsResult<()> {
    // From what left the share, and from the root of another, no way leads back to it.
    let back = Key::member(row.ino);
    if txn.get(&back, MemberRow::decode)? == Some(MemberRow { share, node }) {
        txn.delete(back);
    }
    txn.delete(Key::share_node(share, node));
    Ok(())
}

/// A node of a key.
pub(super) fn node_of(key: &Key) -> FsResult<NodeId> {
    Ok(NodeId(
        key.name().try_into().map_err(|_| FsError::Database)?,
    ))
}

/// The node of an inode is gone from its share, which the others do not know yet. The inode goes on.
pub(super) fn leave_share(txn: &mut Txn<'_>, ino: Ino) -> FsResult<()> {
    let back = Key::member(ino);
    let member = txn.get(&back, MemberRow::decode)?;
    let member = member.ok_or(FsError::Inconsistent(ino))?;
    put_left(txn, (member.share, member.node))?;
    txn.delete(back);
    Ok(())
}

/// A node is gone, and its inode is none of the share's.
pub(super) fn put_left(txn: &mut Txn<'_>, (share, node): (ShareNumber, NodeId)) -> FsResult<()> {
    let key = Key::share_node(share, node);
    let row = txn.get(&key, NodeRow::decode)?;
    let left = NodeRow {
        ino: Ino(0),
        standing: Standing::Gone,
        ..row.ok_or(FsError::Database)?
    };
    txn.put(key, left.encode());
    Ok(())
}

/// A file is the same node wherever it is shared; anything else gets an id of its own.
pub(super) fn new_node_id(row: &InodeRow) -> FsResult<NodeId> {
    if let Some(file) = row.file() {
        return Ok(NodeId(file.id.0));
    }
    let mut id = [0; 16];
    keyfold_crypto::fill_random(&mut id).map_err(|_| FsError::Disk(libc::EIO))?;
    Ok(NodeId(id))
}

pub(super) fn node_info(node: NodeId, row: NodeRow) -> NodeInfo {
    NodeInfo {
        node,
        ino: row.ino,
        standing: row.standing,
        data: row.data,
    }
}
