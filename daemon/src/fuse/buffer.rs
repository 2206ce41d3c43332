//! Memory for messages of a known largest size.

const PAGE: usize = 4096;

/// Bytes whose first few are a message's head, with the data behind it at the start of a page: the
/// kernel copies page by page, and copies of whole pages are cheapest.
pub(crate) struct PageBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// Room for `head` and `data` bytes. What is not used takes no memory.
    pub(crate) fn new(head: usize, data: usize) -> Self {
        let len = head + data;
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().wrapping_add(head).align_offset(PAGE);
        Self {
            bytes,
            start: start.min(PAGE),
            len,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_begins_a_page() {
        for head in [0, 16, 80, PAGE - 1, PAGE, PAGE + 1] {
            let mut buffer = PageBuffer::new(head, 10_000);
            let bytes = buffer.bytes_mut();
            assert_eq!(bytes.len(), head + 10_000);
            assert_eq!(bytes[head..].as_ptr().align_offset(PAGE), 0);
        }
    }
}
