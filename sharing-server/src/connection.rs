//! Connections: how many there may be, and how long the other side may let the server wait.
//!
//! Three things a client can hold back are bounded here: its first bytes, by which the version of
//! HTTP is known; heads of requests; and taking the bytes of replies. Bodies are bounded where they
//! are read, TLS handshakes by the acceptor within.

use std::future::Future as _;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::{Address, Server};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::cap::{Cap, Place};
use crate::config::Config;
use crate::service::login::Origin;

/// Bytes after which the version of HTTP is known, whatever they are: the preface of HTTP/2.
const PREFACE: usize = 24;
/// Bytes of heads and bodies that one connection has in memory, unread.
const BUFFER: usize = 128 << 10;
/// Bytes of all headers of a request over HTTP/2.
const HEADERS: u32 = 32 << 10;
/// Requests at one time over one connection of HTTP/2.
const REQUESTS: u32 = 64;

/// How long a client may let the server wait.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    silence: Duration,
}

/// Lets connections in while there is room for them.
#[derive(Clone)]
pub(crate) struct Door<A> {
    within: A,
    cap: Cap,
    patience: Patience,
}

/// Puts the limits of a configuration on a server.
pub(crate) fn limit<A: Address, B>(
    server: Server<A, B>,
    config: &Config,
    cap: &Cap,
) -> Server<A, Door<B>> {
    let patience = Patience {
        head: Duration::from_secs(config.head_seconds),
        silence: Duration::from_secs(config.silence_seconds),
    };
    let mut server = server.map(|within| Door {
        within,
        cap: cap.clone(),
        patience,
    });
    let builder = server.http_builder();
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new());
    http1.header_read_timeout(patience.head);
    http1.max_buf_size(BUFFER);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new());
    http2.keep_alive_interval(patience.silence);
    http2.keep_alive_timeout(patience.silence);
    http2.max_header_list_size(HEADERS);
    http2.max_concurrent_streams(REQUESTS);
    server
}

impl<A, S> Accept<TcpStream, S> for Door<A>
where
    A: Accept<Guarded, S, Future: Send + 'static>,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let address = stream.peer_addr().map(|address: SocketAddr| address.ip());
        let place = address.map(|address| self.cap.take(&Origin::of(address).0));
        match place {
            Ok(Ok(place)) => {
                let guarded = Guarded::new(stream, place, self.patience);
                Box::pin(self.within.accept(guarded, service))
            }
            Ok(Err(_)) => Box::pin(std::future::ready(Err(ErrorKind::ConnectionRefused.into()))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// A connection that ends when its client is silent where it should speak, and that gives its place
/// back.
pub(crate) struct Guarded {
    stream: TcpStream,
    _place: Place,
    silence: Duration,
    /// Bytes that are to come before `first` is over.
    awaited: usize,
    first: Pin<Box<Sleep>>,
    /// While bytes of a reply are not taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(stream: TcpStream, place: Place, patience: Patience) -> Self {
        Self {
            stream,
            _place: place,
            silence: patience.silence,
            awaited: PREFACE,
            first: Box::pin(sleep(patience.head)),
            stalled: None,
        }
    }

    /// What became of sending: it is over when nothing was taken for too long.
    fn sent<T>(&mut self, cx: &mut Context<'_>, sent: Poll<Result<T>>) -> Poll<Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let until = Instant::now() + self.silence;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.awaited == 0 {
            return read;
        }
        if read.is_ready() {
            let came = buffer.filled().len() - before;
            self.awaited = self.awaited.saturating_sub(came);
            return read;
        }
        ready!(self.first.as_mut().poll(cx));
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
