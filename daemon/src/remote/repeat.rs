//! Which calls are made again, and after how long.

use std::time::Duration;

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;

use super::RemoteError;

/// Pauses before the second and later attempts.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];
/// Longest pause that a server may ask for.
const LONGEST: u64 = 5;

/// The attempts of one call.
pub(super) struct Tries {
    route: Route,
    made: usize,
}

impl Tries {
    pub(super) fn of(route: Route) -> Self {
        Self { route, made: 0 }
    }

    /// How long to wait before the next attempt; none if there is to be no other.
    pub(super) fn pause_after(&mut self, error: &RemoteError) -> Option<Duration> {
        let pause = *PAUSES.get(self.made)?;
        self.made += 1;
        match error {
            // Nothing was sent.
            RemoteError::Unreachable { .. } => Some(pause),
            RemoteError::Broken { .. } if is_repeatable(self.route) => Some(pause),
            RemoteError::Refused {
                reply, retry_after, ..
            } if is_not_done(reply.code) => asked_for(pause, *retry_after),
            RemoteError::Status {
                status: 502..=504,
                retry_after,
                ..
            } if is_repeatable(self.route) => asked_for(pause, *retry_after),
            _ => None,
        }
    }
}

/// Whether nothing was done, and the same may be done a while later.
fn is_not_done(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::RateLimited)
}

fn asked_for(pause: Duration, retry_after: Option<u64>) -> Option<Duration> {
    match retry_after {
        None => Some(pause),
        Some(seconds @ 0..=LONGEST) => Some(pause.max(Duration::from_secs(seconds))),
        Some(_) => None,
    }
}

/// Whether a server that took the call before answers a second one as if it were the first.
fn is_repeatable(route: Route) -> bool {
    match route {
        // Another mail, another session, another count of failures, or an error the second time.
        Route::VerifyEmail
        | Route::ResendVerification
        | Route::Login
        | Route::RecoveryLogin
        | Route::Logout
        | Route::SetPassword
        | Route::RemoveDevice
        | Route::DeleteAccount
        | Route::Invite
        | Route::SetRetention
        | Route::DeleteShare
        | Route::PurgeBlobs
        | Route::BeginSecondFactor
        | Route::ConfirmSecondFactor
        | Route::EndSecondFactor
        | Route::Events => false,
        Route::Health
        | Route::Ready
        | Route::Metrics
        | Route::ServerInfo
        | Route::OpenApi
        | Route::SecondFactor
        | Route::Register
        | Route::LoginParameters
        | Route::Account
        | Route::AppendChain
        | Route::Book
        | Route::PutBook
        | Route::Pin
        | Route::PutPin
        | Route::Devices
        | Route::Chain
        | Route::FindUser
        | Route::Shares
        | Route::CreateShare
        | Route::Share
        | Route::Append
        | Route::Pull
        | Route::Restore
        | Route::FindRecord
        | Route::PutReceipt
        | Route::PutBlob
        | Route::BlobState
        | Route::Blob
        | Route::MissingBlobs
        | Route::AdoptBlobs
        | Route::ReviveBlobs
        | Route::DroppedBlobs
        | Route::Publish
        | Route::Publications
        | Route::FindPublication
        | Route::Request
        | Route::Requests
        | Route::Decide
        | Route::AdminUsers
        | Route::AdminSetUser
        | Route::AdminFigures
        | Route::AdminAudit => true,
    }
}
