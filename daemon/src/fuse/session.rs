//! The threads that receive a mount's requests.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::adapter::Adapter;
use super::attach::Attachment;
use super::buffer::PageBuffer;
use super::device::Device;
use super::request::DATA_MAX;
use super::wire::{IN_HEADER, Malformed, WRITE_IN};

/// Serves the kernel's requests on `threads` threads, until it closes the connection.
pub(crate) fn start(
    device: Device,
    adapter: Adapter,
    threads: usize,
    attachment: Attachment,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let (device, adapter) = (Arc::new(device), Arc::new(adapter));
    let mut receivers = Vec::with_capacity(threads);
    for n in 1..threads {
        receivers.push(receiver(n, own_device(&device), &adapter)?);
    }
    receivers.push(receiver(0, device, &adapter)?);
    thread::Builder::new()
        .name("keyfold-session".to_owned())
        .spawn(move || {
            let ends = receivers.into_iter().map(|receiver| {
                let panicked = |_| Err(io::Error::other("a receiving thread panicked"));
                receiver.join().unwrap_or_else(panicked)
            });
            // Every thread has ended before the first failure is told.
            let ended = ends.fold(Ok(()), Result::and);
            attachment.end();
            ended
        })
}

/// A descriptor for one more thread. An ordinary user may be kept from the device and still have been
/// given a connection by the helper; the threads then share it.
fn own_device(device: &Arc<Device>) -> Arc<Device> {
    device.another().map_or_else(
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
    adapter: &Arc<Adapter>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let adapter = Arc::clone(adapter);
    thread::Builder::new()
        .name(format!("keyfold-fuse-{n}"))
        .spawn(move || receive(&device, &adapter))
}

fn receive(device: &Arc<Device>, adapter: &Adapter) -> io::Result<()> {
    let mut buffer = PageBuffer::new(IN_HEADER + WRITE_IN, DATA_MAX as usize);
    let buffer = buffer.bytes_mut();
    while let Some(len) = device.receive(buffer)? {
        adapter
            .serve(device, &buffer[..len])
            .map_err(|Malformed| io::ErrorKind::InvalidData)?;
    }
    Ok(())
}
