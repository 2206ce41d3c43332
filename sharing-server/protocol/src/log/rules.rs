//! The rules of rosters: what a roster record makes of the roster before it, or why it is void.
//!
//! They need no secret, so the server applies the same ones and appends nothing that is void.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{KeyChain, KeyEntry, SignedEntry};
use crate::grant::{Grant, GrantContext};
use crate::ids::{ChainRoot, Epoch, RecordHash, RosterVersion, Seq, ShareId, Time};
use crate::limits;
use crate::record::{Header, Kind};
use crate::roster::{Change, Member, NewEpoch, Role, Roster, RosterBody};

use super::Void;

pub(super) fn member(roster: &Roster, root: ChainRoot) -> Result<&Member, Void> {
    roster.members.get(&root).ok_or(Void::UnknownMember)
}

/// The roster of a share's first record.
pub fn begin(header: &Header, body: &RosterBody) -> Result<Roster, Void> {
    let first = header.kind == Kind::Roster
        && header.share == ShareId::GENESIS
        && header.seq == Seq(0)
        && header.previous == RecordHash::NONE
        && header.roster == RecordHash::NONE
        && header.epoch == Epoch(0);
    let (Some(nonce), Some(epoch), [change]) = (body.nonce, &body.epoch, &body.changes[..]) else {
        return Err(Void::Malformed);
    };
    let Change::Add {
        role: Role::Owner,
        expires: None,
        request: None,
        ..
    } = change
    else {
        return Err(Void::Malformed);
    };
    if !first || epoch.previous.is_some() {
        return Err(Void::Malformed);
    }
    let mut roster = Roster {
        nonce,
        version: RosterVersion(0),
        epoch: Epoch(1),
        commitment: epoch.commitment,
        creator: header.author.root,
        members: BTreeMap::new(),
    };
    add(&mut roster, change)?;
    let creator = member(&roster, header.author.root)?;
    let same = creator.key.entry == header.author.entry && creator.key.user == header.author.user;
    if !same {
        return Err(Void::Malformed);
    }
    check_grants(body, &roster.members.keys().copied().collect())?;
    Ok(roster)
}

/// Who wrote a record, if he may at this place: what holds whatever is in it. `last` is the last
/// roster record that is not void, and `last_time` the latest time of those that owners wrote.
pub fn admit<'a>(
    roster: &'a Roster,
    last: RecordHash,
    last_time: Time,
    header: &Header,
) -> Result<&'a Member, Void> {
    let author = member(roster, header.author.root).map_err(|_| Void::NotAMember)?;
    if author.key.entry != header.author.entry {
        return Err(Void::KeySuperseded);
    }
    if author.expired(header.time.max(last_time)) {
        return Err(Void::Expired);
    }
    if header.roster != last {
        return Err(Void::WrongRoster);
    }
    if header.epoch != roster.epoch {
        return Err(Void::EpochNotInForce);
    }
    match header.kind {
        Kind::Roster => Ok(author),
        Kind::Content | Kind::Snapshot if author.role >= Role::Writer => Ok(author),
        Kind::Content | Kind::Snapshot => Err(Void::RoleMayNot),
    }
}

/// The roster after a record that follows `before` and whose author is a member of it.
pub fn follow(before: &Roster, header: &Header, body: &RosterBody) -> Result<Roster, Void> {
    if body.nonce.is_some() {
        return Err(Void::StrayNonce);
    }
    let author = member(before, header.author.root)?;
    may_sign(author, body)?;
    let mut roster = before.clone();
    roster.version = before.version.next();
    let mut granted = BTreeSet::new();
    let mut removed = false;
    for change in &body.changes {
        let actor = Actor {
            root: author.key.root,
            creator: before.creator,
        };
        actor.change(&mut roster, change)?;
        match change {
            Change::Add { .. } => granted.extend(added_root(change)),
            Change::MemberKey(root, _) => granted.extend([*root]),
            Change::Remove(_) => removed = true,
            _ => {}
        }
    }
    if removed && body.epoch.is_none() {
        return Err(Void::RotationMissing);
    }
    check_members(&roster)?;
    if let Some(epoch) = &body.epoch {
        rotate(&mut roster, epoch, header.time)?;
        granted = roster.members.keys().copied().collect();
    }
    granted.retain(|root| roster.members.contains_key(root));
    check_grants(body, &granted)?;
    Ok(roster)
}

