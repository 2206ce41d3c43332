//! The format is what `docs/format.md` says it is: every layout printed from fixed values, the
//! database as it is made, and hashes recomputed from nothing but the document.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "format_golden/database.rs"]
mod database;
#[path = "format_golden/document.rs"]
mod document;
#[path = "format_golden/layouts.rs"]
mod layouts;
#[path = "format_golden/shares.rs"]
mod shares;
#[path = "format_golden/superblock.rs"]
mod superblock;

#[test]
fn the_document_shows_every_layout_as_it_is_written() {
    document::compare(&layouts::sections());
    document::compare(&shares::sections());
}

#[test]
fn the_document_shows_the_database_as_it_is_made() {
    document::compare(&database::sections());
}

#[test]
fn the_document_shows_nothing_that_no_test_prints() {
    let known: Vec<_> = layouts::sections()
        .into_iter()
        .chain(shares::sections())
        .chain(database::sections())
        .map(|(name, _)| name)
        .collect();
    for name in document::names() {
        assert!(known.contains(&name), "nothing prints the block {name}");
    }
}

#[test]
fn the_documents_name_every_label_and_no_other() {
    let mut labels = document::labels(include_str!("../crypto/src/schedule.rs"), '"');
    let mut documented = document::labels(document::TEXT, '`');
    documented.extend(document::labels(document::PROTOCOL, '`'));
    assert!(labels.len() > 10, "{labels:?}");
    labels.sort_unstable();
    documented.sort_unstable();
    documented.dedup();
    assert_eq!(documented, labels);
}
