//! People with keys, and a share that they append to.

use keyfold_crypto::{EpochKey, IdentityKey, KemKey, sha256};
use keyfold_protocol::account::AccountRoot;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, SignedEntry};
use keyfold_protocol::exchange::{Append, Delivered};
use keyfold_protocol::grant::Grant;
use keyfold_protocol::ids::{
    BlobId, BodyHash, ChainRoot, EntryHash, Epoch, Nonce, RecordHash, Seq, ShareId, Time,
};
use keyfold_protocol::log::{Applied, Log, Outcome, Own, Proposal, Stop, Void};
use keyfold_protocol::operation::{ContentBody, Operation};
use keyfold_protocol::record::{Author, Header, Kind, Record};
use keyfold_protocol::roster::{Change, NewEpoch, Role, RosterBody};

/// The time of every test that does not speak of time.
pub(crate) const NOW: Time = Time(1_800_000_000);

fn seed(parts: &[&str]) -> [u8; 32] {
    sha256(&[parts.join("/").as_bytes()])
}

#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) account: AccountRoot,
    pub(crate) chain: Vec<SignedEntry>,
}

/// Somebody whose keys follow from his name.
pub(crate) fn person(name: &str) -> Person {
    named(name, name)
}

/// Somebody by the name of `name`, with the keys of `keys`.
pub(crate) fn named(name: &str, keys: &str) -> Person {
    let identity = IdentityKey::from_seed(&seed(&[keys, "identity"]));
    let kem = KemKey::from_seed(seed(&[keys, "kem"]));
    let entry = ChainEntry {
        seq: 0,
        previous: EntryHash([0; 32]),
        user: name.parse().unwrap(),
        identity: identity.public(),
        kem: kem.public(),
        time: NOW,
    };
    let hash = entry.hash();
    Person {
        chain: vec![SignedEntry::first(entry, &identity)],
        account: AccountRoot {
            user: name.parse().unwrap(),
            root: ChainRoot(hash.0),
            entry: hash,
            identity,
            kem,
            earlier: Vec::new(),
        },
    }
}

impl Person {
    pub(crate) fn root(&self) -> ChainRoot {
        self.account.root
    }

    pub(crate) fn author(&self) -> Author {
        Author {
            user: self.account.user.clone(),
            root: self.account.root,
            entry: self.account.entry,
        }
    }

    pub(crate) fn own(&self) -> Own {
        let account = self.account.clone();
        let now = (account.entry, account.kem);
        Own {
            user: account.user,
            root: account.root,
            keys: account.earlier.into_iter().chain([now]).collect(),
        }
    }

    /// The same person with other keys, as after a lost laptop.
    pub(crate) fn with_new_keys(&self) -> Self {
        let last = self.chain.last().unwrap().unverified();
        let name = self.account.user.as_str();
        let generation = (last.seq + 1).to_string();
        let identity = IdentityKey::from_seed(&seed(&[name, "identity", &generation]));
        let kem = KemKey::from_seed(seed(&[name, "kem", &generation]));
        let entry = ChainEntry {
            seq: last.seq + 1,
            previous: last.hash(),
            user: last.user.clone(),
            identity: identity.public(),
            kem: kem.public(),
            time: NOW,
        };
        let mut next = self.clone();
        next.account
            .earlier
            .push((self.account.entry, self.account.kem.clone()));
        next.account.entry = entry.hash();
        next.chain
            .push(SignedEntry::next(entry, &identity, &self.account.identity));
        next.account.identity = identity;
        next.account.kem = kem;
        next
    }
}

pub(crate) fn add(whom: &Person, role: Role) -> Change {
    Change::Add {
        user: whom.account.user.clone(),
        chain: whom.chain.clone(),
        role,
        expires: None,
        request: None,
    }
}

pub(crate) fn add_until(whom: &Person, role: Role, end: Time) -> Change {
    match add(whom, role) {
        Change::Add {
            user, chain, role, ..
        } => Change::Add {
            user,
            chain,
            role,
            expires: Some(end),
            request: None,
        },
        other => other,
    }
}

/// What a roster record does to the epoch.
#[derive(Clone, Copy)]
pub(crate) enum Rotation {
    Stay,
    FromNow,
    WithHistory,
}

pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) appended: Vec<Append>,
    pub(crate) keys: Vec<EpochKey>,
    /// The creator's view, which knows every key.
    pub(crate) log: Log,
    pub(crate) creator: Person,
    pub(crate) time: Time,
}

impl Share {
    pub(crate) fn begin(creator: &Person) -> Self {
        let key = EpochKey::generate().unwrap();
        let header = Header {
            kind: Kind::Roster,
            share: ShareId::GENESIS,
            seq: Seq(0),
            previous: RecordHash::NONE,
            roster: RecordHash::NONE,
            author: creator.author(),
            epoch: Epoch(0),
            body: BodyHash([0; 32]),
            added: vec![],
            dropped: vec![],
            time: NOW,
        };
        let body = RosterBody {
            nonce: Some(Nonce::generate().unwrap()),
            changes: vec![add(creator, Role::Owner)],
            epoch: Some(NewEpoch::from_now(&key)),
            grants: vec![],
        };
        let proposal = Proposal::new(None, &header, &body).unwrap();
        let append = finish(creator, header, body, &proposal, &key);
        let id = append.record.header.hash().share();
        let mut share = Self {
            id,
            appended: vec![],
            keys: vec![key],
            log: Log::new(creator.own(), id),
            creator: creator.clone(),
            time: NOW,
        };
        share.append(append).unwrap();
        share
    }

