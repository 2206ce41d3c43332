//! What serves requests: which thread one runs on, and what becomes of its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nix::errno::Errno;

use super::device::Device;
use super::errno::Failure;
use super::filesystem::perform;
use super::front::Front;
use super::listeners::Listeners;
use super::receivers::{Pool, Receivers, Turn};
use super::reply::Reply;
use super::request::{Header, Manner, Refusal, Request, Unique};
use super::wire::Fields;

/// What the receiving threads of a mount share.
pub(crate) struct Adapter {
    front: Arc<Front>,
    receivers: Receivers,
    listeners: Arc<Listeners>,
    pool: Arc<Pool>,
}

impl Adapter {
    pub(crate) fn new(
        front: Arc<Front>,
        receivers: Receivers,
        listeners: Arc<Listeners>,
        pool: Arc<Pool>,
    ) -> Self {
        Self {
            front,
            receivers,
            listeners,
            pool,
        }
    }

    /// Serves the request in `message`, of which the header is taken off: here, or in the pool if it
    /// may wait. Handed over, the message is copied: that is what a free receiving thread costs.
    pub(crate) fn serve(
        &self,
        device: &Arc<Device>,
        message: &[u8],
        (header, fields): (Header, Fields<'_>),
    ) {
        let request = match Request::of(header, fields) {
            Ok(request) => request,
            Err(refusal) => return refuse(device, &header, refusal),
        };
        let manner = match request.operation.manner() {
            Manner::Promptly if request.operation.is_read() && self.front.may_fetch() => {
                Manner::Waiting
            }
            manner => manner,
        };
        match manner {
            Manner::Unnoticed => answer(&self.front, device, &request),
            Manner::Promptly => {
                self.receivers.received();
                self.front.touch();
                answer(&self.front, device, &request);
            }
            manner @ (Manner::Waiting | Manner::Long) => {
                self.front.touch();
                if manner == Manner::Long {
                    self.listeners.support();
                }
                match self.receivers.turn() {
                    Turn::Here(_stay) => answer(&self.front, device, &request),
                    Turn::HandOver => self.hand_over(device, message),
                }
            }
        }
    }

    fn hand_over(&self, device: &Arc<Device>, message: &[u8]) {
        let (front, device) = (Arc::clone(&self.front), Arc::clone(device));
        let message = message.to_vec();
        self.pool.hand_over(Box::new(move || {
            // Decoded once already.
            if let Ok((header, fields)) = Header::of(&message)
                && let Ok(request) = Request::of(header, fields)
            {
                answer(&front, &device, &request);
            }
        }));
    }
}

/// Does what is asked for and replies.
fn answer(front: &Front, device: &Device, request: &Request<'_>) {
    Reply::lent(|reply| {
        let result = outcome(front, request, reply);
        if request.operation.is_answered() {
            send(device, reply, request.header.unique, result);
        }
    });
}

/// The outcome of a request. A panic becomes `EIO`, and the mount lives on.
pub(super) fn outcome(
    front: &Front,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let (what, ino) = (request.operation.name(), request.header.ino.0);
    let performed = catch_unwind(AssertUnwindSafe(|| perform(front, request, reply)));
    performed.map_or_else(
        |_| {
            tracing::error!(what, ino, "a request panicked; it was answered with EIO");
            Err(Errno::EIO)
        },
        |outcome| outcome.map_err(|failure| errno(what, ino, failure)),
    )
}

/// The errno of a failure; damage is also logged, by ids.
fn errno(what: &'static str, ino: u64, failure: Failure) -> Errno {
    if let Some(error) = failure.damage() {
        tracing::error!(what, ino, %error, "request failed");
    }
    failure.errno()
}

fn refuse(device: &Device, header: &Header, refusal: Refusal) {
    let errno = refused(header, refusal);
    Reply::lent(|reply| send(device, reply, header.unique, Err(errno)));
}

/// The errno of a request that is answered without being looked at.
pub(super) fn refused(header: &Header, refusal: Refusal) -> Errno {
    let opcode = header.opcode;
    match refusal {
        Refusal::Malformed => tracing::error!(opcode, "a request of the kernel is malformed"),
        Refusal::Unknown => tracing::debug!(opcode, "the kernel asks for what is not known here"),
    }
    refusal.errno()
}

fn send(device: &Device, reply: &mut Reply<'_>, unique: Unique, result: Result<(), Errno>) {
    if let Err(error) = device.send(reply.message(unique, result)) {
        tracing::debug!(%error, "the kernel did not take a reply");
    }
}
