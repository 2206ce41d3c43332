//! Every route of a server, on one screen: method, path, who may call it, and how much it takes.
//!
//! `docs/protocol.md` says what each means. What is not listed does not exist; a caller without the
//! access that a route names is refused before anything else is looked at.

mod errors;

use std::fmt::Display;

use crate::limits;

/// How a route is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Changes nothing.
    Get,
    /// Acts.
    Post,
    /// Sets something to a value.
    Put,
    /// Changes a part of something.
    Patch,
    /// Ends something.
    Delete,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Everybody.
    Anyone,
    /// Whoever is logged in.
    Session,
    /// Members of the share in the path.
    Reader,
    /// Members of the share in the path who may write.
    Writer,
    /// Owners of the share in the path.
    Owner,
    /// The creator of the share in the path.
    Creator,
    /// Users who may see what happens on the server.
    Auditor,
    /// Users who run the server.
    Admin,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// None.
    Nothing,
    /// `application/json`: a type of the module `wire`.
    Json,
    /// `application/cbor`: a structure with one encoding.
    Cbor,
    /// `application/octet-stream`: bytes of a blob.
    Bytes,
    /// `text/event-stream`: events.
    Events,
    /// `text/plain`.
    Text,
}

/// What there is to know of a route before calling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// How it is called.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What is sent.
    pub request: Content,
    /// What comes back when it succeeds.
    pub reply: Content,
    /// Bytes of the longest body that is taken.
    pub limit: usize,
}

macro_rules! routes {
    ($(#[doc = $doc:literal] $name:ident = $method:ident $path:literal, $access:ident,
        $request:ident => $reply:ident, $limit:expr;)*) => {
        /// A route.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Route {
            $(#[doc = $doc] $name,)*
        }

        impl Route {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What there is to know of it.
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$name => Spec {
                        method: Method::$method,
                        path: $path,
                        access: Access::$access,
                        request: Content::$request,
                        reply: Content::$reply,
                        limit: $limit,
                    },)*
                }
            }

            /// What it does, in one sentence.
            pub const fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => $doc.trim_ascii(),)*
                }
            }

            /// Its name, as metrics and the description of the routes have it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

/// A statement and what little stands around it.
const SMALL: usize = 64 << 10;
/// A record with the grants of all members.
const APPEND: usize =
    limits::HEADER_BYTES + limits::BODY_BYTES + limits::MEMBERS * (limits::GRANT_BYTES + 8) + SMALL;

