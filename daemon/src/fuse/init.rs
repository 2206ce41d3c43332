//! The first exchange of a connection: kernel and front end agree on how they talk.

use std::io;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use super::device::{Device, Received};
use super::request::{DATA_MAX, Header};
use super::wire::flag::init;
use super::wire::{Fields, MAJOR, MINOR, Malformed, OUT_HEADER, Record, opcode};

/// Most background requests (read-ahead, direct I/O) at a time.
const MAX_BACKGROUND: u16 = 64;
/// Precision of times, in nanoseconds.
const TIME_GRANULARITY: u32 = 1;
/// The smallest buffer the kernel puts up with before a size is agreed on.
const BUFFER: usize = 8192;
/// No machine has larger pages.
const LARGEST_PAGE: u32 = 64 << 10;
/// Bytes of `fuse_init_out`.
const INIT_OUT: usize = 64;

/// What is asked of the kernel; what it does not offer is done without.
///
/// Deliberately absent: `WRITEBACK_CACHE` (the kernel would own sizes and times, and hide a full
/// disk), `POSIX_LOCKS` and `FLOCK_LOCKS` (the kernel handles both by itself), `ATOMIC_O_TRUNC` (a
/// running program opened with `O_RDONLY | O_TRUNC` would be emptied before the kernel refuses),
/// `SETXATTR_EXT` (see `acl.rs`).
const WANTED: u64 = init::ASYNC_READ
    | init::BIG_WRITES
    | init::DONT_MASK
    | init::DO_READDIRPLUS
    | init::READDIRPLUS_AUTO
    | init::ASYNC_DIO
    | init::PARALLEL_DIROPS
    | init::POSIX_ACL
    | init::MAX_PAGES
    | init::CACHE_SYMLINKS
    | init::EXPLICIT_INVAL_DATA
    | init::HANDLE_KILLPRIV_V2
    | init::INIT_EXT
    | init::DIRECT_IO_ALLOW_MMAP;

/// What the volume's semantics rest on. A kernel that offers these speaks minor version 26 at least,
/// and since version 23 the structures used here are as they are now.
const NEEDED: u64 = init::DONT_MASK | init::POSIX_ACL;

/// What the kernel offers (`fuse_init_in`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    major: u32,
    minor: u32,
    max_readahead: u32,
    flags: u64,
}

impl Offer {
    fn of(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let f = &mut fields;
        let (major, minor) = (f.u32()?, f.u32()?);
        let (max_readahead, low) = (f.u32()?, f.u32()?);
        // Kernels without a second word of flags end here.
        let high = f.u32().unwrap_or(0);
        let flags = match u64::from(low) {
            low if low & init::INIT_EXT == 0 => low,
            low => low | u64::from(high) << 32,
        };
        Ok(Self {
            major,
            minor,
            max_readahead,
            flags,
        })
    }

    fn answer(self) -> Answer {
        if self.major > MAJOR {
            Answer::Version
        } else if self.major == MAJOR && self.flags & NEEDED == NEEDED {
            Answer::Agreed
        } else {
            Answer::Refused
        }
    }
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// They are read from the device.
    Device,
    /// Through `io_uring`; see `ring`.
    Ring,
}

impl Transport {
    /// The ring if there is one.
    pub(crate) fn of<T>(ring: Option<&T>) -> Self {
        ring.map_or(Self::Device, |_| Self::Ring)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Our version, upon which a newer kernel asks again in its words.
    Version,
    Agreed,
    Refused,
}

/// Agrees with the kernel. Fails where it lacks what the volume's semantics rest on. Where it offers
/// requests through the ring, `transport` says whether they are to come that way.
pub(crate) fn negotiate(device: &Device, transport: impl FnOnce() -> Transport) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = match device.receive(&mut buffer)? {
            Received::Request(len) => len,
            Received::Nothing => continue,
            Received::Closed => return Err(io::ErrorKind::NotConnected.into()),
        };
        let (header, offer) = Header::of(&buffer[..len])
            .and_then(|(header, fields)| Ok((header, Offer::of(fields)?)))
            .map_err(|Malformed| io::ErrorKind::InvalidData)?;
        if header.opcode != opcode::INIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut reply = [0; OUT_HEADER + INIT_OUT];
        let (head, body) = reply.split_at_mut(OUT_HEADER);
        let mut head = |len: usize, error: i32| {
            Record::new(head)
                .u32(len as u32)
                .u32(error.cast_unsigned())
                .u64(header.unique.0);
        };
        match offer.answer() {
            Answer::Version => {
                head(OUT_HEADER + INIT_OUT, 0);
                Record::new(body).u32(MAJOR).u32(MINOR).zeros();
                device.send(&reply)?;
            }
            Answer::Agreed => {
                head(OUT_HEADER + INIT_OUT, 0);
                let offers_ring = offer.flags & init::OVER_IO_URING != 0;
                let transport = if offers_ring {
                    transport()
                } else {
                    Transport::Device
                };
                put(body, offer, transport);
                return device.send(&reply);
            }
            Answer::Refused => {
                head(OUT_HEADER, -(Errno::EPROTO as i32));
                device.send(&reply[..OUT_HEADER])?;
                tracing::error!(?offer, "the kernel's FUSE is too old");
                return Err(Errno::EPROTO.into());
            }
        }
    }
}

