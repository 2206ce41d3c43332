//! Members with clients of their own: who was taken out, who may only read, and who may write and says
//! what no Keyfold says. Attacks 11, 12 and 19.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyfold_crypto::{FileKey, LeafHash, content_root};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::{Append, Delivered};
use keyfold_protocol::ids::{BlobId, ContentRoot, NodeId, OperationId, ShareId};
use keyfold_protocol::log::Void;
use keyfold_protocol::operation::{
    Action, ChangedLeaf, ContentBody, Mode, Mtime, Operation, PackRef, Place, What, WriteFile,
};
use keyfold_protocol::pack::PackKey;
use keyfold_tests::{Answer, Mount, Request, until};
use zeroize::Zeroizing;

use crate::insider::Insider;
use crate::scene::{SOON, comes, end, given, run, share_status, shared, text, tree};
use crate::stage::{Stage, edit_pulls, fails, is_pull, look, share_id, synced, tells};

const STAMP: Mtime = Mtime {
    seconds: 1,
    nanoseconds: 0,
};

fn node(number: u8) -> NodeId {
    NodeId([number; 16])
}

fn at(parent: NodeId, name: &str) -> Place {
    Place {
        parent,
        name: name.parse().unwrap(),
    }
}

fn make(name: &str, number: u8, what: What) -> Action {
    Action::Make {
        at: at(NodeId::ROOT, name),
        node: node(number),
        what,
        mode: Mode::new(6).unwrap(),
        mtime: STAMP,
    }
}

fn body(actions: Vec<Action>) -> Vec<u8> {
    let operation = |action| Operation {
        id: OperationId::generate().unwrap(),
        action,
    };
    let operations = actions.into_iter().map(operation).collect();
    ContentBody { operations }.encode()
}

/// The same bytes with others of the same length in one place.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    // The last: before it are random ids, in which anything may be.
    let at = bytes.windows(from.len()).rposition(|part| part == from);
    let at = at.expect("what is to be patched");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// A file of another's share under our own key, as an operation names it.
fn written(number: u8, blob: BlobId, base: OperationId) -> Vec<Action> {
    let key = FileKey::generate().unwrap();
    let hash = LeafHash([7; 32]);
    let root = content_root(&node(number).file(), 4096, &[(0, hash)]).unwrap();
    vec![
        Action::FileKey {
            node: node(number),
            key: key.id(),
            secret: Zeroizing::new(*key.secret()),
        },
        Action::WriteFile(WriteFile {
            node: node(number),
            base,
            size: 4096,
            root: ContentRoot(root),
            mtime: STAMP,
            keys: vec![key.id()],
            packs: vec![PackRef {
                blob,
                key: PackKey::generate().unwrap(),
            }],
            leaves: vec![ChangedLeaf {
                index: 0,
                hash,
                written: 1,
                holes: 0,
                pack: 0,
                slot: 0,
            }],
        }),
    ]
}

/// Adds a record to what somebody is given, where it follows.
fn slip_in(stage: &Stage, forged: Append) {
    edit_pulls(&stage.before_alice, move |pulled| {
        let header = &forged.record.header;
        if pulled.head == header.previous {
            (pulled.head_seq, pulled.head) = (header.seq, header.hash());
            pulled.records.push(Delivered {
                record: forged.record.clone(),
                grant: None,
            });
        }
    });
}

#[test]
fn what_a_reader_forges_has_no_effect_and_names_him_even_with_the_servers_help() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let at_alice = alice.vault.mount();
    let reports = shared(&at_alice, "bob", &[]);
    synced(&at_alice);
    let id = share_id(&at_alice);
    let reader = Insider::of(bob, stage.world.server.address());
    let log = reader.log(id);
    let forged = reader.content(
        &log,
        &body(vec![make("forged", 1, What::Directory)]),
        vec![],
    );
    let refused = reader.append(id, &forged);
    assert_eq!(refused.status, 400, "the server took it");
    // A server that takes it and hands it on does not help him.
    slip_in(&stage, forged);
    look(&at_alice);
    tells(
        &at_alice,
        &format!("of bob: without effect, as {}", Void::RoleMayNot),
    );
    assert!(!reports.join("forged").exists());
    stage.before_alice.be_honest();
    at_alice.unmount();
    alice.vault.check();
}

