//! Whose symlinks and share points those are that come with a log.
//!
//! A tree does not say who made what is in it, and a snapshot hides the records that would. So one of them
//! counts as one's own only where that is certain: one's own record made it, or nobody else has written
//! anything since the log was opened, from where the volume has everything.

use std::collections::BTreeSet;

use keyfold_protocol::ids::{ChainRoot, NodeId};
use keyfold_protocol::log::{Applied, Outcome};
use keyfold_protocol::operation::{Action, What};

/// Who made symlinks and share points, of the records that were applied since a log was opened.
#[derive(Debug, Default)]
pub(crate) struct Makers {
    /// Somebody else wrote something.
    others: bool,
    /// Those that this account made, and nobody else after it.
    own: BTreeSet<NodeId>,
}

impl Makers {
    /// Takes note of records, as they come. `own` is who this account is.
    pub(super) fn note(&mut self, own: ChainRoot, applied: &[Applied]) {
        for record in applied {
            let is_own = record.author.root == own;
            match &record.outcome {
                Outcome::Roster => {}
                Outcome::Content(body) => {
                    for operation in &body.operations {
                        match &operation.action {
                            Action::Make {
                                node,
                                what: What::Symlink(_) | What::SharePoint(_),
                                ..
                            } if is_own => {
                                self.own.insert(*node);
                            }
                            Action::Make { node, .. } => {
                                self.own.remove(node);
                            }
                            _ => {}
                        }
                    }
                    self.others |= !is_own;
                }
                // What somebody else says in it may have the id of something of one's own.
                Outcome::Unreadable | Outcome::Pruned if !is_own => {
                    self.own.clear();
                    self.others = true;
                }
                Outcome::Unreadable | Outcome::Pruned | Outcome::Snapshot(_) | Outcome::Void(_) => {
                    self.others |= !is_own;
                }
            }
        }
    }

    /// Whether it is certain that this account made a symlink or a share point that is new here.
    pub(crate) fn is_own(&self, node: NodeId) -> bool {
        !self.others || self.own.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use keyfold_protocol::ids::{EntryHash, OperationId, RecordHash, Seq};
    use keyfold_protocol::operation::{ContentBody, Mode, Mtime, Operation, Place};
    use keyfold_protocol::record::Author;

    use super::*;

    const OWN: ChainRoot = ChainRoot([1; 32]);
    const OTHER: ChainRoot = ChainRoot([2; 32]);

    fn record(root: ChainRoot, outcome: Outcome) -> Applied {
        Applied {
            seq: Seq(1),
            record: RecordHash([0; 32]),
            author: Author {
                user: "somebody".parse().unwrap(),
                root,
                entry: EntryHash([0; 32]),
            },
            role: None,
            outcome,
            events: Vec::new(),
        }
    }

    fn made(node: u8, what: What) -> Outcome {
        let action = Action::Make {
            at: Place {
                parent: NodeId::ROOT,
                name: "name".parse().unwrap(),
            },
            node: NodeId([node; 16]),
            what,
            mode: Mode::new(7).unwrap(),
            mtime: Mtime {
                seconds: 0,
                nanoseconds: 0,
            },
        };
        let id = OperationId::generate().unwrap();
        Outcome::Content(ContentBody {
            operations: vec![Operation { id, action }],
        })
    }

    fn link() -> What {
        What::Symlink("/etc/passwd".parse().unwrap())
    }

    #[test]
    fn what_is_new_is_ones_own_only_where_that_is_certain() {
        let mut makers = Makers::default();
        let is_own = |makers: &Makers, node| makers.is_own(NodeId([node; 16]));
        let point = What::SharePoint(keyfold_protocol::ids::ShareId([7; 32]));
        makers.note(OWN, &[record(OWN, made(1, link()))]);
        makers.note(OWN, &[record(OWN, made(5, point.clone()))]);
        // A snapshot may have had it, and nobody else wrote.
        assert!(is_own(&makers, 1) && is_own(&makers, 9));
        makers.note(OWN, &[record(OTHER, made(2, link()))]);
        makers.note(OWN, &[record(OTHER, made(6, point))]);
        assert!(is_own(&makers, 5) && !is_own(&makers, 6));
        assert!(is_own(&makers, 1) && !is_own(&makers, 2) && !is_own(&makers, 9));
        // Somebody makes something else under the id of what is gone.
        makers.note(OWN, &[record(OTHER, made(1, link()))]);
        assert!(!is_own(&makers, 1));
        for unknown in [Outcome::Unreadable, Outcome::Pruned] {
            makers.note(OWN, &[record(OWN, made(3, link()))]);
            assert!(is_own(&makers, 3));
            makers.note(OWN, &[record(OTHER, unknown)]);
            assert!(!is_own(&makers, 3));
        }
    }
}
