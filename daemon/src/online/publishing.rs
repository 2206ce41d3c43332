//! Offering folders of a mount.

use std::collections::BTreeSet;

use keyfold_protocol::account::Address;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::names::{Slug, Title, UserName};
use keyfold_protocol::publication::Audience;

use super::desk::Desk;
use super::error::FolderError;
use super::folders::{Folder, with_server};
use super::giving::unknown;
use super::notice::Notice;
use crate::account::Session;
use crate::control::{OfferCommand, Publish, Unpublish};
use crate::sharing::{self, Done, Offer};

/// Characters of a name in addresses that is made of a title.
const SLUG: usize = 48;

/// Carries out a command about what is offered.
pub(crate) fn offer(desk: &Desk, command: &OfferCommand) -> Result<Done, FolderError> {
    let done = match command {
        OfferCommand::Publish(wanted) => {
            with_server(desk, async |session| publish(desk, session, wanted).await)?
        }
        OfferCommand::Unpublish(wanted) => {
            with_server(desk, async |session| unpublish(desk, session, wanted).await)?
        }
    };
    Ok(Done { done })
}

async fn publish(
    desk: &Desk,
    session: &Session<'_>,
    wanted: &Publish,
) -> Result<String, FolderError> {
    let folder = Folder::find(desk, &wanted.path)?;
    folder.title()?;
    let audience = audience(session, wanted).await?;
    let share = folder.shared(desk, session).await?.id();
    let slug = match &wanted.slug {
        Some(slug) => slug.clone(),
        None => slug_of(&wanted.title, share)?,
    };
    let offer = Offer {
        share,
        slug,
        title: wanted.title.clone(),
        audience,
    };
    let address = sharing::publish(session, &offer).await?;
    session.kept().put_slug(share, Some(&offer.slug))?;
    desk.look_now();
    let told = told(&offer, &address);
    desk.tell_with(Notice::Widening, &told);
    Ok(told)
}

/// Whom it is offered to. Nobody who was not verified is told what there is.
async fn audience(session: &Session<'_>, wanted: &Publish) -> Result<Audience, FolderError> {
    match (wanted.everyone, wanted.to.is_empty()) {
        (true, true) => return Ok(Audience::Everyone),
        (false, false) => {}
        (true, false) | (false, true) => return Err(FolderError::ToWhom),
    }
    let users: BTreeSet<&UserName> = wanted.to.iter().collect();
    for user in &users {
        if **user == session.keys().account.user {
            return Err(FolderError::Oneself);
        }
        let person = session.person(user).await;
        let person = person.map_err(|error| unknown(user, error))?;
        sharing::trusted(session, &person, None).await?;
    }
    Ok(Audience::Users(users.into_iter().cloned().collect()))
}

fn told(offer: &Offer, address: &Address) -> String {
    let to = match &offer.audience {
        Audience::Users(users) => {
            let names: Vec<&str> = users.iter().map(UserName::as_str).collect();
            names.join(", ")
        }
        Audience::Everyone | Audience::Nobody => "everybody with an account there".to_owned(),
    };
    format!(
        "The title \"{}\" can be read by the server, by those who run it, and by {to}; what is in \
         it by nobody whom you do not approve. Its address is {address}",
        offer.title
    )
}

/// A name in addresses made of a title: its letters and digits of ASCII, in lower case.
fn slug_of(title: &Title, share: ShareId) -> Result<Slug, FolderError> {
    let mut slug = String::new();
    for c in title.as_str().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == SLUG {
            break;
        }
    }
    let slug = match slug.trim_end_matches('-') {
        "" => share.to_string().chars().take(8).collect(),
        slug => slug.to_owned(),
    };
    slug.parse().map_err(|_| FolderError::Name(slug))
}

async fn unpublish(
    desk: &Desk,
    session: &Session<'_>,
    wanted: &Unpublish,
) -> Result<String, FolderError> {
    let folder = Folder::find(desk, &wanted.path)?;
    let info = folder.share.as_ref();
    let info = info.ok_or_else(|| FolderError::NotShared(wanted.path.clone()))?;
    let share = ShareId(info.id.0);
    sharing::unpublish(session, share).await?;
    session.kept().put_slug(share, None)?;
    desk.look_now();
    let told = format!("{} is offered to nobody any more.", wanted.path);
    desk.tell(&told);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_addresses_is_made_of_any_title() {
        let slug = |title: &str| {
            let slug = slug_of(&title.parse().unwrap(), ShareId([0xab; 32])).unwrap();
            slug.as_str().to_owned()
        };
        assert_eq!(slug("Plan 2027"), "plan-2027");
        assert_eq!(slug("  --Über/uns!! v2.pdf "), "ber-uns-v2-pdf");
        assert_eq!(slug("計画"), "abababab");
        assert_eq!(slug(&"x ".repeat(60)).len(), 47);
    }
}
