//! The client of a sharing server: one call for each route, and every one of them ends.
//!
//! What answers is believed in nothing. It may be slow, silent, endless or malformed: every wait has
//! a deadline, every reply a size beyond which it is not read, and what is malformed is an error of
//! its own. Calls that a server takes twice without harm are repeated when they may not have arrived.

mod accounts;
mod blobs;
mod error;
pub(crate) mod events;
mod repeat;
mod server;
mod shares;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::limits;
use keyfold_protocol::routes::{Content, Method, Route};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE, RETRY_AFTER};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

pub(crate) use error::RemoteError;
pub(crate) use server::{CaFile, Server, ServerAddress};

/// Bytes of the longest reply in text, and of the longest error.
const SMALL: usize = 64 << 10;
/// Bytes of the longest session token.
const TOKEN_BYTES: usize = 512;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// Until a connection is there.
    pub(crate) connect: Duration,
    /// A whole call, with its repetitions.
    pub(crate) call: Duration,
    /// Between two pieces of a reply.
    pub(crate) idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_mins(1),
            idle: Duration::from_secs(20),
        }
    }
}

/// What proves to a server who calls. Never printed.
#[derive(Clone)]
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    /// A token as a server gave it; none where it could not be sent back.
    pub(crate) fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let fits = (1..=TOKEN_BYTES).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text))
    }

    /// The text, for sealing.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A server, as somebody who is logged in or not calls it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    http: reqwest::Client,
    address: ServerAddress,
    deadlines: Deadlines,
    authorization: Option<HeaderValue>,
}

/// A call that was made ready.
struct Call {
    route: Route,
    path: String,
    body: Vec<u8>,
    /// Of the bytes of a reply, those that are wanted.
    range: Option<std::ops::Range<usize>>,
}

/// Waits here for something to do with a server.
pub(crate) fn wait<T, E: From<RemoteError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| RemoteError::Setup(e.to_string()))?;
    let done = runtime.block_on(work);
    // Whatever waits for a name to be resolved is left to itself.
    runtime.shutdown_background();
    done
}

impl Remote {
    /// A client of `server`. Connects to nothing yet.
    pub(crate) fn new(server: &Server, deadlines: Deadlines) -> Result<Self, RemoteError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("keyfold/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(deadlines.connect)
            .read_timeout(deadlines.idle)
            .http2_max_header_list_size(SMALL as u32);
        if server.address.is_loopback() {
            // What goes to this machine goes through no other.
            builder = builder.no_proxy();
        }
        if let Some(ca) = &server.ca {
            builder = builder.tls_certs_merge(ca.certificates()?);
        }
        let http = builder.build();
        Ok(Self {
            http: http.map_err(|e| RemoteError::Setup(error::reason(&e)))?,
            address: server.address.clone(),
            deadlines,
            authorization: None,
        })
    }