#[test]
fn a_removed_member_writes_and_reads_nothing_even_with_the_servers_help() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_alice);
    synced(&at_bob);
    let id = share_id(&at_alice);
    let removed = Insider::of(bob, stage.world.server.address());
    let before = removed.log(id);
    run(&["unshare", text(&reports), "bob"]);
    fs::write(reports.join("first"), "not for bob").unwrap();
    fs::write(reports.join("second"), "not for bob").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "30s"]);
    until("bob's mount knows", SOON, || {
        share_status(&at_bob)["state"] == "removed"
    });

    // The server goes on showing him everything, as if he asked with alice's session.
    let owner = Insider::of(alice, stage.world.server.address());
    let all = owner.pulled(id);
    let mut log = before.clone();
    for delivered in &all.records {
        if delivered.record.header.seq >= log.next_seq() {
            log.apply(&delivered.record, None).unwrap();
            let epoch = delivered.record.header.epoch;
            let opened = log
                .epoch_key(epoch)
                .map(|key| delivered.record.open_body(key));
            assert!(
                opened.is_none_or(|opened| opened.is_err())
                    || epoch <= before.roster().unwrap().epoch,
                "a removed member has a later key"
            );
        }
    }
    let (token, server) = (owner.token.clone(), stage.world.server.address());
    let shown = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&shown);
    stage.before_bob.play(move |request, _| {
        let path = request.path();
        if request.method() != "GET" || !path.starts_with("/v1/shares") {
            return Answer::Honest;
        }
        counted.fetch_add(u64::from(is_pull(request)), Ordering::Relaxed);
        let asked = Request::new("GET", path, Some(&token)).ask(server);
        asked.map_or(Answer::Closed, Answer::Reply)
    });
    // The second look comes after what the first gave was applied.
    for looks in 1..3 {
        until("bob's mount looks", SOON, || {
            look(&at_bob);
            shown.load(Ordering::Relaxed) >= looks
        });
    }
    assert!(!here.join("second").exists());
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    assert!(fs::write(here.join("new"), "x").is_err());

    // And what he signs now, under the keys and the roster that he knew or those of now, is void.
    let forged = removed.content(
        &before,
        &body(vec![make("forged", 1, What::Directory)]),
        vec![],
    );
    assert!(removed.append(id, &forged).status >= 400);
    let mut header = forged.record.header.clone();
    let head = owner.log(id);
    let (seq, previous) = head.head().unwrap();
    (header.seq, header.previous) = (seq.next(), previous);
    header.roster = head.roster_record();
    header.epoch = head.roster().unwrap().epoch;
    let key = before.epoch_key(before.roster().unwrap().epoch).unwrap();
    let bytes = body(vec![make("forged", 1, What::Directory)]);
    let identity = &removed.account.identity;
    let record = keyfold_protocol::record::Record::seal(header, &bytes, key, identity).unwrap();
    slip_in(
        &stage,
        Append {
            record,
            grants: vec![],
        },
    );
    look(&at_alice);
    tells(
        &at_alice,
        &format!("of bob: without effect, as {}", Void::NotAMember),
    );
    assert!(!reports.join("forged").exists());
    stage.before_alice.be_honest();
    end([(at_alice, alice), (at_bob, bob)]);
}

/// Posts a body, and waits until alice's mount tells what is wrong with it.
#[track_caller]
fn is_void(writer: &Insider, id: ShareId, at_alice: &Mount, (body, why): (&[u8], Void)) {
    let log = writer.log(id);
    let append = writer.content(&log, body, vec![]);
    let seq = append.record.header.seq.0;
    let reply = writer.append(id, &append);
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 200, "{why}: {said}");
    tells(
        at_alice,
        &format!("record {seq} of bob: without effect, as {why}"),
    );
}

