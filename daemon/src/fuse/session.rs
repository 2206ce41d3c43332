//! The threads that receive a mount's requests.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::adapter::Adapter;
use super::attach::Attachment;
use super::buffer::PageBuffer;
use super::device::{Device, Received, Waiting};
use super::listeners::{Listeners, Polled, Polling};
use super::request::{DATA_MAX, Header};
use super::ring::Serving;
use super::wire::{IN_HEADER, Malformed, WRITE_IN};

/// What the receiving threads share.
struct Session {
    adapter: Adapter,
    listeners: Arc<Listeners>,
    /// A descriptor that never waits, for a lone listener.
    polled: Option<Arc<Device>>,
}

/// A mount whose connection is open.
pub(crate) struct Opened {
    pub(crate) device: Arc<Device>,
    pub(crate) attachment: Attachment,
    /// Where most requests come from, if not from the device.
    pub(crate) ring: Option<Serving>,
}

/// Serves the kernel's requests on `threads` threads, until it closes the connection.
pub(crate) fn start(
    opened: Opened,
    adapter: Adapter,
    listeners: &Arc<Listeners>,
    threads: usize,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let Opened {
        device,
        attachment,
        ring,
    } = opened;
    let session = Arc::new(Session {
        adapter,
        listeners: Arc::clone(listeners),
        polled: device.another(Waiting::Never).ok().map(Arc::new),
    });
    let mut receivers = Vec::with_capacity(threads);
    for n in 1..threads {
        receivers.push(receiver(n, own_device(&device), &session)?);
    }
    receivers.push(receiver(0, device, &session)?);
    drop(session);
    thread::Builder::new()
        .name("keyfold-session".to_owned())
        .spawn(move || {
            let ended = ring.map_or(Ok(()), Serving::attend);
            let ends = receivers.into_iter().map(|receiver| {
                let panicked = |_| Err(io::Error::other("a receiving thread panicked"));
                receiver.join().unwrap_or_else(panicked)
            });
            // Every thread has ended before the first failure is told.
            let ended = ends.fold(ended, Result::and);
            attachment.end();
            ended
        })
}

/// A descriptor for one more thread. An ordinary user may be kept from the device and still have been
/// given a connection by the helper; the threads then share it.
fn own_device(device: &Arc<Device>) -> Arc<Device> {
    device.another(Waiting::Always).map_or_else(
        |error| {
            tracing::debug!(%error, "receiving threads share a descriptor");
            Arc::clone(device)
        },
        Arc::new,
    )
}

fn receiver(
    n: usize,
    device: Arc<Device>,
    session: &Arc<Session>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let session = Arc::clone(session);
    thread::Builder::new()
        .name(format!("keyfold-fuse-{n}"))
        .spawn(move || session.receive(&device))
}

impl Session {
    fn receive(&self, own: &Arc<Device>) -> io::Result<()> {
        let mut buffer = PageBuffer::new(IN_HEADER + WRITE_IN, DATA_MAX as usize);
        let buffer = buffer.bytes_mut();
        let mut polling = Polling::default();
        // Whether a program waited for the last reply.
        let mut waited = false;
        loop {
            let polled = match &self.polled {
                Some(device) if self.listeners.is_lone() => {
                    (device, polling.poll(|| device.receive(buffer))?)
                }
                _ => (own, Polled::Nothing),
            };
            let (device, len, at_once) = match polled {
                (device, Polled::AtOnce(len)) => (device, len, true),
                (device, Polled::Soon(len)) => (device, len, false),
                (_, Polled::Closed) => return Ok(()),
                (_, Polled::Nothing) => match own.receive(buffer)? {
                    Received::Request(len) => (own, len, false),
                    Received::Nothing => continue,
                    Received::Closed => return Ok(()),
                },
            };
            let message = &buffer[..len];
            let (header, fields) =
                Header::of(message).map_err(|Malformed| io::ErrorKind::InvalidData)?;
            // The kernel asks on its own behalf as process 0.
            let waits = header.asker.pid != 0;
            if at_once && waited && waits {
                self.listeners.support();
            }
            waited = waits;
            self.listeners
                .serve(|| self.adapter.serve(device, message, (header, fields)));
        }
    }
}
