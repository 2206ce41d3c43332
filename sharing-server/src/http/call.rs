//! A request, taken apart.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, RawPathParams};
use axum::http::{HeaderMap, Uri};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ShareId;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::service::access::Caller;
use crate::service::login::Origin;
use crate::service::{Failure, Outcome, require};

/// Bytes that come in a second from the slowest client that is waited for.
const SLOWEST: usize = 16 << 10;

/// The parameters of a path, by name.
#[derive(Debug, Clone)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn new(params: &RawPathParams) -> Self {
        let owned = params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(owned.collect())
    }

    /// What is no id names nothing.
    pub(super) fn get<T: FromStr>(&self, name: &str) -> Outcome<T> {
        let found = self.0.iter().find(|(known, _)| known == name);
        let parsed = found.and_then(|(_, value)| value.parse().ok());
        Ok(parsed.ok_or(ErrorCode::NotFound)?)
    }

    pub(super) fn share(&self) -> Outcome<ShareId> {
        self.get("share")
    }
}

/// A request whose access was checked.
pub(super) struct Call {
    pub(super) caller: Option<Caller>,
    pub(super) origin: Origin,
    pub(super) params: Params,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn caller(&self) -> Outcome<&Caller> {
        Ok(self.caller.as_ref().ok_or(ErrorCode::Unauthenticated)?)
    }

    /// What the body says: an object, though a list of its values could be read as one, too.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Outcome<T> {
        let object = self.body.trim_ascii_start().starts_with(b"{");
        require(object, ErrorCode::Malformed)?;
        serde_json::from_slice(&self.body).map_err(|_| ErrorCode::Malformed.into())
    }

    pub(super) fn query<T: DeserializeOwned>(&self) -> Outcome<T> {
        let uri = Uri::builder()
            .path_and_query(format!("/?{}", self.query))
            .build();
        let uri = uri.map_err(|_| Failure::from(ErrorCode::Malformed))?;
        let query = Query::try_from_uri(&uri).map_err(|_| Failure::from(ErrorCode::Malformed))?;
        Ok(query.0)
    }

    /// A number in the query, which has nothing else.
    pub(super) fn number(&self, name: &str) -> Outcome<Option<u64>> {
        let pairs: Vec<(String, u64)> = self.query()?;
        match &pairs[..] {
            [] => Ok(None),
            [(known, number)] if known == name => Ok(Some(*number)),
            _ => Err(ErrorCode::Malformed.into()),
        }
    }
}

/// All of a body, if it is no longer than `limit`.
pub(super) async fn collect(body: Body, limit: usize, silence: Duration) -> Outcome<Bytes> {
    match receive(body, limit, silence).await {
        (bytes, Received::All) => Ok(bytes),
        (_, Received::TooMuch) => Err(ErrorCode::TooLarge.into()),
        (_, Received::Broken) => Err(ErrorCode::Malformed.into()),
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    All,
    /// There is more than `limit`.
    TooMuch,
    /// The connection ended, went silent or was too slow before the body ended.
    Broken,
}

/// What came of a body, at most `limit` bytes. Neither are the next bytes waited for longer than
/// `silence`, nor all of them for longer than a slow client needs for `limit`.
pub(super) async fn receive(body: Body, limit: usize, silence: Duration) -> (Bytes, Received) {
    let end = Instant::now() + silence + Duration::from_secs((limit / SLOWEST) as u64);
    let mut stream = body.into_data_stream();
    let mut all = BytesMut::new();
    loop {
        let until = end.min(Instant::now() + silence);
        match timeout_at(until, stream.next()).await {
            Ok(None) => return (all.freeze(), Received::All),
            Ok(Some(Ok(part))) if all.len() + part.len() > limit => {
                return (all.freeze(), Received::TooMuch);
            }
            Ok(Some(Ok(part))) => all.extend_from_slice(&part),
            Ok(Some(Err(_))) | Err(_) => return (all.freeze(), Received::Broken),
        }
    }
}
