//! Memory for the key from which all others of a vault derive: a page of its own that is neither
//! swapped out nor part of a core file, and wiped when dropped.

#![allow(unsafe_code, reason = "mlock(2) and madvise(2) have no safe binding")]

use zeroize::Zeroize;

/// The smallest page there is; on a machine with larger ones the kernel rounds up.
const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// 32 secret bytes. Moving it leaves no copy behind.
pub(crate) struct Locked(Box<Page>);

impl Locked {
    /// All zeros. Where the system does not let this user lock memory, the key is kept all the
    /// same: swapping is then for the system to forbid.
    pub(crate) fn zeroed() -> Self {
        let page = Box::new(Page([0; PAGE]));
        let start = (&raw const *page).cast::<libc::c_void>();
        // SAFETY: the range is that of a living allocation; neither call reads or writes it.
        unsafe {
            libc::mlock(start, PAGE);
            libc::madvise(start.cast_mut(), PAGE, libc::MADV_DONTDUMP);
        }
        Self(page)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        self.0.0.first_chunk().expect("a page is longer")
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        self.0.0.first_chunk_mut().expect("a page is longer")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        let start = (&raw const *self.0).cast::<libc::c_void>();
        // SAFETY: as in `zeroed`; the page is this key's alone, so no other lock is undone.
        unsafe {
            libc::madvise(start.cast_mut(), PAGE, libc::MADV_DODUMP);
            libc::munlock(start, PAGE);
        }
    }
}