#[test]
fn what_no_keyfold_says_is_without_effect_for_everybody_and_names_its_author() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let at_alice = alice.vault.mount();
    let reports = shared(&at_alice, "bob", &["--write"]);
    synced(&at_alice);
    let id = share_id(&at_alice);
    let writer = Insider::of(bob, stage.world.server.address());
    let void = |bytes: &[u8], why: Void| is_void(&writer, id, &at_alice, (bytes, why));
    let names: [&[u8]; 9] = [
        b"..",
        b".",
        b"",
        b"a/../../b",
        b".keyfold",
        b"a\x01b",
        b"a\0b",
        "photo\u{202e}gpj.exe".as_bytes(),
        b"\xff\xfe",
    ];
    for name in names {
        let stand_in = "x".repeat(name.len().max(1));
        let mut bytes = body(vec![make(&stand_in, 1, What::File)]);
        if name.is_empty() {
            // A text of no bytes in place of one of one.
            let at = bytes
                .windows(2)
                .rposition(|two| two == [0x61, b'x'])
                .unwrap();
            bytes.splice(at..at + 2, [0x60]);
        } else {
            bytes = patched(bytes, stand_in.as_bytes(), name);
        }
        void(&bytes, Void::Malformed);
    }
    // Setuid and devices cannot be said: a mode has three bits, and there are four kinds.
    let file = body(vec![make("x", 1, What::File)]);
    void(
        &patched(file.clone(), &[6, 0x82, 1, 0], &[15, 0x82, 1, 0]),
        Void::Malformed,
    );
    void(
        &patched(file.clone(), &[0x81, 0, 6], &[0x81, 4, 6]),
        Void::Malformed,
    );
    // Lengths without end, bytes that are nothing, and nothing.
    void(
        &[&[0x82, 1, 0x9b][..], &[0xff; 8]].concat(),
        Void::Malformed,
    );
    void(
        &[&[0x82, 1, 0x9a][..], &[0x7f, 0xff, 0xff, 0xff]].concat(),
        Void::Malformed,
    );
    void(&file[..file.len() - 1], Void::Malformed);
    void(&[&file[..], &[0]].concat(), Void::Malformed);
    void(&[0xff; 64], Void::Malformed);
    void(b"", Void::Malformed);
    // A directory within itself.
    let cycle = vec![
        make("outer", 2, What::Directory),
        Action::Make {
            at: at(node(2), "inner"),
            node: node(3),
            what: What::Directory,
            mode: Mode::new(7).unwrap(),
            mtime: STAMP,
        },
        Action::Rename {
            from: at(NodeId::ROOT, "outer"),
            to: at(node(3), "loop"),
            node: node(2),
            replaced: None,
        },
    ];
    void(&body(cycle), Void::Cycle);
    // Blobs and keys that the share does not have.
    let foreign = [
        vec![make("foreign", 4, What::File)],
        written(4, BlobId([9; 32]), OperationId::NONE),
    ];
    void(&body(foreign.concat()), Void::UnknownBlob);
    let mut unknown_key = foreign.concat();
    unknown_key.remove(1);
    void(&body(unknown_key), Void::UnknownKey);

    // Nothing of it is there, everything else is, and it goes on.
    assert_eq!(tree(&reports).unwrap().len(), 1);
    fs::write(reports.join("second"), "still works").unwrap();
    synced(&at_alice);
    let at_bob = bob.vault.mount();
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("second"), "still works");
    assert_eq!(tree(&here).unwrap().len(), 2);
    end([(at_alice, alice), (at_bob, bob)]);
}

