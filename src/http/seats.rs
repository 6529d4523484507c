//! So many connections at the same time, and none of them lost to clients that ask for nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::{AbortHandle, JoinSet};

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    /// Oldest first.
    taken: VecDeque<(Seat, AbortHandle)>,
    connections: JoinSet<()>,
}

/// The place of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    is_at_work: Arc<AtomicBool>,
}

/// While this lives, a request is being answered.
#[derive(Debug)]
pub(super) struct AtWork(Seat);

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: VecDeque::new(),
            connections: JoinSet::new(),
        }
    }

    /// Has a connection served. Where there are too many, the oldest one goes whose request is not there yet, or answered
    /// already: somebody who holds connections open must keep nobody else out. Where all are at work, the first one's
    /// end is waited for.
    pub(super) async fn take<F>(&mut self, connection: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.are_taken() {
            let idle = self.taken.iter().position(|(seat, _)| !seat.is_at_work());
            match idle.and_then(|index| self.taken.remove(index)) {
                Some((_, connection)) => connection.abort(),
                None => {
                    let _ = self.connections.join_next().await;
                }
            }
        }
        let seat = Seat::default();
        let handle = self.connections.spawn(connection(seat.clone()));
        self.taken.push_back((seat, handle));
    }

    fn are_taken(&mut self) -> bool {
        // What has ended is let go of here, so that nothing piles up.
        while self.connections.try_join_next().is_some() {}
        self.taken
            .retain(|(_, connection)| !connection.is_finished());
        self.taken.len() >= self.most
    }
}

impl Seat {
    pub(super) fn at_work(&self) -> AtWork {
        self.is_at_work.store(true, Ordering::Relaxed);
        AtWork(self.clone())
    }

    fn is_at_work(&self) -> bool {
        self.is_at_work.load(Ordering::Relaxed)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.is_at_work.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    /// A connection that tells its number when it goes.
    struct Guest(usize, mpsc::UnboundedSender<usize>);

    impl Drop for Guest {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_asks_for_nothing_goes_and_who_is_at_work_stays() {
        let (gone, mut told) = mpsc::unbounded_channel();
        let mut seats = Seats::new(3);
        for number in 0..5 {
            let guest = Guest(number, gone.clone());
            let taken = seats.take(|seat| async move {
                let _guest = guest;
                // The first two have sent their requests.
                let _at_work = (number < 2).then(|| seat.at_work());
                pending::<()>().await;
            });
            timeout(Duration::from_secs(60), taken).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!((told.recv().await, told.recv().await), (Some(2), Some(3)));
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_at_work_the_next_one_waits_for_an_end() {
        let mut seats = Seats::new(1);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        seats
            .take(|seat| async move {
                let _at_work = seat.at_work();
                let _ = ended.await;
            })
            .await;
        tokio::task::yield_now().await;
        let next = timeout(Duration::from_secs(60), seats.take(|_| async {})).await;
        assert!(next.is_err());
        end.send(()).unwrap();
        let next = timeout(Duration::from_secs(60), seats.take(|_| async {})).await;
        assert!(next.is_ok());
    }
}
