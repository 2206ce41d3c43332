//! Content of files, in cells of sixteen bytes that each say which act wrote them.

use std::collections::BTreeSet;

/// Bytes of a cell.
pub(crate) const CELL: usize = 16;

/// What one act writes: nothing else is ever like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// So many cells of a token.
pub(crate) fn written(token: Token, cells: usize) -> Vec<u8> {
    format!("T{:014x}\n", token.0).into_bytes().repeat(cells)
}

/// The tokens in a content; panics where it is no content of cells. Cells of zeros are holes.
#[track_caller]
pub(crate) fn tokens(content: &[u8], of: &str) -> BTreeSet<Token> {
    let (cells, rest) = content.as_chunks::<CELL>();
    assert!(rest.is_empty(), "{of} is {} bytes long", content.len());
    let cells = cells.iter().filter(|cell| **cell != [0; CELL]);
    cells.map(|cell| token(cell, of)).collect()
}

#[track_caller]
fn token(cell: &[u8; CELL], of: &str) -> Token {
    let text = std::str::from_utf8(cell).ok();
    let digits = text.and_then(|text| text.strip_prefix('T')?.strip_suffix('\n'));
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Token(number.unwrap_or_else(|| panic!("{of} has bytes that nobody wrote: {cell:?}")))
}