/// `fuse_init_out`.
fn put(out: &mut [u8], offer: Offer, transport: Transport) {
    let wanted = match transport {
        Transport::Device => WANTED,
        Transport::Ring => WANTED | init::OVER_IO_URING,
    };
    let flags = wanted & offer.flags;
    let missing = wanted & !offer.flags;
    tracing::debug!(
        minor = offer.minor,
        flags,
        missing,
        "agreed with the kernel"
    );
    Record::new(out)
        .u32(MAJOR)
        .u32(MINOR)
        .u32(offer.max_readahead)
        .u32(flags as u32)
        .u16(MAX_BACKGROUND)
        .u16(MAX_BACKGROUND / 4 * 3)
        .u32(DATA_MAX)
        .u32(TIME_GRANULARITY)
        .u16(max_pages())
        .u16(0)
        .u32((flags >> 32) as u32)
        .zeros();
}

/// Pages of the largest request.
fn max_pages() -> u16 {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u32::try_from(page).ok());
    DATA_MAX
        .checked_div(page.unwrap_or(LARGEST_PAGE))
        .and_then(|pages| u16::try_from(pages).ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(minor: u32, flags: u64) -> Offer {
        let mut bytes = [0; 64];
        Record::new(&mut bytes)
            .u32(7)
            .u32(minor)
            .u32(131_072)
            .u32(flags as u32)
            .u32((flags >> 32) as u32)
            .zeros();
        Offer::of(Fields::new(&bytes)).unwrap()
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
    }

    #[test]
    fn what_is_offered_and_wanted_is_agreed_on_and_nothing_else() {
        let offer = offered(44, !init::ASYNC_DIO);
        assert_eq!(offer.answer(), Answer::Agreed);
        let mut out = [0xff; INIT_OUT];
        let flags = |out: &[u8]| u64::from(u32_at(out, 12)) | u64::from(u32_at(out, 32)) << 32;
        put(&mut out, offer, Transport::Ring);
        assert_eq!(flags(&out), WANTED & !init::ASYNC_DIO | init::OVER_IO_URING);
        put(&mut out, offer, Transport::Device);
        assert_eq!(flags(&out), WANTED & !init::ASYNC_DIO);
        assert_eq!((u32_at(&out, 0), u32_at(&out, 4)), (7, 40));
        assert_eq!(u32_at(&out, 8), 131_072);
        assert_eq!((u16_at(&out, 16), u16_at(&out, 18)), (64, 48));
        assert_eq!((u32_at(&out, 20), u32_at(&out, 24)), (1 << 20, 1));
        assert_eq!(u16_at(&out, 28), max_pages());
        assert_eq!(u16_at(&out, 30), 0);
        assert_eq!(out[36..], [0; 28]);
    }

    #[test]
    fn a_second_word_of_flags_counts_only_where_it_is_announced() {
        let flags = NEEDED | init::DIRECT_IO_ALLOW_MMAP;
        assert_eq!(offered(31, flags).flags, NEEDED);
        let flags = flags | init::INIT_EXT;
        assert_eq!(offered(36, flags).flags, flags);
        let short = [[7, 0, 0, 0], [31, 0, 0, 0], [0; 4], [255; 4]].concat();
        assert_eq!(
            Offer::of(Fields::new(&short)).unwrap().flags,
            u64::from(u32::MAX)
        );
        assert_eq!(Offer::of(Fields::new(&short[..15])), Err(Malformed));
    }

    #[test]
    fn a_kernel_without_what_is_needed_is_refused_and_a_newer_one_is_told_the_version() {
        assert_eq!(
            offered(23, NEEDED & !init::POSIX_ACL).answer(),
            Answer::Refused
        );
        let newer = Offer {
            major: 8,
            ..offered(0, 0)
        };
        assert_eq!(newer.answer(), Answer::Version);
        let older = Offer {
            major: 6,
            ..offered(30, u64::MAX)
        };
        assert_eq!(older.answer(), Answer::Refused);
    }
}
