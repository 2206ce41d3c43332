//! The memory of dirty blocks: pages go round between writers and flushers.

use std::sync::Arc;

use parking_lot::Mutex;

use super::content::Page;
use crate::layout::BLOCK_SIZE;

/// Pages given up at once beyond which their memory goes back to the system (16 MiB). The
/// allocator by itself keeps it, scattered as it is.
const WORTHWHILE: usize = 4096;
/// A commit of so many bytes of rows beside those of operations (8 MiB) takes several times as much
/// memory, which goes back to the system after it.
pub(super) const LARGE_COMMIT: usize = 8 << 20;

/// Pages that nobody uses at the moment. New ones cost an allocation and the faults of memory
/// never touched, together more than filling them.
#[derive(Default)]
pub(super) struct Pages {
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    pages: Vec<Page>,
    /// Fewest free pages since the last look: so many were not needed.
    unused: usize,
}

impl Pages {
    /// A page, filled by `fill`, which finds any bytes in it.
    pub(super) fn fill(&self, fill: impl FnOnce(&mut [u8])) -> Page {
        let mut page = self
            .take()
            .unwrap_or_else(|| Arc::from([0; BLOCK_SIZE].as_slice()));
        // Nobody else has a free page, or a new one.
        if let Some(bytes) = Arc::get_mut(&mut page) {
            fill(bytes);
            return page;
        }
        debug_assert!(false, "a free page is shared");
        let mut bytes = [0; BLOCK_SIZE];
        fill(&mut bytes);
        Arc::from(bytes.as_slice())
    }

    fn take(&self) -> Option<Page> {
        let mut free = self.free.lock();
        let page = free.pages.pop();
        free.unused = free.unused.min(free.pages.len());
        page
    }

    /// Takes pages back, as far as nobody else has them.
    pub(super) fn put_back(&self, pages: impl Iterator<Item = Page>) {
        let mut free = self.free.lock();
        for mut page in pages {
            if page.len() == BLOCK_SIZE && Arc::get_mut(&mut page).is_some() {
                free.pages.push(page);
            }
        }
    }

    /// Gives up what was not needed since the last call.
    pub(super) fn trim(&self) {
        let given_up = {
            let mut free = self.free.lock();
            let left = free.pages.len() - free.unused.min(free.pages.len());
            let given_up = free.pages.split_off(left);
            free.unused = left;
            given_up
        };
        let much = given_up.len() >= WORTHWHILE;
        drop(given_up);
        if much {
            return_to_system();
        }
    }
}

/// Gives memory that is free back to the system.
pub(super) fn return_to_system() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only releases memory that is free, and is thread-safe.
    #[allow(unsafe_code, reason = "no safe wrapper for malloc_trim(3) exists")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(pages: &Pages, byte: u8) -> Page {
        pages.fill(|bytes| bytes.fill(byte))
    }

    fn free(pages: &Pages) -> usize {
        pages.free.lock().pages.len()
    }

    #[test]
    fn a_page_put_back_is_the_next_one_taken() {
        let pages = Pages::default();
        let first = page(&pages, 1);
        let address = first.as_ptr();
        pages.put_back([first].into_iter());
        let second = page(&pages, 2);
        assert_eq!(second.as_ptr(), address);
        assert!(second.iter().all(|b| *b == 2));
    }

    #[test]
    fn a_page_that_somebody_has_is_not_taken_back() {
        let pages = Pages::default();
        let first = page(&pages, 1);
        pages.put_back([Arc::clone(&first)].into_iter());
        assert_eq!(free(&pages), 0);
        page(&pages, 2);
        assert!(first.iter().all(|b| *b == 1));
    }

    #[test]
    fn pages_not_needed_between_two_looks_are_given_up() {
        let pages = Pages::default();
        let taken: Vec<Page> = (0..8).map(|n| page(&pages, n)).collect();
        pages.put_back(taken.into_iter());
        pages.trim();
        assert_eq!(free(&pages), 8, "all eight were in use since the last look");
        let taken: Vec<Page> = (0..3).map(|n| page(&pages, n)).collect();
        pages.put_back(taken.into_iter());
        pages.trim();
        assert_eq!(free(&pages), 3);
        pages.trim();
        assert_eq!(free(&pages), 0);
    }
}