    /// The same server, called with a session.
    pub(crate) fn with_session(&self, token: &Token) -> Self {
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&bearer).ok();
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        Self {
            authorization: value,
            ..self.clone()
        }
    }

    /// A call with nothing to say, answered in JSON.
    async fn get<T: DeserializeOwned>(&self, route: Route, path: String) -> Result<T, RemoteError> {
        let reply = self.call(route, path, Vec::new()).await?;
        self.read(route, &reply)
    }

    /// A call in JSON, answered in JSON.
    async fn post<T: DeserializeOwned>(
        &self,
        route: Route,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, RemoteError> {
        let reply = self.send(route, path, body).await?;
        self.read(route, &reply)
    }

    /// A call in JSON, answered with nothing that matters.
    async fn send(
        &self,
        route: Route,
        path: String,
        body: &impl Serialize,
    ) -> Result<Vec<u8>, RemoteError> {
        let body = serde_json::to_vec(body).map_err(|e| RemoteError::Setup(e.to_string()))?;
        self.call(route, path, body).await
    }

    fn read<T: DeserializeOwned>(&self, route: Route, reply: &[u8]) -> Result<T, RemoteError> {
        serde_json::from_slice(reply).map_err(|_| self.malformed(route))
    }

    fn read_cbor<T: Encoded>(&self, route: Route, reply: &[u8]) -> Result<T, RemoteError> {
        T::decode(reply).map_err(|_| self.malformed(route))
    }

    /// What came is not what this route answers.
    fn malformed(&self, route: Route) -> RemoteError {
        RemoteError::Malformed {
            server: self.address.to_string(),
            route: route.name(),
        }
    }

    /// Calls a route, again where that may help and cannot harm. Returns the body of a success.
    async fn call(
        &self,
        route: Route,
        path: String,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, RemoteError> {
        let range = None;
        let call = Call {
            route,
            path,
            body,
            range,
        };
        self.carry_out(call).await
    }

    async fn carry_out(&self, call: Call) -> Result<Vec<u8>, RemoteError> {
        let route = call.route;
        let deadline = Instant::now() + self.deadlines.call;
        let mut tries = repeat::Tries::of(route);
        loop {
            let attempt = timeout_at(deadline, self.attempt(&call)).await;
            let error = match attempt {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.timed_out(route)),
            };
            let Some(pause) = tries.pause_after(&error) else {
                return Err(error);
            };
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A request as it is sent.
    fn request_of(&self, call: &Call) -> reqwest::RequestBuilder {
        let spec = call.route.spec();
        let url = self.address.url(&call.path);
        let mut request = self.http.request(method(spec.method), url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(range) = &call.range {
            let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            request = request.header(RANGE, range);
        }
        if let Some(content) = content_type(spec.request) {
            request = request
                .header(CONTENT_TYPE, content)
                .body(call.body.clone());
        }
        request
    }

    async fn attempt(&self, call: &Call) -> Result<Vec<u8>, RemoteError> {
        let response = self.request_of(call).send().await;
        let response = response.map_err(|e| self.transport(call.route, &e))?;
        self.take(call.route, response).await
    }

    /// The body of a success, or what the server said instead.
    async fn take(
        &self,
        route: Route,
        mut response: reqwest::Response,
    ) -> Result<Vec<u8>, RemoteError> {
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let limit = if response.status().is_success() {
            reply_limit(route)
        } else {
            SMALL
        };
        let mut body = Vec::new();
        let failed = |e: &reqwest::Error| self.transport(route, e);
        while let Some(piece) = response.chunk().await.map_err(|e| failed(&e))? {
            if body.len() + piece.len() > limit {
                return Err(self.too_large(route));
            }
            body.extend_from_slice(&piece);
        }
        if response.status().is_success() {
            return Ok(body);
        }
        Err(self.refused((status, retry_after), &body))
    }

    fn refused(&self, (status, retry_after): (u16, Option<u64>), body: &[u8]) -> RemoteError {
        let server = self.address.to_string();
        match serde_json::from_slice(body) {
            Ok(reply) => RemoteError::Refused {
                server,
                reply: Box::new(reply),
                retry_after,
            },
            Err(_) => RemoteError::Status {
                server,
                status,
                retry_after,
            },
        }
    }

    fn transport(&self, route: Route, e: &reqwest::Error) -> RemoteError {
        let server = self.address.to_string();
        if e.is_connect() {
            RemoteError::Unreachable {
                server,
                why: error::reason(e),
            }
        } else if e.is_timeout() {
            self.timed_out(route)
        } else {
            RemoteError::Broken {
                server,
                why: error::reason(e),
            }
        }
    }

    fn too_large(&self, route: Route) -> RemoteError {
        RemoteError::TooLarge {
            server: self.address.to_string(),
            route: route.name(),
        }
    }

    fn timed_out(&self, route: Route) -> RemoteError {
        RemoteError::TimedOut {
            server: self.address.to_string(),
            route: route.name(),
        }
    }
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

fn content_type(content: Content) -> Option<&'static str> {
    match content {
        Content::Json => Some("application/json"),
        Content::Cbor => Some("application/cbor"),
        Content::Bytes => Some("application/octet-stream"),
        Content::Nothing | Content::Events | Content::Text => None,
    }
}

/// Bytes of the longest reply that is read.
fn reply_limit(route: Route) -> usize {
    match route.spec().reply {
        Content::Nothing | Content::Text | Content::Events => SMALL,
        Content::Json => limits::JSON_BYTES,
        Content::Cbor => keyfold_protocol::exchange::Pulled::LIMIT,
        Content::Bytes => limits::PACK_BYTES,
    }
}

/// Seconds after which the server wants to be asked again.
fn retry_after(response: &reqwest::Response) -> Option<u64> {
    let value = response.headers().get(RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok()
}
