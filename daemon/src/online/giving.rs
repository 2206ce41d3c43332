//! Giving somebody a folder: a person, a group, or whoever has an address.

use std::fmt::Write;

use keyfold_protocol::account::Fingerprint;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ShareId, Time};
use keyfold_protocol::names::{Email, UserName};

use super::desk::Desk;
use super::error::FolderError;
use super::folders::Folder;
use super::notice::Notice;
use crate::account::{AccountError, Invitation, Person, Session, now};
use crate::cli::exit::Exit;
use crate::control::{Share, Whom};
use crate::sharing::{self, Newcomer, Reads, Shared, SharingError};

/// Gives somebody a folder, or everybody in a group, or invites who is to be given it.
pub(super) async fn share(
    desk: &Desk,
    session: &Session<'_>,
    wanted: &Share,
) -> Result<String, FolderError> {
    if let Whom::User(user) = &wanted.user
        && *user == session.keys().account.user
    {
        return Err(FolderError::Oneself);
    }
    let folder = Folder::find(desk, &wanted.path)?;
    let people = match recipients(session, wanted).await? {
        Recipients::People(people) => people,
        Recipients::Nobody(email) => return invite(desk, session, (&folder, wanted), email).await,
    };
    let mut shared = folder.shared(desk, session).await?;
    let role = wanted.role();
    let new: Vec<Newcomer> = people
        .into_iter()
        .filter(|person| {
            let known = shared.member(&person.chain.key().user);
            // More than once or longer is given by `role`.
            !known.is_ok_and(|known| known.role >= role && !known.expired(now()))
        })
        .map(|person| newcomer(person, (&folder, wanted)))
        .collect();
    if new.is_empty() {
        return Err(already(&shared, &wanted.user));
    }
    shared.add_all(&new).await?;
    desk.look_now();
    let names = new
        .iter()
        .map(|one| one.person.chain.key().user.to_string());
    let names: Vec<String> = names.collect();
    let are = if names.len() == 1 { "is" } else { "are each" };
    let mut done = format!(
        "{} {are} {} of {} now.",
        names.join(", "),
        sharing::role_name(role),
        wanted.path
    );
    if let Whom::Group(group) = &wanted.user {
        // Writing to a string does not fail.
        let _ = write!(
            done,
            " Who comes into @{group} later is not given it by that."
        );
    }
    Ok(done)
}

fn newcomer(person: Person, (folder, wanted): (&Folder, &Share)) -> Newcomer {
    Newcomer {
        person,
        role: wanted.role(),
        expires: wanted
            .expires
            .as_ref()
            .map(|time| sharing::after(time.value)),
        reads: match &folder.share {
            Some(_) if wanted.with_history => Reads::Before,
            Some(_) => Reads::FromNow,
            // Nothing was written before.
            None => Reads::ThisEpoch,
        },
        request: None,
    }
}

fn already(shared: &Shared<'_, '_>, whom: &Whom) -> FolderError {
    match whom {
        Whom::User(user) => match shared.member(user) {
            Ok(member) => FolderError::Already(user.clone(), member.role),
            Err(error) => error.into(),
        },
        whom => FolderError::AllAlready(whom.to_string()),
    }
}

/// To whom something is given.
enum Recipients {
    People(Vec<Person>),
    /// Nobody has this address.
    Nobody(Email),
}

async fn recipients(session: &Session<'_>, wanted: &Share) -> Result<Recipients, SharingError> {
    let key = wanted.key.as_ref().map(|key| key.value);
    let people = match &wanted.user {
        Whom::User(user) => vec![trusted(session, user, key).await?],
        Whom::Group(group) => {
            let mut people = Vec::new();
            for user in sharing::in_group(session, group).await? {
                people.push(trusted(session, &user, None).await?);
            }
            people
        }
        Whom::Address(email) => match behind(session, email).await? {
            None => return Ok(Recipients::Nobody(email.clone())),
            // Only the server says whose address it is, so the user says whom he means.
            Some(user) if key.is_none() => {
                return Err(SharingError::AddressOf(email.clone(), user));
            }
            Some(user) => vec![trusted(session, &user, key).await?],
        },
    };
    Ok(Recipients::People(people))
}

async fn trusted(
    session: &Session<'_>,
    user: &UserName,
    key: Option<Fingerprint>,
) -> Result<Person, SharingError> {
    let person = session.person(user).await;
    let person = person.map_err(|error| unknown(user, error))?;
    sharing::trusted(session, &person, key).await?;
    Ok(person)
}

pub(super) fn unknown(user: &UserName, error: AccountError) -> SharingError {
    match error.code() {
        Some(ErrorCode::NotFound) => SharingError::NoSuchUser(user.clone()),
        _ => error.into(),
    }
}