routes! {
    /// The process is there.
    Health = Get "/health", Anyone, Nothing => Text, 0;
    /// The process can serve.
    Ready = Get "/ready", Anyone, Nothing => Text, 0;
    /// Figures for Prometheus.
    Metrics = Get "/metrics", Auditor, Nothing => Text, 0;
    /// All routes, described by `OpenAPI`.
    OpenApi = Get "/v1/openapi.json", Anyone, Nothing => Json, 0;
    /// Who the server is and what it speaks.
    ServerInfo = Get "/v1/server", Anyone, Nothing => Json, 0;

    /// Makes an account.
    Register = Post "/v1/accounts", Anyone, Json => Json, SMALL;
    /// Proves an e-mail address.
    VerifyEmail = Post "/v1/accounts/verify", Anyone, Json => Nothing, SMALL;
    /// Sends the mail for that again.
    ResendVerification = Post "/v1/accounts/verify/resend", Anyone, Json => Nothing, SMALL;
    /// What a password is stretched with.
    LoginParameters = Post "/v1/login/parameters", Anyone, Json => Json, SMALL;
    /// Begins a session by password.
    Login = Post "/v1/login", Anyone, Json => Json, SMALL;
    /// Begins a session by recovery key.
    RecoveryLogin = Post "/v1/login/recovery", Anyone, Json => Json, SMALL;
    /// Ends the session.
    Logout = Delete "/v1/session", Session, Nothing => Nothing, 0;
    /// The caller's account.
    Account = Get "/v1/account", Session, Nothing => Json, 0;
    /// Seals the account root anew under another password.
    SetPassword = Put "/v1/account/password", Session, Json => Nothing, SMALL;
    /// Appends to the caller's key chain.
    AppendChain = Post "/v1/account/chain", Session, Json => Nothing, SMALL;
    /// The account's sealed book.
    Book = Get "/v1/account/book", Session, Nothing => Json, 0;
    /// Replaces the book that was read.
    PutBook = Put "/v1/account/book", Session, Json => Nothing, limits::JSON_BYTES;
    /// What was last seen of a vault.
    Pin = Get "/v1/account/pins/{vault}", Session, Nothing => Json, 0;
    /// Replaces that.
    PutPin = Put "/v1/account/pins/{vault}", Session, Json => Nothing, SMALL;
    /// The account's devices and sessions.
    Devices = Get "/v1/account/devices", Session, Nothing => Json, 0;
    /// Ends the sessions of a device.
    RemoveDevice = Delete "/v1/account/devices/{device}", Session, Nothing => Nothing, 0;
    /// Whether a login needs a code.
    SecondFactor = Get "/v1/account/second-factor", Session, Nothing => Json, 0;
    /// Makes a new secret for codes, in force once it is confirmed.
    BeginSecondFactor = Post "/v1/account/second-factor", Session, Json => Json, SMALL;
    /// Shows that the secret is kept: from now on a login needs a code.
    ConfirmSecondFactor = Post "/v1/account/second-factor/confirm", Session, Json => Json, SMALL;
    /// From now on a login needs no code.
    EndSecondFactor = Post "/v1/account/second-factor/end", Session, Json => Nothing, SMALL;
    /// Ends the account.
    DeleteAccount = Post "/v1/account/delete", Session, Cbor => Nothing, limits::STATEMENT_BYTES;
    /// Somebody's key chain.
    Chain = Get "/v1/users/{user}/chain", Session, Nothing => Json, 0;
    /// Who has verified an e-mail address.
    FindUser = Post "/v1/users/find", Session, Json => Json, SMALL;
    /// Invites by mail who has no account.
    Invite = Post "/v1/invitations", Session, Json => Nothing, SMALL;

    /// Shares of which the caller is a member, with their heads.
    Shares = Get "/v1/shares", Session, Nothing => Json, 0;
    /// Begins a share with its genesis record.
    CreateShare = Post "/v1/shares", Session, Cbor => Json, APPEND;
    /// One share with its head.
    Share = Get "/v1/shares/{share}", Reader, Nothing => Json, 0;
    /// Appends a record.
    Append = Post "/v1/shares/{share}/records", Reader, Cbor => Json, APPEND;
    /// Records from a place on.
    Pull = Get "/v1/shares/{share}/records", Reader, Nothing => Cbor, 0;
    /// Appends a record again that the server lost.
    Restore = Put "/v1/shares/{share}/records/{record}", Writer, Cbor => Json, APPEND;
    /// Whether a record was appended, and where.
    FindRecord = Get "/v1/shares/{share}/records/{record}", Reader, Nothing => Json, 0;
    /// Says what the caller's device has seen.
    PutReceipt = Put "/v1/shares/{share}/receipt", Reader, Cbor => Nothing, limits::STATEMENT_BYTES;
    /// How long dropped blobs stay.
    SetRetention = Put "/v1/shares/{share}/retention", Owner, Cbor => Nothing, limits::STATEMENT_BYTES;
    /// Ends a share.
    DeleteShare = Post "/v1/shares/{share}/delete", Creator, Cbor => Nothing, limits::STATEMENT_BYTES;

    /// Sends a piece of a blob.
    PutBlob = Put "/v1/shares/{share}/blobs/{blob}", Writer, Bytes => Json, limits::PACK_BYTES;
    /// How much of a blob is there.
    BlobState = Get "/v1/shares/{share}/blobs/{blob}/state", Writer, Nothing => Json, 0;
    /// A blob, or a range of it.
    Blob = Get "/v1/shares/{share}/blobs/{blob}", Reader, Nothing => Bytes, 0;
    /// Which of some blobs are not there.
    MissingBlobs = Post "/v1/shares/{share}/blobs/missing", Writer, Json => Json, limits::JSON_BYTES;
    /// Takes blobs of another share over.
    AdoptBlobs = Post "/v1/shares/{share}/blobs/adopt", Writer, Json => Json, limits::JSON_BYTES;
    /// Keeps blobs that were dropped.
    ReviveBlobs = Post "/v1/shares/{share}/blobs/revive", Writer, Json => Json, limits::JSON_BYTES;
    /// Blobs that were dropped and are still there.
    DroppedBlobs = Get "/v1/shares/{share}/dropped", Reader, Nothing => Json, 0;
    /// Ends the time of dropped blobs at once.
    PurgeBlobs = Post "/v1/shares/{share}/purge", Owner, Cbor => Json, limits::STATEMENT_BYTES;

    /// Offers a share to others, or ends that.
    Publish = Put "/v1/shares/{share}/publication", Owner, Cbor => Json, limits::STATEMENT_BYTES;
    /// What is offered to the caller.
    Publications = Get "/v1/publications", Session, Nothing => Json, 0;
    /// What an address names.
    FindPublication = Get "/v1/users/{user}/publications/{slug}", Session, Nothing => Json, 0;
    /// Asks for access.
    Request = Post "/v1/requests", Session, Cbor => Json, limits::STATEMENT_BYTES;
    /// Requests to and by the caller.
    Requests = Get "/v1/requests", Session, Nothing => Json, 0;
    /// Denies or withdraws a request.
    Decide = Post "/v1/requests/{request}/decision", Session, Cbor => Nothing, limits::STATEMENT_BYTES;

    /// Hints that something happened.
    Events = Get "/v1/events", Session, Nothing => Events, 0;

    /// Users of the server.
    AdminUsers = Get "/v1/admin/users", Auditor, Nothing => Json, 0;
    /// Sets a user's role, quota or standing.
    AdminSetUser = Patch "/v1/admin/users/{user}", Admin, Json => Nothing, SMALL;
    /// What is stored and asked.
    AdminFigures = Get "/v1/admin/figures", Auditor, Nothing => Json, 0;
    /// The audit log from a place on.
    AdminAudit = Get "/v1/admin/audit", Auditor, Nothing => Json, 0;
}

