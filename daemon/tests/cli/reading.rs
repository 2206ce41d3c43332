//! Reading a vault without mounting it.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use crate::sandbox::{Outcome, Sandbox};

fn run(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    sandbox.run([args, &["--password-file", "pw"]].concat())
}

/// A vault with one of everything.
fn filled() -> Sandbox {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    let at = |name: &str| sandbox.path("m").join(name);
    fs::create_dir_all(at("docs/deep")).unwrap();
    fs::write(at("docs/letter"), "Dear reader,\n").unwrap();
    fs::set_permissions(at("docs/letter"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(at("docs/letter"), at("docs/deep/same")).unwrap();
    symlink("letter", at("docs/link")).unwrap();
    let sparse = File::create(at("docs/sparse")).unwrap();
    sparse.write_all_at(b"end", 50 << 20).unwrap();
    drop(sparse);
    fs::write(
        at("docs").join(std::ffi::OsStr::from_bytes(b"n\xffme")),
        "x",
    )
    .unwrap();
    nix::unistd::mkfifo(&at("docs/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    rustix::fs::setxattr(
        at("docs/letter"),
        "user.colour",
        b"blue",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789));
    File::open(at("docs/letter"))
        .unwrap()
        .set_times(old)
        .unwrap();
    File::open(at("docs")).unwrap().set_times(old).unwrap();
    sandbox.unmount();
    sandbox
}

#[test]
fn files_are_listed_and_printed() {
    let sandbox = filled();
    assert_eq!(run(&sandbox, &["ls", "v"]).expect(0).out, "docs\n");
    let long = run(&sandbox, &["ls", "v", "/docs/letter", "-l"])
        .expect(0)
        .out;
    assert_eq!(
        long,
        "-rw-r-----   2     0     0           13 2001-09-09 01:46 letter\n"
    );
    let json = run(&sandbox, &["ls", "v", "docs", "--json"]).expect(0).out;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().any(|r| r["name_hex"] == "6eff6d65"));
    assert!(
        rows.iter()
            .any(|r| r["name"] == "link" && r["target"] == "letter")
    );
    assert!(rows.iter().any(|r| r["kind"] == "fifo"));
    assert_eq!(
        run(&sandbox, &["cat", "v", "docs/letter"]).expect(0).out,
        "Dear reader,\n"
    );
    run(&sandbox, &["cat", "v", "docs"]).refused(40, "is a directory");
    run(&sandbox, &["cat", "v", "docs/none"]).refused(40, "no such entry");
    run(&sandbox, &["ls", "v", "docs/letter/x"]).refused(40, "not a directory");
}

#[test]
fn an_export_has_everything_the_vault_has() {
    let sandbox = filled();
    run(&sandbox, &["export", "v", "out"]).expect(0);
    let at = |name: &str| sandbox.path("out/docs").join(name);
    assert_eq!(fs::read_to_string(at("letter")).unwrap(), "Dear reader,\n");
    let letter = at("letter").metadata().unwrap();
    assert_eq!(letter.mode() & 0o7777, 0o640);
    assert_eq!(
        (letter.mtime(), letter.mtime_nsec()),
        (1_000_000_000, 123_456_789)
    );
    assert_eq!(letter.nlink(), 2);
    assert_eq!(letter.ino(), at("deep/same").metadata().unwrap().ino());
    assert_eq!(
        sandbox.path("out/docs").metadata().unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(fs::read_link(at("link")).unwrap().to_str(), Some("letter"));
    let sparse = at("sparse").metadata().unwrap();
    assert_eq!(sparse.len(), (50 << 20) + 3);
    assert!(sparse.blocks() < 1000, "{} blocks", sparse.blocks());
    let mut end = [0; 3];
    File::open(at("sparse"))
        .unwrap()
        .read_exact_at(&mut end, 50 << 20)
        .unwrap();
    assert_eq!(&end, b"end");
    let mut colour = [0; 16];
    let length = rustix::fs::getxattr(at("letter"), "user.colour", &mut colour).unwrap();
    assert_eq!(&colour[..length], b"blue");
    assert!(
        sandbox
            .path("out/docs")
            .join(std::ffi::OsStr::from_bytes(b"n\xffme"))
            .exists()
    );
}

#[test]
fn an_export_goes_on_where_it_was_cut_short() {
    let sandbox = filled();
    run(&sandbox, &["export", "v", "out"]).expect(0);
    let at = |name: &str| sandbox.path("out/docs").join(name);
    let kept = at("sparse").metadata().unwrap().ino();
    fs::remove_file(at("letter")).unwrap();
    fs::remove_file(at("deep/same")).unwrap();
    fs::write(at("n\u{fffd}me"), "not from the vault").unwrap();
    fs::write(at(".keyfold-partial-3"), "cut short").unwrap();
    let again = run(&sandbox, &["export", "v", "out", "--json"])
        .expect(0)
        .out;
    let report: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(report["files"], 1);
    assert_eq!(report["unchanged"], 2);
    assert_eq!(at("sparse").metadata().unwrap().ino(), kept);
    assert_eq!(at("letter").metadata().unwrap().nlink(), 2);
    // What was there before and is not the vault's stays.
    assert!(at("n\u{fffd}me").exists());
}

#[test]
fn an_export_follows_no_link_that_waits_for_it() {
    let sandbox = filled();
    fs::create_dir_all(sandbox.path("out")).unwrap();
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    symlink(sandbox.path("elsewhere"), sandbox.path("out/docs")).unwrap();
    run(&sandbox, &["export", "v", "out"]).refused(41, "of another kind");
    assert_eq!(fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(sandbox.path("out/docs")).unwrap();
    fs::create_dir(sandbox.path("out/docs")).unwrap();
    fs::write(sandbox.path("victim"), "safe").unwrap();
    symlink(sandbox.path("victim"), sandbox.path("out/docs/letter")).unwrap();
    run(&sandbox, &["export", "v", "out"]).expect(0);
    assert_eq!(fs::read_to_string(sandbox.path("victim")).unwrap(), "safe");
    assert!(
        sandbox
            .path("out/docs/letter")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
}

#[test]
fn single_files_and_directories_are_copied_out() {
    let sandbox = filled();
    run(&sandbox, &["get", "v", "docs/letter", "copy"]).expect(0);
    assert_eq!(
        fs::read_to_string(sandbox.path("copy")).unwrap(),
        "Dear reader,\n"
    );
    fs::create_dir(sandbox.path("here")).unwrap();
    run(&sandbox, &["get", "v", "docs", "here"]).expect(0);
    assert!(sandbox.path("here/docs/deep/same").exists());
    run(&sandbox, &["get", "v", "docs/letter", "missing/copy"]).refused(41, "cannot open");
    run(&sandbox, &["get", "v", "none", "x"]).refused(40, "no such entry");
}

#[test]
fn reading_changes_nothing_in_the_vault() {
    let sandbox = filled();
    let before = sandbox.snapshot("v");
    run(&sandbox, &["ls", "v", "-l", "docs"]).expect(0);
    run(&sandbox, &["cat", "v", "docs/letter"]).expect(0);
    run(&sandbox, &["export", "v", "out"]).expect(0);
    run(&sandbox, &["check", "v", "--read-data"]).expect(0);
    assert_eq!(sandbox.snapshot("v"), before);
}

#[test]
fn damage_is_found_named_and_left_out() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    fs::write(sandbox.path("m/large"), vec![7; 300_000]).unwrap();
    fs::write(sandbox.path("m/small"), "small").unwrap();
    sandbox.unmount();
    run(&sandbox, &["check", "v", "--read-data"]).expect(0);
    let segment = fs::read_dir(sandbox.path("v/segments"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let segment = File::options().write(true).open(segment.path()).unwrap();
    // Whatever lies there, some block of the large file is among it.
    for block in 0..60 {
        segment.write_all_at(b"altered", block * 4096).unwrap();
    }
    let check = run(&sandbox, &["check", "v", "--read-data", "--json"]).expect(13);
    let report: serde_json::Value = serde_json::from_str(&check.out).unwrap();
    assert_eq!(report["findings"][0]["path"]["text"], "/large");
    let export = run(&sandbox, &["export", "v", "out"]).expect(42);
    assert!(export.err.contains("large: left out"), "{}", export.err);
    assert!(!sandbox.path("out/large").exists());
    assert_eq!(run(&sandbox, &["cat", "v", "large"]).expect(13).out, "");
}
