//! Answers.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use keyfold_protocol::error_code::{ErrorCode, ErrorReply};
use serde::Serialize;

use crate::service::recovery::Letter;
use crate::service::{Failure, Outcome, explain};

/// What comes of a call.
pub(super) enum Reply {
    Nothing,
    Json(Vec<u8>),
    Cbor(Vec<u8>),
    Text(String),
    /// Refused, though what the transaction noted is to be kept.
    Refused(Failure),
    /// With a mail to be sent once the transaction is committed.
    Mailed(Box<Reply>, Option<Letter>),
    Response(Box<Response>),
}

impl Reply {
    pub(super) fn json(value: &impl Serialize) -> Outcome<Self> {
        let bytes = serde_json::to_vec(value);
        bytes
            .map(Self::Json)
            .map_err(|error| Failure::Internal(format!("a reply: {error}")))
    }

    /// A result whose refusal is to be kept with what the transaction noted.
    pub(super) fn noted(result: Outcome<Self>) -> Self {
        result.unwrap_or_else(Self::Refused)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Nothing => guarded(StatusCode::NO_CONTENT.into_response()),
            Self::Json(bytes) => typed("application/json", bytes),
            Self::Cbor(bytes) => typed("application/cbor", bytes),
            Self::Text(text) => typed("text/plain; charset=utf-8", text.into_bytes()),
            Self::Refused(failure) => refusal(&failure),
            Self::Mailed(reply, _) => reply.into_response(),
            Self::Response(response) => guarded(*response),
        }
    }
}

fn typed(content: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content))];
    guarded((headers, bytes).into_response())
}

/// What every answer carries.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to what was not done.
pub(super) fn refusal(failure: &Failure) -> Response {
    let plain = |code| ErrorReply::new(code, explain(code));
    let (reply, retry) = match failure {
        Failure::Refused(reply) => ((**reply).clone(), None),
        Failure::TooOften(seconds) => (plain(ErrorCode::RateLimited), Some(*seconds)),
        Failure::Internal(_) => (plain(ErrorCode::Internal), None),
        Failure::Unavailable => (plain(ErrorCode::Unavailable), Some(5)),
    };
    let bytes = serde_json::to_vec(&reply).unwrap_or_default();
    let mut response = typed("application/json", bytes);
    let status = StatusCode::from_u16(reply.code.status());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