#[test]
fn what_a_member_says_beyond_files_is_harmless_and_a_version_of_the_future_stops() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let at_alice = alice.vault.mount();
    let reports = shared(&at_alice, "bob", &["--write"]);
    synced(&at_alice);
    let id = share_id(&at_alice);
    let writer = Insider::of(bob, stage.world.server.address());
    // Places of another share, which nobody is a member of.
    let point = || What::SharePoint(ShareId([3; 32]));
    let said = body(vec![
        make("point", 1, point()),
        make("dir", 2, What::Directory),
        Action::Make {
            at: at(node(2), "hidden"),
            node: node(3),
            what: point(),
            mode: Mode::new(7).unwrap(),
            mtime: STAMP,
        },
    ]);
    let append = writer.content(&writer.log(id), &said, vec![]);
    assert_eq!(writer.append(id, &append).status, 200);
    until("the directory came", SOON, || reports.join("dir").is_dir());
    synced(&at_alice);
    assert!(!reports.join("point").exists());
    let meta = fs::metadata(reports.join("dir")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7000, 0);
    assert!(!meta.file_type().is_block_device());
    // They are not shown here, and in nobody's way.
    fs::write(reports.join("point"), "alice's own").unwrap();
    fs::write(reports.join("second"), "from alice").unwrap();
    synced(&at_alice);
    until("it is told", SOON, || {
        share_status(&at_alice)["kept_back"] == 1
    });
    fs::remove_file(reports.join("point")).unwrap();
    fs::remove_dir(reports.join("dir")).unwrap();
    synced(&at_alice);
    until("nothing is kept back", SOON, || {
        share_status(&at_alice)["kept_back"] == 0
    });

    let newer = patched(
        body(vec![make("x", 3, What::File)]),
        &[0x82, 1, 0x81],
        &[0x82, 2, 0x81],
    );
    let append = writer.content(&writer.log(id), &newer, vec![]);
    assert_eq!(writer.append(id, &append).status, 200);
    fails(&at_alice, "newer Keyfold");
    assert_eq!(
        fs::read_to_string(reports.join("first")).unwrap(),
        "from alice"
    );
    at_alice.unmount();
    alice.vault.check();
}

#[test]
fn a_members_symlinks_lead_nobody_out_of_the_share_however_they_are_moved() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let at_alice = alice.vault.mount();
    let reports = shared(&at_alice, "bob", &["--write"]);
    synced(&at_alice);
    fs::write(at_alice.join("diary"), "for nobody else").unwrap();
    let id = share_id(&at_alice);
    let writer = Insider::of(bob, stage.world.server.address());
    let link = |name: &str, number, target: &str| {
        make(name, number, What::Symlink(target.parse().unwrap()))
    };
    let nested = |action: Action, parent| match action {
        Action::Make {
            at: place,
            node,
            what,
            mode,
            mtime,
        } => Action::Make {
            at: Place { parent, ..place },
            node,
            what,
            mode,
            mtime,
        },
        other => other,
    };
    let absolute = at_alice.join("diary");
    let said = body(vec![
        make("dir", 1, What::Directory),
        link("absolute", 2, text(&absolute)),
        link("up", 3, "../diary"),
        // It leads to the share's own folder where it is made, and out where it is moved.
        nested(link("moved", 4, "../diary"), node(1)),
        link("step", 5, "dir/here"),
        nested(link("here", 6, "."), node(1)),
        link("through", 7, "dir/here/../../diary"),
        link("inside", 8, "first"),
    ]);
    let append = writer.content(&writer.log(id), &said, vec![]);
    assert_eq!(writer.append(id, &append).status, 200);
    comes(&reports.join("inside"), "from alice");
    let refused = |path: &std::path::Path| {
        let errno = |e: std::io::Error| e.raw_os_error();
        let denied = Some(libc::EACCES);
        assert_eq!(fs::read_link(path).map_err(errno), Err(denied), "{path:?}");
        assert_eq!(fs::read(path).map_err(errno), Err(denied), "{path:?}");
        let written = fs::write(path, "overwritten").map_err(errno);
        assert_eq!(written, Err(denied), "{path:?}");
        // It is listed.
        assert!(path.symlink_metadata().unwrap().is_symlink());
    };
    for name in ["absolute", "up", "dir/moved", "through"] {
        refused(&reports.join(name));
    }
    let rename = Action::Rename {
        from: at(node(1), "moved"),
        to: at(NodeId::ROOT, "moved"),
        node: node(4),
        replaced: None,
    };
    let append = writer.content(&writer.log(id), &body(vec![rename]), vec![]);
    assert_eq!(writer.append(id, &append).status, 200);
    until("it moved", SOON, || reports.join("moved").is_symlink());
    refused(&reports.join("moved"));
    // What alice makes of it herself, anywhere, is no way out either.
    fs::rename(reports.join("up"), reports.join("dir/up")).unwrap();
    refused(&reports.join("dir/up"));
    assert!(fs::hard_link(reports.join("absolute"), at_alice.join("out")).is_err());
    assert_eq!(fs::read_to_string(&absolute).unwrap(), "for nobody else");
    synced(&at_alice);
    end([(at_alice, alice)]);
}