impl Route {
    /// The path with `values` in place of its parameters, in order. Ids, user names and slugs need
    /// no escaping.
    pub fn path(self, values: &[&dyn Display]) -> String {
        let mut values = values.iter();
        let parts = self.spec().path.split('/').map(|part| {
            let value = part.starts_with('{').then(|| values.next()).flatten();
            value.map_or_else(|| part.to_owned(), ToString::to_string)
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::{BlobId, ShareId};

    #[test]
    fn no_two_routes_are_called_alike() {
        let shape = |route: &Route| {
            let parts = route.spec().path.split('/');
            let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
            (
                format!("{:?}", route.spec().method),
                parts.collect::<Vec<_>>(),
            )
        };
        let shapes: BTreeSet<_> = Route::ALL.iter().map(shape).collect();
        assert_eq!(shapes.len(), Route::ALL.len());
    }

    #[test]
    fn a_route_of_a_share_names_the_share_and_no_other_does() {
        for route in Route::ALL {
            let spec = route.spec();
            let of_share = matches!(
                spec.access,
                Access::Reader | Access::Writer | Access::Owner | Access::Creator
            );
            assert_eq!(of_share, spec.path.contains("{share}"), "{route:?}");
        }
    }

    #[test]
    fn what_takes_a_body_has_a_limit_and_what_takes_none_has_none() {
        for route in Route::ALL {
            let spec = route.spec();
            assert_eq!(
                spec.request == Content::Nothing,
                spec.limit == 0,
                "{route:?}"
            );
        }
    }

    #[test]
    fn a_path_is_filled_in_order() {
        let path = Route::Blob.path(&[&ShareId([1; 32]), &BlobId([2; 32])]);
        let expected = format!("/v1/shares/{}/blobs/{}", "01".repeat(32), "02".repeat(32));
        assert_eq!(path, expected);
    }
}
