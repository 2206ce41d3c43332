//! Bits of the fields called flags.

/// What a connection can do (`FUSE_INIT`).
pub(crate) mod init {
    /// Several reads of a file at a time.
    pub(crate) const ASYNC_READ: u64 = 1 << 0;
    /// Writes of more than a page.
    pub(crate) const BIG_WRITES: u64 = 1 << 5;
    /// The umask is sent, not applied.
    pub(crate) const DONT_MASK: u64 = 1 << 6;
    /// Listings with attributes.
    pub(crate) const DO_READDIRPLUS: u64 = 1 << 13;
    /// Listings with attributes only where the program asks for these.
    pub(crate) const READDIRPLUS_AUTO: u64 = 1 << 14;
    /// Several direct requests of one system call at a time.
    pub(crate) const ASYNC_DIO: u64 = 1 << 15;
    /// Lookups and listings of a directory at the same time.
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    /// The kernel checks ACLs.
    pub(crate) const POSIX_ACL: u64 = 1 << 20;
    /// Requests of up to as many pages as the reply says.
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    /// Targets of symbolic links are kept.
    pub(crate) const CACHE_SYMLINKS: u64 = 1 << 23;
    /// Cached pages are dropped only when told.
    pub(crate) const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    /// setuid, setgid and capabilities are taken away by the filesystem on changes.
    pub(crate) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    /// There is a second word of flags.
    pub(crate) const INIT_EXT: u64 = 1 << 30;
    /// Files opened for direct requests can be mapped.
    pub(crate) const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
    /// Requests come through `io_uring`.
    pub(crate) const OVER_IO_URING: u64 = 1 << 41;
}

/// What a `FUSE_SETATTR` sets.
pub(crate) mod setattr {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    /// The handle of an open file is given.
    pub(crate) const HANDLE: u32 = 1 << 6;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
}

/// How the kernel is to treat an open file.
pub(crate) mod open {
    /// Reads and writes go past the page cache.
    pub(crate) const DIRECT_IO: u32 = 1 << 0;
    /// Pages cached before stay.
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    /// A listing may be kept.
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
    /// Closing is not told of.
    pub(crate) const NOFLUSH: u32 = 1 << 5;
}
