//! Damage to segments, and what is said of it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use keyfold_fs::check::{CheckState, FindingKind as Kind, ReadData};

use crate::bench::{Bench, assert_found, assert_intact};

fn flip(bench: &Bench, at: u64) {
    let segment = OpenOptions::new()
        .read(true)
        .write(true)
        .open(bench.segment())
        .unwrap();
    let mut byte = [0];
    segment.read_exact_at(&mut byte, at).unwrap();
    segment.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_new_volume_is_intact() {
    let report = Bench::new().check(ReadData::Yes);
    assert_intact(&report, "new");
    assert_eq!(report.state, CheckState::Intact);
    let counts = report.counts;
    let found = (counts.inodes, counts.directories, counts.files);
    assert_eq!(found, (1, 1, 0));
    assert_eq!((counts.blocks, counts.bytes, counts.segments), (0, 0, 0));
}

#[test]
fn figures_are_those_of_what_is_stored() {
    let (bench, _) = Bench::with_letter();
    let report = bench.check(ReadData::Yes);
    assert_intact(&report, "two files");
    let counts = report.counts;
    let found = (counts.inodes, counts.directories, counts.files);
    assert_eq!(found, (4, 2, 2));
    assert_eq!(counts.blocks, 13);
    assert_eq!(counts.blocks_read, 13);
    assert_eq!(counts.bytes, 13 * 4096 - 5);
    assert_eq!(counts.segments, 1);
    let plain = bench.check(ReadData::No);
    assert_eq!(plain.counts.blocks_read, 0);
}

#[test]
fn a_flipped_bit_is_found_by_reading_and_its_file_named() {
    let (mut bench, letter) = Bench::with_letter();
    let report = bench.check_after(ReadData::Yes, |b| flip(b, 3 * 4096 + 77));
    assert_eq!(report.state, CheckState::Damaged);
    assert_eq!(report.findings.len(), 1, "{report}");
    let finding = &report.findings[0];
    assert_eq!(finding.kind, Kind::BlockTampered);
    assert_eq!(finding.inode, Some(letter.0));
    assert_eq!(finding.block, Some(3));
    let path = finding.path.as_ref().unwrap();
    assert_eq!((&*path.text, &path.hex), ("/docs/letter", &None));
    assert_intact(&bench.check(ReadData::No), "without reading data");
}

#[test]
fn a_zeroed_block_and_two_exchanged_ones_are_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = bench.check_after(ReadData::Yes, |b| {
        let segment = OpenOptions::new()
            .read(true)
            .write(true)
            .open(b.segment())
            .unwrap();
        segment.write_all_at(&[0; 4096], 9 * 4096).unwrap();
        let (mut one, mut two) = ([0; 4096], [0; 4096]);
        segment.read_exact_at(&mut one, 4096).unwrap();
        segment.read_exact_at(&mut two, 2 * 4096).unwrap();
        segment.write_all_at(&two, 4096).unwrap();
        segment.write_all_at(&one, 2 * 4096).unwrap();
    });
    assert_eq!(report.findings.len(), 1, "{report}");
    let finding = &report.findings[0];
    assert_eq!(finding.kind, Kind::BlockTampered);
    assert_eq!((finding.inode, finding.block), (Some(letter.0), Some(1)));
    assert!(finding.detail.starts_with("3 of its blocks"), "{report}");
}

#[test]
fn a_shortened_segment_is_found_and_its_files_named() {
    let (mut bench, letter) = Bench::with_letter();
    for read_data in [ReadData::No, ReadData::Yes] {
        let report = bench.check_after(read_data, |b| {
            let segment = OpenOptions::new().write(true).open(b.segment()).unwrap();
            segment.set_len(8 * 4096).unwrap();
        });
        assert_found(&report, Kind::SegmentShort);
        let missing: Vec<_> = report
            .findings
            .iter()
            .filter(|f| f.kind == Kind::BlockMissing)
            .collect();
        assert_eq!(missing.len(), 2, "{report}");
        let of_letter = missing.iter().find(|f| f.inode == Some(letter.0)).unwrap();
        assert_eq!(of_letter.block, Some(8));
        assert!(of_letter.detail.starts_with("2 of its blocks"), "{report}");
        assert_eq!(of_letter.path.as_ref().unwrap().text, "/docs/letter");
    }
}

#[test]
fn a_missing_segment_is_found_and_its_files_named() {
    let (mut bench, _) = Bench::with_letter();
    let report = bench.check_after(ReadData::Yes, |b| fs::remove_file(b.segment()).unwrap());
    assert_found(&report, Kind::SegmentMissing);
    let mut paths: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.kind == Kind::BlockMissing)
        .map(|f| f.path.as_ref().unwrap().text.clone())
        .collect();
    paths.sort();
    assert_eq!(paths, ["/docs/letter", "/docs/other"], "{report}");
}

#[test]
fn a_damaged_page_of_the_database_is_found() {
    let (mut bench, _) = Bench::with_letter();
    for n in 0..2000 {
        bench.mkdir(keyfold_fs::vfs::Ino::ROOT, &format!("directory {n}"));
    }
    bench.close();
    let database = bench.path("meta.db");
    let pages = fs::metadata(&database).unwrap().len() / 4096;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&database)
        .unwrap();
    let mut found = 0;
    for page in [pages / 2, pages - 20] {
        let mut byte = [0];
        let at = page * 4096 + 1000;
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let report = bench.check_after(ReadData::Yes, |_| {});
        assert_found(&report, Kind::DatabasePage);
        assert_eq!(report.state, CheckState::Damaged);
        found += 1;
        file.write_all_at(&byte, at).unwrap();
        assert_intact(&bench.check_after(ReadData::No, |_| {}), "put back");
    }
    assert_eq!(found, 2);
}

#[test]
fn a_report_goes_through_json_and_back() {
    let (mut bench, _) = Bench::with_letter();
    let report = bench.check_after(ReadData::Yes, |b| flip(b, 0));
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("\"kind\":\"block-tampered\""), "{json}");
    assert!(json.contains("\"state\":\"damaged\""), "{json}");
    let back: keyfold_fs::check::CheckReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back, report);
}
