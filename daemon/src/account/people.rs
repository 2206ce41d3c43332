//! Other people: who the server says they are, held against who they were.

use keyfold_protocol::chain::{ChainEntry, KeyChain, SignedEntry};
use keyfold_protocol::ids::{ChainRoot, EntryHash, Time};
use keyfold_protocol::names::UserName;

use super::error::{AccountError, Lie, Verified};
use super::kept::{Changes, Known, Slot};
use super::{Session, now};

/// How well somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// His safety words were compared, then.
    Verified(Time),
    /// Seen first then, and compared with nothing.
    Seen(Time),
}

/// Somebody, by keys that verify and are the known ones where any are known.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// His key chain.
    pub(crate) chain: KeyChain,
    /// The same as it came, to be put into rosters.
    pub(crate) entries: Vec<SignedEntry>,
    /// How well he is known.
    pub(crate) trust: Trust,
}

impl Person {
    /// Who he is.
    pub(crate) fn root(&self) -> ChainRoot {
        self.chain.root()
    }

    /// Whether his safety words were compared.
    pub(crate) fn is_verified(&self) -> bool {
        matches!(self.trust, Trust::Verified(_))
    }
}

/// Holds a chain against the entries that were seen of it.
pub(super) fn compare(
    user: &UserName,
    seen: &[EntryHash],
    chain: &KeyChain,
) -> Result<(), AccountError> {
    let said: Vec<EntryHash> = chain.entries().iter().map(ChainEntry::hash).collect();
    let differs = seen.iter().zip(&said).position(|(seen, said)| seen != said);
    match differs {
        Some(0) => Err(Lie::OtherPerson {
            user: user.clone(),
            known: ChainRoot(seen[0].0),
            said: chain.root(),
            verified: Verified::No,
        }
        .into()),
        Some(seq) => Err(Lie::TwoEntries {
            user: user.clone(),
            seq: seq as u64,
        }
        .into()),
        None if said.len() < seen.len() => Err(Lie::Shorter(user.clone()).into()),
        None => Ok(()),
    }
}

impl Session<'_> {
    /// Somebody by his name. Whoever is not who he was is refused.
    pub(crate) async fn person(&self, user: &UserName) -> Result<Person, AccountError> {
        let entries = self.remote().chain(user).await?;
        self.judge_person(user, entries)
    }

    /// Somebody by a chain that came with something else.
    pub(crate) fn judge_person(
        &self,
        user: &UserName,
        entries: Vec<SignedEntry>,
    ) -> Result<Person, AccountError> {
        let chain = KeyChain::verify(&entries).map_err(|_| Lie::Chain(user.clone()))?;
        if chain.key().user != *user {
            return Err(Lie::Name(user.clone()).into());
        }
        let book = self.kept().book()?.book;
        let contact = book.contacts.iter().find(|contact| contact.user == *user);
        if let Some(contact) = contact
            && contact.root != chain.root()
        {
            return Err(Lie::OtherPerson {
                user: user.clone(),
                known: contact.root,
                said: chain.root(),
                verified: Verified::Yes,
            }
            .into());
        }
        let since = self.remember(user, &chain)?;
        Ok(Person {
            chain,
            entries,
            trust: contact.map_or(Trust::Seen(since), |contact| Trust::Verified(contact.since)),
        })
    }

    /// Holds a chain against what was seen, and keeps what is new. Returns since when it is known.
    fn remember(&self, user: &UserName, chain: &KeyChain) -> Result<Time, AccountError> {
        let _alone = self.kept().alone();
        let mut people = self.kept().people()?;
        let entries: Vec<EntryHash> = chain.entries().iter().map(ChainEntry::hash).collect();
        let known = people.0.iter_mut().find(|known| known.user == *user);
        let since = if let Some(known) = known {
            compare(user, &known.entries, chain)?;
            if known.entries == entries {
                return Ok(known.since);
            }
            known.entries = entries;
            known.since
        } else {
            let since = now();
            people.0.push(Known {
                user: user.clone(),
                since,
                entries,
            });
            since
        };
        self.kept()
            .change(&Changes::default().put(Slot::People, &people))?;
        Ok(since)
    }
}
