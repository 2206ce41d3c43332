//! Runs many random sequences and shows the shortest that fails.

use std::cell::RefCell;
use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::ops::{Op, op};
use crate::pair::Pair;
use crate::subject::Subject;
use crate::tree::Why;

const CASES: u64 = 200;
/// Longest sequence; on average they are half as long.
const OPS: u64 = 120;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Runs one sequence on a fresh subject and the model.
pub(crate) fn check_sequence(subject: &mut dyn Subject, ops: &[Op]) -> Result<(), Why> {
    let mut pair = Pair::new(subject)?;
    for (at, op) in ops.iter().enumerate() {
        pair.step(op)
            .map_err(|why| format!("step {at}, {op:?}: {why}"))?;
    }
    pair.remount().map_err(|why| format!("at the end: {why}"))
}

/// A sequence that fails, as short as possible.
pub(crate) struct Failure {
    why: String,
    ops: Vec<Op>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nshortest sequence:", self.why)?;
        self.ops
            .iter()
            .enumerate()
            .try_for_each(|(at, op)| writeln!(f, "  {at}: {op:?}"))
    }
}

/// Runs random sequences, each on a subject that `make` provides, up to the first that fails.
pub(crate) fn find_failure<S: Subject>(
    make: &mut dyn FnMut() -> Result<S, Why>,
    seed: u64,
) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: setting("KEYFOLD_MODEL_CASES", CASES) as u32,
        max_shrink_iters: 600,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let ops = vec(op(), 1..=setting("KEYFOLD_MODEL_OPS", OPS) as usize);
    let make = RefCell::new(make);
    let check = |ops: &[Op]| {
        let mut subject = make.borrow_mut()()?;
        check_sequence(&mut subject, ops)
    };
    match runner.run(&ops, |ops| check(&ops).map_err(TestCaseError::fail)) {
        Ok(()) => Ok(()),
        Err(TestError::Abort(why)) => Err(Failure {
            why: why.to_string(),
            ops: Vec::new(),
        }),
        Err(TestError::Fail(why, ops)) => Err(shortened(why.to_string(), ops, &check)),
    }
}

/// Leaves out operations as long as the rest fails, too.
fn shortened(why: Why, ops: Vec<Op>, check: &dyn Fn(&[Op]) -> Result<(), Why>) -> Failure {
    let mut failure = Failure { why, ops };
    let mut at = 0;
    while at < failure.ops.len() {
        let mut fewer = failure.ops.clone();
        fewer.remove(at);
        let result = catch_unwind(AssertUnwindSafe(|| check(&fewer)));
        match result.unwrap_or_else(|_| Err("a panic, shown above".to_owned())) {
            Ok(()) => at += 1,
            Err(why) => {
                failure = Failure { why, ops: fewer };
                at = 0;
            }
        }
    }
    failure
}

/// The seed to begin with; printed, so that a failing run can be repeated.
pub(crate) fn seed() -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let seed = setting("KEYFOLD_MODEL_SEED", clock.as_nanos() as u64);
    println!("KEYFOLD_MODEL_SEED={seed}");
    seed
}

/// Runs random sequences and panics on the first that fails.
pub(crate) fn check_sequences<S: Subject>(make: &mut dyn FnMut() -> Result<S, Why>) {
    let seed = seed();
    if let Err(failure) = find_failure(make, seed) {
        panic!("{failure}KEYFOLD_MODEL_SEED={seed}");
    }
}
