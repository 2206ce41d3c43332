//! Publications, requests and events.

use serde::{Deserialize, Serialize};

use super::Base64;
use crate::ids::{ChainRoot, PublicationHash, RequestHash, ShareId, Time};
use crate::names::UserName;

/// Reply of `Publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishReply {
    /// What requests name.
    pub publication: PublicationHash,
}

/// Reply of `Publications`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicationsReply {
    /// Offered to the caller.
    pub publications: Vec<PublicationItem>,
}

/// Reply of `FindPublication`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicationReply {
    /// The statement with its signature.
    pub publication: Base64,
    /// The owner's key chain, first entry first.
    pub chain: Vec<Base64>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicationItem {
    /// The statement with its signature.
    pub publication: Base64,
    /// Who offers.
    pub owner: UserName,
}

/// Reply of `Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestReply {
    /// The request's hash, as both sides compute it.
    pub request: RequestHash,
}

/// Reply of `Requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestsReply {
    /// To shares that the caller owns, oldest first.
    pub incoming: Vec<RequestItem>,
    /// By the caller, oldest first.
    pub outgoing: Vec<RequestItem>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestItem {
    /// The statement with its signature.
    pub request: Base64,
    /// The publication that it names, with its signature; empty where the share has ended.
    pub publication: Base64,
    /// The share of the publication.
    pub share: ShareId,
    /// Who asks.
    pub root: ChainRoot,
    /// When the server got it.
    pub received: Time,
    /// How it stands.
    pub state: RequestState,
    /// The decision with its signature, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Base64>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// Nobody decided yet.
    Open,
    /// A roster record cites it.
    Granted,
    /// An owner said no.
    Denied,
    /// The requester does not want it any more.
    Withdrawn,
    /// Its time passed.
    Expired,
}

/// One event, the data of a message of `Events`. Its number is the message's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// What to look at again.
    pub kind: EventKind,
    /// The share, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareId>,
    /// The request, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestHash>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A share has another head, or another state.
    Share,
    /// The caller became, or is no longer, a member.
    Membership,
    /// What is offered to the caller changed.
    Publication,
    /// A request to or by the caller stands otherwise.
    Request,
    /// The caller's account changed: chain, book, devices.
    Account,
    /// Events were lost; look at everything.
    Reset,
}
