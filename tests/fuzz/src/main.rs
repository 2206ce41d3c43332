//! Runs one fuzz target, the one that `KEYFOLD_FUZZ_TARGET` names, under libFuzzer.
#![no_main]

use std::sync::OnceLock;

use keyfold_fs::fuzzing::Target;

fn targets() -> impl Iterator<Item = Target> {
    let engine = keyfold_fs::fuzzing::TARGETS.into_iter();
    engine.chain(keyfold_protocol::fuzzing::TARGETS)
}

fn chosen() -> fn(&[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("KEYFOLD_FUZZ_TARGET").unwrap_or_default();
        match targets().find(|(known, _)| *known == name) {
            Some((_, target)) => target,
            None => {
                let names: Vec<_> = targets().map(|(name, _)| name).collect();
                eprintln!("KEYFOLD_FUZZ_TARGET is one of: {}", names.join(" "));
                std::process::exit(2);
            }
        }
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| chosen()(data));