/// Owners sign anything; others that they leave, or that their own keys are others now.
fn may_sign(author: &Member, body: &RosterBody) -> Result<(), Void> {
    if body.changes.is_empty() && body.epoch.is_none() {
        return Err(Void::Empty);
    }
    let alone = body.epoch.is_none();
    let own_affair = match &body.changes[..] {
        [Change::Leave] => alone,
        [Change::MemberKey(root, _)] => alone && *root == author.key.root,
        _ => false,
    };
    let leaves_among_others = !own_affair && body.changes.contains(&Change::Leave);
    if leaves_among_others || !(own_affair || author.role == Role::Owner) {
        return Err(Void::RoleMayNot);
    }
    Ok(())
}

/// Who makes the changes of a record.
struct Actor {
    root: ChainRoot,
    creator: ChainRoot,
}

impl Actor {
    fn change(&self, roster: &mut Roster, change: &Change) -> Result<(), Void> {
        match change {
            Change::Add { .. } => add(roster, change),
            Change::Remove(root) => {
                self.may_lower(roster, *root)?;
                roster.members.remove(root);
                Ok(())
            }
            Change::Role(root, role) => {
                if *role < Role::Owner {
                    self.may_lower(roster, *root)?;
                }
                member_mut(roster, *root)?.role = *role;
                Ok(())
            }
            Change::Expiry(root, expires) => {
                self.may_lower(roster, *root)?;
                member_mut(roster, *root)?.expires = *expires;
                Ok(())
            }
            Change::MemberKey(root, entries) => {
                let member = member_mut(roster, *root)?;
                member.key = followed(&member.key, entries)?;
                Ok(())
            }
            Change::Leave if self.root == self.creator => Err(Void::CreatorStays),
            Change::Leave => {
                roster.members.remove(&self.root);
                Ok(())
            }
        }
    }

    fn may_lower(&self, roster: &Roster, root: ChainRoot) -> Result<(), Void> {
        let member = member(roster, root)?;
        if root == self.creator {
            return Err(Void::CreatorStays);
        }
        if member.role == Role::Owner && self.root != self.creator {
            return Err(Void::OnlyTheCreator);
        }
        Ok(())
    }
}

fn member_mut(roster: &mut Roster, root: ChainRoot) -> Result<&mut Member, Void> {
    roster.members.get_mut(&root).ok_or(Void::UnknownMember)
}

fn followed(key: &KeyEntry, entries: &[SignedEntry]) -> Result<KeyEntry, Void> {
    if entries.is_empty() {
        return Err(Void::BadKeyChain);
    }
    entries.iter().try_fold(key.clone(), |key, next| {
        key.follow(next).map_err(|_| Void::BadKeyChain)
    })
}

fn add(roster: &mut Roster, change: &Change) -> Result<(), Void> {
    let Change::Add {
        user,
        chain,
        role,
        expires,
        ..
    } = change
    else {
        return Err(Void::Malformed);
    };
    let key = KeyChain::verify(chain)
        .map_err(|_| Void::BadKeyChain)?
        .key();
    if key.user != *user {
        return Err(Void::BadKeyChain);
    }
    let known = |member: &Member| member.key.root == key.root || member.key.user == *user;
    if roster.members.values().any(known) {
        return Err(Void::AlreadyAMember);
    }
    let member = Member {
        key,
        role: *role,
        expires: *expires,
    };
    roster.members.insert(member.key.root, member);
    Ok(())
}

fn added_root(change: &Change) -> Option<ChainRoot> {
    match change {
        Change::Add { chain, .. } => {
            let first = chain.first()?;
            Some(ChainRoot(first.unverified().hash().0))
        }
        _ => None,
    }
}

fn check_members(roster: &Roster) -> Result<(), Void> {
    if roster.members.len() > limits::MEMBERS {
        return Err(Void::TooMany);
    }
    let ends = |member: &Member| member.role == Role::Owner && member.expires.is_some();
    if roster.members.values().any(ends) {
        return Err(Void::OwnersDoNotExpire);
    }
    Ok(())
}

