//! Roster records in the making: signed, with the grants that they list.

use keyfold_crypto::EpochKey;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::grant::Grant;
use keyfold_protocol::ids::{BodyHash, Epoch, Nonce, RecordHash, Seq, ShareId};
use keyfold_protocol::log::{Log, Proposal, Void};
use keyfold_protocol::record::{Author, Header, Kind, Record};
use keyfold_protocol::roster::{Change, NewEpoch, Role, RosterBody};

use super::error::SharingError;
use crate::account::{Session, now};

/// What a roster record does to the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    /// It goes on.
    Stay,
    /// Another begins, from which nothing before can be read.
    FromNow,
    /// Another begins, from which the one before can be read.
    WithHistory,
}

/// The first record of a new share.
pub(super) fn first(session: &Session<'_>) -> Result<Append, SharingError> {
    let keys = session.keys();
    let key = EpochKey::generate()?;
    let header = header(session, ShareId::GENESIS);
    let body = RosterBody {
        nonce: Some(Nonce::generate()?),
        changes: vec![Change::Add {
            user: keys.account.user.clone(),
            chain: keys.chain.clone(),
            role: Role::Owner,
            expires: None,
            request: None,
        }],
        epoch: Some(NewEpoch::from_now(&key)),
        grants: Vec::new(),
    };
    let proposal = Proposal::new(None, &header, &body)?;
    finish(session, (header, body), &proposal, &key)
}

/// The next roster record of a share, which is not void where the log is now.
pub(super) fn next(
    session: &Session<'_>,
    log: &Log,
    mut changes: Vec<Change>,
    rotation: Rotation,
) -> Result<Append, SharingError> {
    let roster = log.roster().ok_or(SharingError::NotAMember)?;
    let (seq, previous) = log.head().ok_or(SharingError::NotAMember)?;
    let own = roster.members.get(&session.keys().account.root);
    let entry = own.ok_or(SharingError::NotAMember)?.key.entry;
    let mut header = Header {
        seq: seq.next(),
        previous,
        roster: log.roster_record(),
        epoch: roster.epoch,
        ..header(session, log.share())
    };
    // Until the roster has the newest keys, it is those before that it knows.
    header.author.entry = entry;
    let fresh = EpochKey::generate()?;
    let old = log.epoch_key(roster.epoch);
    let epoch = match rotation {
        Rotation::Stay => None,
        Rotation::FromNow => Some(NewEpoch::from_now(&fresh)),
        Rotation::WithHistory => {
            let old = old.ok_or(SharingError::NoEpochKey)?;
            let next = roster.epoch.next();
            Some(NewEpoch::with_history(&fresh, old, log.share(), next)?)
        }
    };
    if epoch.is_some() {
        // No epoch begins with somebody whose time has passed.
        let gone = roster.members.values().filter(|m| m.expired(header.time));
        for member in gone {
            let remove = Change::Remove(member.key.root);
            if !changes.contains(&remove) {
                changes.push(remove);
            }
        }
    }
    let key = match (&epoch, old) {
        (Some(_), _) => Some(&fresh),
        (None, old) => old,
    };
    let body = RosterBody {
        nonce: None,
        changes,
        epoch,
        grants: Vec::new(),
    };
    let proposal = Proposal::new(Some(roster), &header, &body)?;
    if proposal.grants().is_empty() {
        // Nobody is given a key, so none is needed.
        return finish(session, (header, body), &proposal, &fresh);
    }
    let key = key.ok_or(SharingError::NoEpochKey)?;
    finish(session, (header, body), &proposal, key)
}

pub(super) fn header(session: &Session<'_>, share: ShareId) -> Header {
    let account = &session.keys().account;
    Header {
        kind: Kind::Roster,
        share,
        seq: Seq(0),
        previous: RecordHash::NONE,
        roster: RecordHash::NONE,
        author: Author {
            user: account.user.clone(),
            root: account.root,
            entry: account.entry,
        },
        epoch: Epoch(0),
        body: BodyHash([0; 32]),
        added: Vec::new(),
        dropped: Vec::new(),
        time: now(),
    }
}

fn finish(
    session: &Session<'_>,
    (header, body): (Header, RosterBody),
    proposal: &Proposal,
    key: &EpochKey,
) -> Result<Append, SharingError> {
    let mut grants = Vec::new();
    for (member, bound) in proposal.grants() {
        grants.push(Grant::wrap(&member.key.kem, &bound, key)?);
    }
    let body = Proposal::list(body, &grants);
    let identity = session.keys().identity_of(header.author.entry);
    let identity = identity.ok_or(SharingError::MayNot(Void::KeySuperseded))?;
    Ok(Append {
        record: Record::sign(header, body.encode(), identity),
        grants,
    })
}
