//! Bits that are flipped on the way. Attack 5.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyfold_tests::{Answer, Seeded, pattern};

use crate::scene::{end, given};
use crate::stage::{Stage, is_blob, is_pull, look, real, synced};

/// Files, each of which is a pack of its own or several.
const FILES: [(&str, usize); 4] = [
    ("small", 10),
    ("block", 4096),
    ("odd", 70_001),
    ("large", 700_000),
];

#[test]
fn no_flipped_bit_of_a_blob_or_a_record_is_ever_read_as_content() {
    let mut random = Seeded::new();
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    for round in 0..3 {
        // A bit of each reply is flipped, records and blobs alike.
        let (seed, flipped) = (random.next_u64(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&flipped);
        stage.before_bob.play(move |request, server| {
            let wanted = is_blob(request) || is_pull(request);
            let Some(mut reply) = wanted.then(|| real(request, server)).flatten() else {
                return Answer::Honest;
            };
            let count = counted.fetch_add(1, Ordering::Relaxed);
            let mut random = Seeded::from_seed(seed ^ count);
            if !reply.body.is_empty() {
                let at = random.below(reply.body.len() as u64) as usize;
                reply.body[at] ^= 1 << random.below(8);
            }
            Answer::Reply(reply)
        });
        for (name, length) in FILES {
            fs::write(reports.join(name), pattern(round, length)).unwrap();
        }
        while flipped.load(Ordering::Relaxed) < 12 {
            look(&at_bob);
            for (name, length) in FILES {
                read_as(&here.join(name), round, length);
            }
        }
        // Names come; blobs do not.
        let blobs = Arc::clone(&flipped);
        stage.before_bob.play(move |request, server| {
            let Some(mut reply) = is_blob(request).then(|| real(request, server)).flatten() else {
                return Answer::Honest;
            };
            let count = blobs.fetch_add(1, Ordering::Relaxed);
            let mut random = Seeded::from_seed(seed ^ count);
            let at = random.below(reply.body.len() as u64) as usize;
            reply.body[at] ^= 1 << random.below(8);
            Answer::Reply(reply)
        });
        look(&at_bob);
        synced(&at_bob);
        for (name, length) in FILES {
            for _ in 0..3 {
                read_as(&here.join(name), round, length);
            }
        }
        stage.before_bob.be_honest();
        look(&at_bob);
        for (name, length) in FILES {
            let content = pattern(round, length);
            keyfold_tests::until("all is right again", crate::scene::SOON, || {
                fs::read(here.join(name)).is_ok_and(|read| read == content)
            });
        }
    }
    end([(at_alice, alice), (at_bob, bob)]);
}

/// Reads a file: it is as it was in this round or the one before, or cannot be read.
#[track_caller]
fn read_as(path: &std::path::Path, round: u64, length: usize) {
    match fs::read(path) {
        Ok(read) => {
            let known = [Some(round), round.checked_sub(1)];
            let mut known = known.iter().flatten().map(|round| pattern(*round, length));
            assert!(
                known.any(|content| content == read),
                "wrong bytes were read"
            );
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap();
            let allowed = [libc::EIO, libc::EHOSTUNREACH, libc::ENOENT];
            assert!(allowed.contains(&errno), "{error}");
        }
    }
}