fn rotate(roster: &mut Roster, epoch: &NewEpoch, time: Time) -> Result<(), Void> {
    if roster.members.values().any(|member| member.expired(time)) {
        return Err(Void::ExpiredMember);
    }
    roster.epoch = roster.epoch.next();
    roster.commitment = epoch.commitment;
    Ok(())
}

/// The record lists a grant for each of `granted`, and for nobody else.
fn check_grants(body: &RosterBody, granted: &BTreeSet<ChainRoot>) -> Result<(), Void> {
    if body.grants.iter().map(|(root, _)| root).eq(granted) {
        Ok(())
    } else {
        Err(Void::WrongGrants)
    }
}

/// Whether an owner is to begin a new epoch after this record.
pub fn rotation_due(before: bool, author: &KeyEntry, body: &RosterBody) -> bool {
    let due = |change: &Change| match change {
        Change::Leave => true,
        Change::MemberKey(root, _) => *root == author.root,
        _ => false,
    };
    body.epoch.is_none() && (before || body.changes.iter().any(due))
}

/// A roster record in the making: what it changes, and the roster that comes of it, so that grants
/// can be wrapped before it is signed.
#[derive(Debug, Clone)]
pub struct Proposal {
    share: ShareId,
    granter: KeyEntry,
    roster: Roster,
    granted: Vec<ChainRoot>,
}

impl Proposal {
    /// What `body`, whose list of grants is not filled yet, makes of `before`; for the first record
    /// of a share `before` is absent. Fails as the record would.
    pub fn new(before: Option<&Roster>, header: &Header, body: &RosterBody) -> Result<Self, Void> {
        let mut body = body.clone();
        let attempt = |body: &RosterBody| match before {
            None => begin(header, body),
            Some(before) => follow(before, header, body),
        };
        // The rules want the list, so it is filled with everybody who could be on it.
        let members = before.into_iter().flat_map(|roster| roster.members.keys());
        let added = body.changes.iter().filter_map(added_root);
        let everybody: BTreeSet<ChainRoot> = members.copied().chain(added).collect();
        let touched: BTreeSet<ChainRoot> = body.changes.iter().filter_map(touched_root).collect();
        let gone: BTreeSet<ChainRoot> = body.changes.iter().filter_map(removed_root).collect();
        let wanted = if body.epoch.is_some() {
            everybody
        } else {
            touched
        };
        let wanted: Vec<ChainRoot> = wanted.difference(&gone).copied().collect();
        body.grants = wanted
            .iter()
            .map(|root| (*root, crate::ids::GrantHash([0; 32])))
            .collect();
        let roster = attempt(&body)?;
        let granter = member_of(before, &roster, header.author.root)?;
        Ok(Self {
            share: header.share,
            granter,
            roster,
            granted: wanted,
        })
    }

    /// The roster after the record.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Who gets a grant with it, with what the grant is bound to.
    pub fn grants(&self) -> Vec<(&Member, GrantContext)> {
        let members = self.granted.iter();
        let members = members.filter_map(|root| self.roster.members.get(root));
        members
            .map(|member| {
                let context = self.roster.grant_context(self.share, member, &self.granter);
                (member, context)
            })
            .collect()
    }

    /// The body with the list of the grants that were wrapped.
    pub fn list(body: RosterBody, grants: &[Grant]) -> RosterBody {
        let mut list: Vec<_> = grants.iter().map(|g| (g.recipient, g.hash())).collect();
        list.sort_by_key(|(root, _)| *root);
        RosterBody {
            grants: list,
            ..body
        }
    }
}

/// The author's keys: those he has before the record.
fn member_of(before: Option<&Roster>, after: &Roster, root: ChainRoot) -> Result<KeyEntry, Void> {
    member(before.unwrap_or(after), root).map(|member| member.key.clone())
}

fn touched_root(change: &Change) -> Option<ChainRoot> {
    match change {
        Change::MemberKey(root, _) => Some(*root),
        _ => added_root(change),
    }
}

fn removed_root(change: &Change) -> Option<ChainRoot> {
    match change {
        Change::Remove(root) => Some(*root),
        _ => None,
    }
}
