//! What others offer to this account, as locked directories, and what they ask it for.
//!
//! The server is believed in nothing but that there may be something: what is shown was signed by its
//! owner, for this account. A stub goes with its offer.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_fs::error::FsResult;
use keyfold_fs::share::ShareInfo;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::names::UserName;
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{PublicationItem, RequestItem};

use super::desk::{Desk, Offered};
use super::notice::Notice;
use super::placing;
use super::told;
use crate::account::{AccountError, Person, Session};
use crate::sharing::{self, Asked, InboxItem, SharingError, Stub, entry_name, verify_publication};

/// Stubs of a volume at most: whoever offers more to everybody fills nobody's folder with it.
const STUBS: usize = 1000;

/// Looks at what is offered and asked for. Shares that the account is in are not offered to it.
pub(super) async fn look(
    desk: &Desk,
    session: &Session<'_>,
    members: &BTreeSet<ShareId>,
) -> Result<(), AccountError> {
    let requests = session.remote().requests().await?;
    let outgoing = requests.outgoing;
    let incoming = sharing::gather(session, requests.incoming).await;
    match incoming {
        Ok(found) => take_requests(desk, found.items),
        Err(SharingError::Account(error)) => return Err(error),
        // A share that cannot be read shows no requests.
        Err(_) => {}
    }
    let offers = offers(session, &outgoing).await?;
    show(desk, members, offers)
}

fn take_requests(desk: &Desk, requests: Vec<InboxItem>) {
    let before = desk.board(|board| std::mem::replace(&mut board.requests, requests.clone()));
    for item in requests {
        if before.iter().all(|known| known.request != item.request) {
            let what = format!("{}, request {}", told::wish_of(&item), item.short_id());
            desk.tell_once_with(Notice::Request, &what);
        }
    }
}

/// Offers that their owners made to this account, by share, and whether the owner is verified.
async fn offers(
    session: &Session<'_>,
    outgoing: &[RequestItem],
) -> Result<BTreeMap<ShareId, (Stub, bool)>, AccountError> {
    let mut asked = BTreeMap::new();
    for item in outgoing {
        let state = match item.state.into() {
            // Who was given it is a member, or was.
            Asked::Granted => Asked::Not,
            state => state,
        };
        let known = asked.entry(item.share).or_insert(state);
        if *known != Asked::Waiting {
            *known = state;
        }
    }
    let (mut people, mut offers) = (BTreeMap::new(), BTreeMap::new());
    for item in session.remote().publications().await?.publications {
        let person = match people.entry(item.owner.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(person(session, &item.owner).await?)
            }
        };
        let Some(person) = person else { continue };
        let Some(offer) = offered(session, &item, person) else {
            continue;
        };
        let share = offer.unverified().share;
        let stub = Stub {
            owner: item.owner,
            offer,
            asked: asked.get(&share).copied().unwrap_or_default(),
        };
        offers.insert(share, (stub, person.is_verified()));
    }
    Ok(offers)
}

/// Somebody; nobody where he is not who he was.
async fn person(session: &Session<'_>, user: &UserName) -> Result<Option<Person>, AccountError> {
    match session.person(user).await {
        Ok(person) => Ok(Some(person)),
        Err(AccountError::Remote(error)) if error.code().is_none() => {
            Err(AccountError::Remote(error))
        }
        Err(_) => Ok(None),
    }
}

/// What somebody signed and meant for this account.
fn offered(
    session: &Session<'_>,
    item: &PublicationItem,
    person: &Person,
) -> Option<Signed<Publication>> {
    let signed = Signed::<Publication>::decode(&item.publication.0).ok()?;
    let publication = verify_publication(&signed, &person.chain).ok()?;
    let own = &session.keys().account;
    let meant = match &publication.audience {
        Audience::Nobody => false,
        Audience::Everyone => true,
        Audience::Users(users) => users.contains(&own.user),
    };
    (meant && publication.owner != own.root).then_some(signed)
}

/// Makes the volume show these offers and no others. What was granted meanwhile stays until it opens.
fn show(
    desk: &Desk,
    members: &BTreeSet<ShareId>,
    offers: BTreeMap<ShareId, (Stub, bool)>,
) -> Result<(), AccountError> {
    let volume = desk.engine.volume();
    let mut shown = BTreeSet::new();
    for info in volume.locked_shares()? {
        let share = ShareId(info.id.0);
        match offers.get(&share) {
            _ if members.contains(&share) => {}
            Some((stub, _)) if stays(&info, stub) => {
                if let Some(before) = Stub::of(&info).filter(|before| before != stub) {
                    stub.keep(volume, &info)?;
                    tell_answer(desk, &before, stub);
                }
                shown.insert(share);
            }
            _ => placing::remove_stub(desk, &info)?,
        }
    }
    let here = volume.shares()?;
    let here: BTreeSet<ShareId> = here.iter().map(|info| ShareId(info.id.0)).collect();
    desk.board(|board| board.offered.retain(|_, offered| offered.stub.is_none()));
    for (share, (stub, verified)) in offers {
        if shown.contains(&share) || here.contains(&share) || members.contains(&share) {
            continue;
        }
        let placed = if !verified {
            Err(format!("{} is not verified", stub.owner))
        } else if shown.len() >= STUBS {
            Err("too much is offered".to_owned())
        } else {
            placing::place_stub(desk, &stub).map_err(|error| error.to_string())
        };
        match placed {
            Ok(()) => drop(shown.insert(share)),
            Err(why) => wait(desk, stub, why),
        }
    }
    Ok(())
}

/// Shows no offers any more: nobody is logged in who could ask for them.
pub(super) fn remove_all(desk: &Desk) -> FsResult<()> {
    for info in desk.engine.volume().locked_shares()? {
        placing::remove_stub(desk, &info)?;
    }
    Ok(())
}

/// Tells what became of asking for something.
fn tell_answer(desk: &Desk, before: &Stub, now: &Stub) {
    let (owner, title) = (&now.owner, &now.offer().title);
    if before.asked == now.asked {
        return;
    }
    match now.asked {
        Asked::Denied => desk.tell(&format!("{owner} refuses \"{title}\"")),
        Asked::Expired => desk.tell(&format!("{owner} did not answer about \"{title}\" in time")),
        Asked::Not | Asked::Waiting | Asked::Granted | Asked::Withdrawn => {}
    }
}

/// Whether a locked directory goes on standing for an offer: it was made for this title of this person.
fn stays(info: &ShareInfo, stub: &Stub) -> bool {
    Stub::of(info).is_some_and(|before| {
        let (before, now) = (before.offer(), stub.offer());
        before.owner == now.owner && before.title == now.title
    })
}

/// An offer waits to be accepted.
fn wait(desk: &Desk, stub: Stub, why: String) {
    let share = stub.share();
    let offered = Offered {
        owner: stub.owner.to_string(),
        name: entry_name(stub.offer().title.as_str(), share),
        why,
        stub: Some(stub),
    };
    desk.board(|board| board.offered.insert(share, offered));
}
