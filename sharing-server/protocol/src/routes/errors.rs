//! The errors that each route may answer with.

use super::{Access, Content, Route};
use crate::error_code::ErrorCode;

/// Every route.
const ALWAYS: [ErrorCode; 8] = [
    ErrorCode::Malformed,
    ErrorCode::Unauthenticated,
    ErrorCode::MethodNotAllowed,
    ErrorCode::TooLarge,
    ErrorCode::WrongContentType,
    ErrorCode::RateLimited,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
];

impl Route {
    /// What the route answers beside what all of its kind do.
    pub const fn own_errors(self) -> &'static [ErrorCode] {
        use ErrorCode as E;
        match self {
            Self::Register => &[
                E::UserTaken,
                E::BadSignature,
                E::UnknownVersion,
                E::Forbidden,
            ],
            Self::VerifyEmail => &[E::Expired],
            Self::Login | Self::RecoveryLogin => &[
                E::WrongCredentials,
                E::SecondFactor,
                E::EmailUnverified,
                E::AccountDisabled,
            ],
            Self::BeginSecondFactor => &[E::WrongCredentials, E::Conflict],
            Self::ConfirmSecondFactor => &[E::SecondFactor, E::Conflict],
            Self::EndSecondFactor => &[E::WrongCredentials, E::SecondFactor, E::Conflict],
            Self::SetPassword => &[E::WrongCredentials],
            Self::AppendChain => &[E::BadSignature, E::UnknownVersion, E::Conflict],
            Self::PutBook => &[E::Conflict],
            Self::PutPin => &[E::Conflict, E::QuotaExceeded],
            Self::FindUser => &[E::NotFound],
            Self::DeleteAccount | Self::SetRetention | Self::DeleteShare | Self::PurgeBlobs => {
                &[E::BadSignature, E::Expired]
            }
            Self::CreateShare => &[
                E::BadSignature,
                E::NotApplicable,
                E::QuotaExceeded,
                E::NotFound,
            ],
            Self::Append => &[
                E::HeadMoved,
                E::BlobMissing,
                E::BadSignature,
                E::NotApplicable,
                E::QuotaExceeded,
            ],
            Self::Restore => &[
                E::HeadMoved,
                E::BadSignature,
                E::NotApplicable,
                E::QuotaExceeded,
            ],
            Self::PutReceipt | Self::Publish => &[E::BadSignature, E::Conflict],
            Self::PutBlob => &[E::WrongOffset, E::BlobMismatch, E::QuotaExceeded],
            Self::Blob => &[E::BadRange],
            Self::AdoptBlobs => &[E::QuotaExceeded],
            Self::Request => &[E::BadSignature, E::Ended, E::Expired, E::NotFound],
            Self::Decide => &[E::BadSignature, E::Ended, E::Forbidden],
            _ => &[],
        }
    }

    /// Everything that the route may answer when it does not succeed.
    pub fn errors(self) -> Vec<ErrorCode> {
        let spec = self.spec();
        let mut all = ALWAYS.to_vec();
        if spec.access != Access::Anyone {
            all.extend([ErrorCode::AccountDisabled, ErrorCode::EmailUnverified]);
        }
        if !matches!(spec.access, Access::Anyone | Access::Session) {
            all.push(ErrorCode::Forbidden);
        }
        if spec.path.contains('{') {
            all.push(ErrorCode::NotFound);
        }
        if spec.request == Content::Cbor {
            all.push(ErrorCode::UnknownVersion);
        }
        all.extend(self.own_errors());
        all.sort_unstable_by_key(|code| (code.status(), code.text()));
        all.dedup();
        all
    }
}
