//! A server that is slow, silent, endless, or hangs up: nobody is held up by it for longer than the
//! deadlines, and only who needs it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyfold_tests::{Answer, Mount, Request, pattern, until};

use crate::scene::{SOON, end, given, share_status};
use crate::stage::{Stage, is_blob, look, real, synced};

/// Longer than anybody waits for bytes that are not here, on a machine with other work.
const MOST: Duration = Duration::from_mins(1);

/// What a server does to whoever asks, given what it would answer.
fn misbehave(request: &Request, server: std::net::SocketAddr, how: usize) -> Answer {
    let is_stream = request.path() == "/v1/events";
    let reply = || (!is_stream).then(|| real(request, server)).flatten();
    match how {
        0 => Answer::Silence,
        1 => reply().map_or(Answer::Closed, Answer::Dribble),
        2 => reply().map_or(Answer::Closed, Answer::Half),
        3 => Answer::Endless,
        _ => Answer::Closed,
    }
}

/// What needs no server works at once: names, sizes, what is here, and writing.
#[track_caller]
fn is_alive(at_bob: &Mount, round: usize) {
    let here = at_bob.join("Shared/alice/Reports");
    let begun = Instant::now();
    assert!(fs::read_dir(&here).unwrap().count() > 0);
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    fs::write(here.join(format!("own {round}")), "x").unwrap();
    let file = fs::File::open(here.join(format!("own {round}"))).unwrap();
    file.sync_all().unwrap();
    let status = share_status(at_bob);
    assert!(status["path"].is_string(), "{status}");
    eprintln!("alive within {:?}", begun.elapsed());
}

fn blobs(how: usize) {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    let large = pattern(how as u64, 300_000);
    fs::write(reports.join("large"), &large).unwrap();
    until("its name came", SOON, || here.join("large").exists());
    until("its size came", SOON, || {
        fs::metadata(here.join("large")).unwrap().len() == 300_000
    });
    stage.before_bob.play(move |request, server| {
        if is_blob(request) {
            misbehave(request, server, how)
        } else {
            Answer::Honest
        }
    });
    let ended = Arc::new(AtomicBool::new(false));
    let (reading, over) = (here.join("large"), Arc::clone(&ended));
    let reader = std::thread::spawn(move || {
        let begun = Instant::now();
        let read = fs::read(reading);
        over.store(true, Ordering::Release);
        (read, begun.elapsed())
    });
    is_alive(&at_bob, 0);
    until("who reads is answered", MOST, || {
        ended.load(Ordering::Acquire)
    });
    let (read, after) = reader.join().unwrap();
    let error = read.expect_err("bytes that the server never gave");
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{error}");
    eprintln!("{error} after {after:?}");
    is_alive(&at_bob, 1);
    stage.before_bob.be_honest();
    until("it can be read", SOON, || {
        fs::read(here.join("large")).is_ok_and(|read| read == large)
    });
    end([(at_alice, alice), (at_bob, bob)]);
}

#[test]
fn who_reads_from_a_silent_server_is_answered() {
    blobs(0);
}

#[test]
fn who_reads_from_a_server_that_dribbles_is_answered() {
    blobs(1);
}

#[test]
fn who_reads_from_a_server_that_hangs_up_halfway_is_answered() {
    blobs(2);
}

#[test]
fn who_reads_from_a_server_without_an_end_is_answered() {
    blobs(3);
}

#[test]
fn who_reads_from_a_server_that_hangs_up_is_answered() {
    blobs(4);
}

#[test]
fn a_server_that_misbehaves_on_every_route_holds_up_no_work_and_no_unmount() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, _) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_bob);
    for how in 0..5 {
        stage
            .before_bob
            .play(move |request, server| misbehave(request, server, how));
        look(&at_bob);
        is_alive(&at_bob, how);
    }
    // Unmounting waits for none of it.
    let begun = Instant::now();
    at_bob.unmount();
    eprintln!("unmounted after {:?}", begun.elapsed());
    let at_bob = bob.vault.mount();
    is_alive(&at_bob, 5);
    stage.before_bob.be_honest();
    look(&at_bob);
    for how in 0..6 {
        until("it came", 2 * SOON, || {
            reports.join(format!("own {how}")).exists()
        });
    }
    end([(at_alice, alice), (at_bob, bob)]);
}

#[test]
fn a_lost_reply_to_any_call_makes_nothing_twice() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    // The server gets every second call, and what it answers is lost.
    let count = std::sync::atomic::AtomicU64::new(0);
    stage.before_alice.play(move |request, _| {
        let changes = request.method() != "GET";
        if changes && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Answer::Lost
        } else {
            Answer::Honest
        }
    });
    for round in 0..6 {
        fs::write(
            reports.join(format!("file {round}")),
            format!("round {round}"),
        )
        .unwrap();
        fs::write(reports.join("first"), format!("version {round}")).unwrap();
        until("it came", 2 * SOON, || {
            let read = fs::read_to_string(here.join("first"));
            read.is_ok_and(|read| read == format!("version {round}"))
        });
    }
    stage.before_alice.be_honest();
    look(&at_alice);
    until("all of it came", SOON, || here.join("file 5").exists());
    synced(&at_alice);
    crate::scene::same("after lost replies", &reports, &here);
    let names = fs::read_dir(&reports).unwrap().count();
    assert_eq!(names, 7, "something was made twice");
    end([(at_alice, alice), (at_bob, bob)]);
}
