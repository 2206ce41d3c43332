//! What is planted on the clients is nowhere but in their mounts. Attack 20.

use std::fs;
use std::path::Path;

use keyfold_tests::{keyfold, until};

use crate::scene::{Person, SOON, World, comes, end, run, status, text, tree};

/// Words that stand in names, contents, attributes, targets and messages.
const PLANTED: &str = "xylocopa";

/// Panics where a text is in any file below a directory, or in a name. Returns bytes searched.
#[track_caller]
fn nothing_of(words: &[&str], place: &Path) -> usize {
    let mut searched = 0;
    for (path, (_, content)) in tree(place).unwrap() {
        let name = path.to_string_lossy().to_lowercase();
        let text = String::from_utf8_lossy(&content).to_lowercase();
        for word in words {
            let word = word.to_lowercase();
            assert!(!name.contains(&word), "{word} names {name}");
            assert!(!text.contains(&word), "{word} is in {name}");
            for raw in [word.as_bytes(), &utf16(&word)] {
                let found = content.windows(raw.len()).any(|part| part == raw);
                assert!(!found, "{word} is in {name}");
            }
        }
        searched += content.len();
    }
    searched
}

fn utf16(word: &str) -> Vec<u8> {
    word.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The secret words of a kit: none of them may be anywhere else.
fn secrets(person: &Person) -> Vec<String> {
    let kit = fs::read_to_string(person.kit()).unwrap();
    let lines = kit.lines().filter_map(|line| line.split_once(": "));
    let secret = lines.filter(|(what, _)| *what != "address");
    secret.map(|(_, words)| words.trim().to_owned()).collect()
}

#[test]
fn nothing_planted_in_a_share_is_on_the_server_or_in_any_log() {
    let world = World::logging("trace");
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let name = |kind: &str| format!("{PLANTED} {kind}");
    let folder = at_alice.join(name("folder"));
    fs::create_dir_all(folder.join(name("inner"))).unwrap();
    let content = format!("{PLANTED} content ").repeat(10_000);
    fs::write(folder.join(name("inner")).join(name("file")), &content).unwrap();
    std::os::unix::fs::symlink(name("target"), folder.join(name("link"))).unwrap();
    let attribute = format!("user.{PLANTED}");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&folder, &attribute, PLANTED.as_bytes(), flags).unwrap();
    run(&["share", text(&folder), "bob", "--write"]);
    let here = at_bob.join("Shared/alice").join(name("folder"));
    until("it came", SOON, || {
        let file = here.join(name("inner")).join(name("file"));
        fs::read_to_string(file).is_ok_and(|read| read == content)
    });
    // Work, conflicts, refusals, a removal, a daemon that dies, a server that comes back.
    fs::write(here.join(name("second")), &content).unwrap();
    comes(&folder.join(name("second")), &content);
    fs::rename(folder.join(name("second")), folder.join(name("third"))).unwrap();
    let wrong = keyfold(["share", text(&folder.join(name("inner"))), "bob"]);
    assert!(!wrong.succeeded());
    run(&[
        "members",
        text(&Path::new("/").join(name("folder"))),
        text(at_alice.path()),
    ]);
    at_bob.kill9();
    fs::write(folder.join(name("third")), "shorter").unwrap();
    let at_bob = bob.vault.mount();
    comes(&here.join(name("third")), "shorter");
    run(&["unshare", text(&folder), "bob"]);
    until("bob is out", SOON, || {
        status(&at_bob)["sharing"]["shares"][0]["state"] == "removed"
    });
    end([(at_alice, &alice), (at_bob, &bob)]);

    // The passwords and kits of the people lie beside their vaults, for the harness.
    let password = "tall giraffe";
    let mut words = vec![PLANTED.to_owned(), keyfold_tests::PASSWORD.to_owned()];
    for person in [&alice, &bob] {
        words.extend(secrets(person));
        for kept in ["kit", "password"] {
            fs::remove_file(person.vault.sandbox().path().join(kept)).unwrap();
        }
    }
    fs::remove_file(world.sandbox.path().join("account-password")).unwrap();
    words.push(password.to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(words.len() >= 7, "no kit was read");
    let mut searched = nothing_of(&words, world.sandbox.path());
    for person in [&alice, &bob] {
        searched += nothing_of(&words, person.vault.sandbox().path());
    }
    searched += nothing_of(&words, &keyfold_tests::state_home());
    assert!(searched > 1_000_000, "nothing was searched");
    let log = fs::read_to_string(world.server.log()).unwrap();
    assert!(log.contains("Append"), "the server logged nothing: {log}");
}