    /// A share of a creator with members.
    pub(crate) fn with(creator: &Person, members: &[(&Person, Role)]) -> Self {
        let mut share = Self::begin(creator);
        for (member, role) in members {
            share.change(creator, vec![add(member, *role)], Rotation::Stay);
        }
        share
    }

    pub(crate) fn key(&self) -> EpochKey {
        let epoch = self.log.roster().unwrap().epoch;
        self.keys[epoch.0 as usize - 1].clone()
    }

    /// The header of a record that `author` writes next.
    pub(crate) fn header(&self, kind: Kind, author: &Person) -> Header {
        let (seq, previous) = self.log.head().unwrap();
        Header {
            kind,
            share: self.id,
            seq: seq.next(),
            previous,
            roster: self.log.roster_record(),
            author: author.author(),
            epoch: self.log.roster().unwrap().epoch,
            body: BodyHash([0; 32]),
            added: vec![],
            dropped: vec![],
            time: self.time,
        }
    }

    pub(crate) fn append(&mut self, append: Append) -> Result<Applied, Stop> {
        let creator = self.creator.root();
        let grant = append.grants.iter().find(|g| g.recipient == creator);
        let applied = self.log.apply(&append.record, grant)?;
        self.appended.push(append);
        Ok(applied)
    }

    /// Appends a roster record that must not be void.
    pub(crate) fn change(&mut self, author: &Person, changes: Vec<Change>, rotation: Rotation) {
        let append = self.draft(author, changes, rotation).unwrap();
        let applied = self.append(append).unwrap();
        assert_eq!(applied.outcome, Outcome::Roster);
        assert_eq!(applied.events, []);
    }

    /// A roster record as an honest client makes it, which refuses what would be void.
    pub(crate) fn draft(
        &mut self,
        author: &Person,
        changes: Vec<Change>,
        rotation: Rotation,
    ) -> Result<Append, Void> {
        let header = self.header(Kind::Roster, author);
        let before = self.log.roster().unwrap();
        let old = self.key();
        let new = EpochKey::generate().unwrap();
        let next = before.epoch.next();
        let epoch = match rotation {
            Rotation::Stay => None,
            Rotation::FromNow => Some(NewEpoch::from_now(&new)),
            Rotation::WithHistory => {
                Some(NewEpoch::with_history(&new, &old, self.id, next).unwrap())
            }
        };
        let key = if epoch.is_some() { &new } else { &old };
        let body = RosterBody {
            nonce: None,
            changes,
            epoch,
            grants: vec![],
        };
        let proposal = Proposal::new(Some(before), &header, &body)?;
        let append = finish(author, header, body, &proposal, key);
        if !matches!(rotation, Rotation::Stay) {
            self.keys.push(new);
        }
        Ok(append)
    }

    /// Appends a roster record that no honest client would write; says what came of it.
    pub(crate) fn force(&mut self, author: &Person, body: &RosterBody) -> Outcome {
        let header = self.header(Kind::Roster, author);
        let record = Record::sign(header, body.encode(), &author.account.identity);
        let append = Append {
            record,
            grants: vec![],
        };
        self.append(append).unwrap().outcome
    }

    /// Appends changes as they are, without grants and without looking.
    pub(crate) fn force_changes(&mut self, author: &Person, changes: Vec<Change>) -> Outcome {
        let body = RosterBody {
            nonce: None,
            changes,
            epoch: None,
            grants: vec![],
        };
        self.force(author, &body)
    }

    pub(crate) fn write(&mut self, author: &Person, operations: Vec<Operation>) -> Applied {
        self.write_with(author, operations, vec![])
    }

    pub(crate) fn write_with(
        &mut self,
        author: &Person,
        operations: Vec<Operation>,
        added: Vec<BlobId>,
    ) -> Applied {
        let mut header = self.header(Kind::Content, author);
        header.added = added;
        let key = self.key();
        self.write_as(header, operations, &key, author)
    }

    /// Appends content under any header and key.
    pub(crate) fn write_as(
        &mut self,
        header: Header,
        operations: Vec<Operation>,
        key: &EpochKey,
        author: &Person,
    ) -> Applied {
        let body = ContentBody { operations }.encode();
        let record = Record::seal(header, &body, key, &author.account.identity).unwrap();
        let append = Append {
            record,
            grants: vec![],
        };
        self.append(append).unwrap()
    }

    /// What the server gives to `person`: every record, and his own grants.
    pub(crate) fn delivered(&self, person: &Person) -> Vec<Delivered> {
        let own = |append: &Append| {
            let own = append.grants.iter().find(|g| g.recipient == person.root());
            own.cloned()
        };
        let all = self.appended.iter().map(|append| Delivered {
            record: append.record.clone(),
            grant: own(append),
        });
        all.collect()
    }

    /// The share as `person` sees it, with what came of each record.
    pub(crate) fn seen_by(&self, person: &Person) -> (Log, Vec<Applied>) {
        let mut log = Log::new(person.own(), self.id);
        let applied = log.absorb(&self.delivered(person)).unwrap();
        assert_eq!(applied.len(), self.appended.len());
        (log, applied)
    }
}

fn finish(
    author: &Person,
    header: Header,
    body: RosterBody,
    proposal: &Proposal,
    key: &EpochKey,
) -> Append {
    let wrap = |(member, context): (&keyfold_protocol::roster::Member, _)| {
        Grant::wrap(&member.key.kem, &context, key).unwrap()
    };
    let grants: Vec<Grant> = proposal.grants().into_iter().map(wrap).collect();
    let body = Proposal::list(body, &grants);
    Append {
        record: Record::sign(header, body.encode(), &author.account.identity),
        grants,
    }
}