/// Whose address it is, as the server says.
async fn behind(session: &Session<'_>, email: &Email) -> Result<Option<UserName>, SharingError> {
    match session.remote().find_user(email).await {
        Ok(user) => Ok(Some(user)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Has an invitation mailed, and keeps what is to be given.
async fn invite(
    desk: &Desk,
    session: &Session<'_>,
    (folder, wanted): (&Folder, &Share),
    email: Email,
) -> Result<String, FolderError> {
    if folder.has_point(desk.engine.volume())? {
        return Err(SharingError::HasPoint.into());
    }
    session
        .remote()
        .invite(&email)
        .await
        .map_err(SharingError::from)?;
    let share = folder.shared(desk, session).await?.id();
    session.kept().add_invitation(&Invitation {
        share,
        email: email.clone(),
        role: wanted.role(),
        lasts: wanted.expires.as_ref().map(|time| time.value.as_secs()),
        with_history: wanted.with_history,
        since: now(),
    })?;
    desk.look_now();
    Ok(format!(
        "Nobody on this server has the address {email} yet, so an invitation was mailed there. {} is \
         given as soon as whoever registers with it is verified: `keyfold status` says who that is.",
        wanted.path
    ))
}

/// What an invitation waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) share: ShareId,
    pub(super) email: String,
    /// Who registered with the address, as the server says.
    pub(super) user: Option<String>,
}

/// Gives what invitations promise to whoever came and was verified since. Returns what others wait for.
pub(super) async fn keep_promises(
    desk: &Desk,
    session: &Session<'_>,
) -> Result<Vec<Awaited>, SharingError> {
    let mut waiting = Vec::new();
    for invitation in session.kept().invitations()? {
        let mut awaited = Awaited {
            share: invitation.share,
            email: invitation.email.to_string(),
            user: None,
        };
        match keep_promise(session, &invitation, &mut awaited).await {
            Ok(true) => {
                session.kept().end_invitation(&invitation)?;
                desk.tell_with(Notice::Widening, &kept_promise(desk, &invitation, &awaited));
            }
            // It is not this account's any more to keep.
            Err(SharingError::NotAMember | SharingError::MayNot(_)) => {
                session.kept().end_invitation(&invitation)?;
            }
            Ok(false) => waiting.push(awaited),
            Err(error) => {
                // What it says may name people.
                let code = Exit::from(&error).code();
                tracing::warn!(code, "what an invitation promises could not be given");
                waiting.push(awaited);
            }
        }
    }
    Ok(waiting)
}

fn kept_promise(desk: &Desk, invitation: &Invitation, awaited: &Awaited) -> String {
    let volume = desk.engine.volume();
    let shares = volume.shares().unwrap_or_default();
    let info = shares.iter().find(|info| info.id.0 == invitation.share.0);
    let path = info.and_then(|info| volume.path_of_share(info).ok());
    format!(
        "{} is {} of {} now, who was invited as {}.",
        awaited.user.as_deref().unwrap_or_default(),
        sharing::role_name(invitation.role),
        String::from_utf8_lossy(&path.unwrap_or_default()),
        awaited.email
    )
}

/// Gives what one invitation promises, if whom it was for is there and verified. Notes who that is.
async fn keep_promise(
    session: &Session<'_>,
    invitation: &Invitation,
    awaited: &mut Awaited,
) -> Result<bool, SharingError> {
    let Some(user) = behind(session, &invitation.email).await? else {
        return Ok(false);
    };
    awaited.user = Some(user.to_string());
    let Some(person) = verified_since(session, &user, invitation.since).await? else {
        return Ok(false);
    };
    give_promised(session, invitation, person).await?;
    Ok(true)
}

/// Somebody, if he was verified after that. Who was verified before is known under his name, and that the
/// address is his nobody but the server says.
async fn verified_since(
    session: &Session<'_>,
    user: &UserName,
    since: Time,
) -> Result<Option<Person>, SharingError> {
    let book = session.kept().book()?.book;
    let known = book.contacts.iter().find(|known| known.user == *user);
    if known.is_none_or(|known| known.since < since) {
        return Ok(None);
    }
    Ok(Some(session.person(user).await?))
}

async fn give_promised(
    session: &Session<'_>,
    invitation: &Invitation,
    person: Person,
) -> Result<(), SharingError> {
    let mut shared = Shared::open(session, invitation.share).await?;
    let lasts = invitation.lasts.map(std::time::Duration::from_secs);
    let newcomer = Newcomer {
        person,
        role: invitation.role,
        expires: lasts.map(sharing::after),
        reads: if invitation.with_history {
            Reads::Before
        } else {
            Reads::FromNow
        },
        request: None,
    };
    shared.add(&newcomer).await
}
