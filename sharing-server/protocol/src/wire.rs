//! What requests and replies in JSON hold.
//!
//! Hashes and ids are lower-case hexadecimal, other bytes are base64url without padding, times are
//! seconds since 1970, and no number exceeds 2^53 - 1. A request with an unknown field is malformed;
//! a client ignores unknown fields of a reply.

mod accounts;
mod bytes;
mod requests;
mod second_factor;
mod shares;

pub use accounts::{
    AccountReply, AddressQuery, AdminFiguresReply, AdminSetUser, AdminUser, AdminUsersReply,
    AppendChain, AuditEntry, AuditHead, AuditReply, BookReply, ChainReply, Device, DevicesReply,
    Find, FoundReply, Invite, KdfParameters, Login, LoginParameters, LoginReply, PinReply, PutBook,
    PutPin, RecoveryLogin, Register, RegisterReply, SealedRoots, ServerInfoReply, SetPassword,
    Standing, VerifyEmail,
};
pub use bytes::{Base64, Key};
pub use requests::{
    Event, EventKind, PublicationItem, PublicationReply, PublicationsReply, PublishReply,
    RequestItem, RequestReply, RequestState, RequestsReply,
};
pub use second_factor::{
    BeginSecondFactor, ConfirmSecondFactor, EndSecondFactor, NewSecondFactor, RecoveryCodes,
    SecondFactorReply,
};
pub use shares::{
    AdoptBlobs, AppendReply, BlobList, BlobStateReply, DroppedBlob, DroppedReply, PullQuery,
    PutBlobQuery, RecordReply, ShareItem, SharesReply,
};

#[cfg(test)]
mod tests;
