//! A roster as it stands after a record.

use std::collections::BTreeMap;

use keyfold_crypto::{EpochCommitment, HashLabel, labelled_hash};
use serde::{Deserialize, Serialize};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use crate::chain::KeyEntry;
use crate::grant::GrantContext;
use crate::ids::{ChainRoot, Epoch, Nonce, RosterHash, RosterVersion, ShareId, Time};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read.
    Reader,
    /// Read and write.
    Writer,
    /// Read, write, and say who else may.
    Owner,
}

impl Role {
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Reader => 0,
            Self::Writer => 1,
            Self::Owner => 2,
        }
    }
}

impl Encoded for Role {
    const LIMIT: usize = 1;

    fn write(&self, w: &mut Writer) {
        w.uint(self.number());
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.uint()? {
            0 => Ok(Self::Reader),
            1 => Ok(Self::Writer),
            2 => Ok(Self::Owner),
            _ => Err(DecodeError::Malformed),
        }
    }
}

/// Somebody who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who, and by which keys.
    pub key: KeyEntry,
    /// What he may do.
    pub role: Role,
    /// Until when.
    pub expires: Option<Time>,
}

impl Member {
    /// Whether his time has passed at `time`.
    pub fn expired(&self, time: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= time)
    }
}

/// Who takes part in a share, from one roster record to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Of the share's first record.
    pub nonce: Nonce,
    /// How many roster records that are not void there were before.
    pub version: RosterVersion,
    /// The epoch in force.
    pub epoch: Epoch,
    /// To its key.
    pub commitment: EpochCommitment,
    /// Who began the share: the only one who removes owners.
    pub creator: ChainRoot,
    /// Everybody.
    pub members: BTreeMap<ChainRoot, Member>,
}

impl Roster {
    /// Hash of the roster.
    pub fn hash(&self) -> RosterHash {
        let mut w = Writer::default();
        w.array(7);
        w.uint(1);
        self.nonce.write(&mut w);
        w.uint(self.version.0);
        w.uint(self.epoch.0);
        w.bytes(&self.commitment.0);
        self.creator.write(&mut w);
        w.array(self.members.len());
        for (root, member) in &self.members {
            w.array(5);
            member.key.user.write(&mut w);
            root.write(&mut w);
            member.key.entry.write(&mut w);
            member.role.write(&mut w);
            w.optional(member.expires.as_ref(), |w, time| time.write(w));
        }
        RosterHash(labelled_hash(HashLabel::ROSTER, &w.finish()))
    }

    /// What the grant to a member of this roster is bound to.
    pub fn grant_context(
        &self,
        share: ShareId,
        recipient: &Member,
        granter: &KeyEntry,
    ) -> GrantContext {
        GrantContext {
            share,
            version: self.version,
            roster: self.hash(),
            epoch: self.epoch,
            recipient: recipient.key.root,
            entry: recipient.key.entry,
            role: recipient.role,
            granter: granter.root,
            granter_entry: granter.entry,
        }
    }
}
