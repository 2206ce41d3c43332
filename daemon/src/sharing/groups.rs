//! Groups: names for several verified people, which all devices of the account know.
//!
//! A group is expanded when something is given to it, so a share never changes because a group does.

use keyfold_protocol::account::{AccountBook, Group};
use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::names::{Title, UserName};
use serde::{Deserialize, Serialize};

use super::commands::{Done, Reply};
use super::error::SharingError;
use crate::account::Session;
use crate::control::{GroupAction, GroupOf};

/// A group, and who is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupShown {
    pub(crate) group: String,
    pub(crate) users: Vec<String>,
}

const LATER: &str = "What was given to the group before stays as it is";

/// Carries out a command about groups.
pub(super) async fn group(session: &Session<'_>, wanted: &GroupOf) -> Result<Reply, SharingError> {
    if wanted.action == GroupAction::List {
        let book = session.pull_book().await?.book;
        let asked = |group: &&Group| wanted.name.as_ref().is_none_or(|name| *name == group.name);
        let shown = book.groups.iter().filter(asked);
        let shown: Vec<GroupShown> = shown.map(|group| shown_of(&book, group)).collect();
        return match (&wanted.name, shown.is_empty()) {
            (Some(name), true) => Err(SharingError::NoSuchGroup(name.clone())),
            _ => Ok(Reply::Groups(shown)),
        };
    }
    let name = wanted.name.as_ref().ok_or(SharingError::WhichGroup)?;
    let change = Changing {
        name,
        action: wanted.action,
        roots: verified(session, &wanted.users)?,
    };
    session.pull_book().await?;
    change.check(&session.kept().book()?.book)?;
    session.change_book(&|book| change.make(book)).await?;
    let done = match wanted.action {
        GroupAction::Create => format!("@{name} is a group now."),
        GroupAction::Delete => format!("@{name} is no group any more. {LATER}."),
        _ => format!("Changed @{name}. {LATER}; who came is given it by `keyfold share`."),
    };
    Ok(Reply::Done(Done { done }))
}

fn shown_of(book: &AccountBook, group: &Group) -> GroupShown {
    let users = group.members.iter().map(|root| {
        let known = book.contacts.iter().find(|contact| contact.root == *root);
        known.map_or_else(|| root.to_string(), |known| known.user.to_string())
    });
    GroupShown {
        group: group.name.to_string(),
        users: users.collect(),
    }
}

/// Who these verified people are.
fn verified(session: &Session<'_>, users: &[UserName]) -> Result<Vec<ChainRoot>, SharingError> {
    let book = session.kept().book()?.book;
    let root = |user: &UserName| {
        let contact = book.contacts.iter().find(|contact| contact.user == *user);
        let root = contact.map(|contact| contact.root);
        root.ok_or_else(|| SharingError::NotVerifiedYet(user.clone()))
    };
    users.iter().map(root).collect()
}

/// The people in a group, by their names.
pub(crate) async fn in_group(
    session: &Session<'_>,
    name: &Title,
) -> Result<Vec<UserName>, SharingError> {
    let book = session.pull_book().await?.book;
    let group = book.groups.iter().find(|group| group.name == *name);
    let group = group.ok_or_else(|| SharingError::NoSuchGroup(name.clone()))?;
    let of = |root: &ChainRoot| book.contacts.iter().find(|contact| contact.root == *root);
    let people = group.members.iter().filter_map(of);
    Ok(people.map(|contact| contact.user.clone()).collect())
}

struct Changing<'w> {
    name: &'w Title,
    action: GroupAction,
    roots: Vec<ChainRoot>,
}

impl Changing<'_> {
    fn check(&self, book: &AccountBook) -> Result<(), SharingError> {
        let known = book.groups.iter().any(|group| group.name == *self.name);
        match (self.action, known) {
            (GroupAction::Create, true) => Err(SharingError::GroupThere(self.name.clone())),
            (GroupAction::Create, false) | (_, true) => Ok(()),
            (_, false) => Err(SharingError::NoSuchGroup(self.name.clone())),
        }
    }

    fn make(&self, book: &mut AccountBook) {
        if self.action == GroupAction::Delete {
            book.groups.retain(|group| group.name != *self.name);
            return;
        }
        let place = book
            .groups
            .iter()
            .position(|group| group.name == *self.name);
        let place = place.unwrap_or_else(|| {
            book.groups.push(Group {
                name: self.name.clone(),
                members: Vec::new(),
            });
            book.groups.len() - 1
        });
        let members = &mut book.groups[place].members;
        members.retain(|root| !self.roots.contains(root));
        if self.action != GroupAction::Remove {
            members.extend(&self.roots);
        }
    }
}
