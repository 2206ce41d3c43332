//! Heads that are rolled back, hidden, or not the same for everybody. Attack 16.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Pulled;
use keyfold_protocol::ids::{RecordHash, Seq};
use keyfold_tests::{Answer, Request, Server, keyfold};

use crate::scene::{comes, end, given, refused, run, share_status, shared, text};
use crate::stage::{Stage, edit_pulls, fails, is_pull, look, real, share_id, synced};

/// A pull as it was when this was the head.
fn as_of(pulled: &mut Pulled, (seq, head): (Seq, RecordHash)) {
    pulled.records.retain(|one| one.record.header.seq <= seq);
    pulled
        .receipts
        .retain(|receipt| receipt.unverified().seq <= seq);
    (pulled.head_seq, pulled.head) = (seq, head);
}

/// The head of a log as a member's client of his own sees it.
fn head(stage: &Stage, id: keyfold_protocol::ids::ShareId) -> (Seq, RecordHash) {
    let server = stage.world.server.address();
    let insider = crate::insider::Insider::of(&stage.alice, server);
    insider.log(id).head().unwrap()
}

#[test]
fn a_head_that_is_rolled_back_is_told_and_takes_nothing_away() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_bob);
    let old = head(&stage, share_id(&at_bob));
    fs::write(reports.join("first"), "newer").unwrap();
    fs::write(reports.join("second"), "newer").unwrap();
    comes(&here.join("second"), "newer");
    comes(&here.join("first"), "newer");
    synced(&at_bob);
    edit_pulls(&stage.before_bob, move |pulled| as_of(pulled, old));
    run(&["share", text(&reports), "bob", "--owner"]);
    fails(&at_bob, "keeps records of the share back");
    for name in ["first", "second"] {
        assert_eq!(fs::read_to_string(here.join(name)).unwrap(), "newer");
    }
    fs::write(here.join("third"), "from bob").unwrap();
    // Neither does it help the server that the vault is mounted anew.
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    fails(&at_bob, "keeps records of the share back");
    assert_eq!(fs::read_to_string(here.join("first")).unwrap(), "newer");
    stage.before_bob.be_honest();
    look(&at_bob);
    comes(&reports.join("third"), "from bob");
    end([(at_alice, alice), (at_bob, bob)]);
}

#[test]
fn a_revocation_that_is_hidden_stops_what_its_victim_sends() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let carol = stage.world.person("carol");
    alice.trusts(&carol);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    run(&["share", text(&reports), "carol", "--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    synced(&at_alice);
    synced(&at_bob);
    let id = share_id(&at_bob);
    let old = head(&stage, id);
    let taken_out = crate::insider::Insider::of(&carol, stage.world.server.address());
    let before = taken_out.log(id);
    // Bob is not to learn that Carol is out.
    edit_pulls(&stage.before_bob, move |pulled| as_of(pulled, old));
    run(&["unshare", text(&reports), "carol"]);
    fs::write(here.join("secret"), "not for carol").unwrap();
    // What he wrote follows a head that is none any more, so nobody has it; and he is told so.
    fails(&at_bob, "keeps records of the share back");
    assert!(share_status(&at_bob)["waiting"].as_u64() > Some(0));
    assert!(!reports.join("secret").exists());
    assert_eq!(
        fs::read_to_string(here.join("secret")).unwrap(),
        "not for carol"
    );
    let synced_then = keyfold(["wait-synced", text(&here), "--timeout", "1s"]);
    refused(&synced_then, 42, "keeps records of the share back");
    // Once it is not hidden any more all goes out, under keys that Carol never had.
    stage.before_bob.be_honest();
    look(&at_bob);
    comes(&reports.join("secret"), "not for carol");
    let insider = crate::insider::Insider::of(bob, stage.world.server.address());
    let log = insider.log(id);
    assert!(
        !log.roster()
            .unwrap()
            .members
            .contains_key(&taken_out.account.root)
    );
    for one in insider.pulled(id).records {
        let header = &one.record.header;
        let epoch = header.epoch;
        let is_later = header.seq >= before.next_seq();
        if is_later && header.kind == keyfold_protocol::record::Kind::Content {
            assert!(before.epoch_key(epoch).is_none(), "carol has the key");
        }
    }
    end([(at_alice, alice), (at_bob, bob)]);
}

/// Another server with the same database, as somebody makes it who wants to show two heads.
fn doubled(stage: &Stage) -> Server {
    let copy = stage.world.sandbox.path().join("copy");
    stage
        .world
        .server
        .copied_to(&copy, stage.world.sandbox.path())
}

fn by(other: SocketAddr) -> impl Fn(&Request, SocketAddr) -> Answer + Send + Sync + 'static {
    move |request, _| {
        if request.path() == "/v1/events" {
            return Answer::Closed;
        }
        request.ask(other).map_or(Answer::Closed, Answer::Reply)
    }
}

#[test]
fn two_heads_shown_to_two_members_are_told_as_soon_as_a_receipt_crosses() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_alice);
    synced(&at_bob);
    let other = doubled(&stage);
    let (here_too, there) = (other.address(), stage.world.server.address());
    stage.before_bob.play(by(here_too));
    // Each side goes its own way, and nobody can know.
    fs::write(reports.join("alice's"), "one way").unwrap();
    fs::write(here.join("bob's"), "other way").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "30s"]);
    run(&["wait-synced", text(&here), "--timeout", "30s"]);
    // Bob is shown what alice's device said that it saw.
    let crossed = Arc::new(AtomicBool::new(false));
    let crossing = Arc::clone(&crossed);
    let honest = by(here_too);
    stage.before_bob.play(move |request, server| {
        if !is_pull(request) {
            return honest(request, server);
        }
        let Ok(mut reply) = request.ask(here_too) else {
            return Answer::Closed;
        };
        if let (Ok(mut pulled), Some(real)) = (Pulled::decode(&reply.body), real(request, there)) {
            let receipts = Pulled::decode(&real.body).unwrap().receipts;
            crossing.fetch_or(!receipts.is_empty(), Ordering::Relaxed);
            pulled.receipts = receipts;
            reply.body = pulled.encode();
        }
        Answer::Reply(reply)
    });
    fs::write(here.join("bob's second"), "other way").unwrap();
    fails(&at_bob, "shows another record");
    assert!(crossed.load(Ordering::Relaxed));
    // And so is he when he is shown her way itself.
    stage.before_bob.be_honest();
    look(&at_bob);
    fs::write(here.join("bob's third"), "other way").unwrap();
    fails(&at_bob, "shows another record");
    for name in ["bob's", "bob's second", "bob's third"] {
        assert_eq!(fs::read_to_string(here.join(name)).unwrap(), "other way");
    }
    assert!(!Path::new(&here.join("alice's")).exists());
    end([(at_alice, alice), (at_bob, bob)]);
}
