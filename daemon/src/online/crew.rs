//! Several tasks of one thread that borrow what it has.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// A task.
pub(super) type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Tasks that were hired and have not begun.
#[derive(Default)]
pub(super) struct Hired<'t>(RefCell<Vec<Task<'t>>>);

impl<'t> Hired<'t> {
    /// Hires a task; it begins soon.
    pub(super) fn hire(&self, task: impl Future<Output = ()> + 't) {
        self.0.borrow_mut().push(Box::pin(task));
    }

    fn take(&self) -> Vec<Task<'t>> {
        self.0.take()
    }
}

/// Runs `chief` to its end, and beside it whatever it hires.
pub(super) async fn together<T>(chief: impl Future<Output = T>, hired: &Hired<'_>) -> T {
    let mut chief = pin!(chief);
    let mut crew = Vec::new();
    poll_fn(|context| {
        if let Poll::Ready(done) = chief.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        // Whoever wakes one of them wakes all: there are few, and a look costs each next to nothing.
        crew.extend(hired.take());
        crew.retain_mut(|task: &mut Task<'_>| task.as_mut().poll(context).is_pending());
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_hired_runs_beside_the_chief_until_he_is_done() {
        let (count, hired) = (Cell::new(0), Hired::default());
        let (count, hired_ref) = (&count, &hired);
        let chief = async {
            for _ in 0..3 {
                hired_ref.hire(async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    count.set(count.get() + 1);
                });
            }
            while count.get() < 3 {
                tokio::task::yield_now().await;
            }
            hired_ref.hire(std::future::pending());
            "done"
        };
        assert_eq!(crate::remote::tests::run(together(chief, &hired)), "done");
    }
}
