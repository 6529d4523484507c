//! So many connections at the same time, and none of them lost to clients that ask for nothing or do not take what they
//! asked for.

use super::line::Line;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// A body goes in pieces of this size: one is asked for when the client has taken almost all of those before it, so the end
/// of the body is all but the end of the answer.
const PIECE: usize = 16 * 1024;
/// So long a client may take nothing of a body while others wait.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(5);

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    line: Line,
    /// Oldest first.
    taken: VecDeque<(Seat, AbortHandle)>,
    connections: JoinSet<()>,
}

/// The place of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    work: Arc<Mutex<Work>>,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Work {
    /// No request is there, or it is answered.
    #[default]
    Nothing,
    /// The answer is being found.
    Answering,
    /// The answer is on its way; the client took a piece of it then.
    Sending(Instant),
}

/// While this lives, a request is being answered.
#[derive(Debug)]
pub(super) struct AtWork(Seat);

/// A body that is being sent: as long as it is, its connection is at work.
pub(super) struct Sending {
    body: Body,
    /// What was taken out of the body and does not fit into the piece that was sent.
    rest: Bytes,
    at_work: AtWork,
}

impl Seats {
    pub(super) fn new(most: usize, line: Line) -> Self {
        Self {
            most,
            line,
            taken: VecDeque::new(),
            connections: JoinSet::new(),
        }
    }

    /// Has a connection served. Where there are too many, the oldest one goes whose request is not there yet, or answered
    /// already: somebody who holds connections open must keep nobody else out. Where all are at work, the first one's
    /// end is waited for, and whoever does not take his answer goes.
    pub(super) async fn take<F>(&mut self, connection: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.are_taken() {
            let idle = self.taken.iter().position(|(seat, _)| !seat.is_at_work());
            match idle.and_then(|index| self.taken.remove(index)) {
                Some((_, connection)) => connection.abort(),
                None => {
                    let _waiting = self.line.wait();
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
        self.set(Work::Answering);
        AtWork(self.clone())
    }

    fn is_at_work(&self) -> bool {
        *self.work() != Work::Nothing
    }

    /// Comes back when somebody waits while the client here takes nothing of its answer.
    pub(super) async fn is_in_the_way(&self, line: &Line) {
        loop {
            line.is_long().await;
            let work = *self.work();
            match work {
                Work::Sending(moved) if moved.elapsed() >= STALL_LIMIT => return,
                Work::Sending(moved) => sleep_until(moved + STALL_LIMIT).await,
                // Nothing that begins from here on stands still for so long any sooner.
                Work::Nothing | Work::Answering => sleep(STALL_LIMIT).await,
            }
        }
    }

    fn set(&self, work: Work) {
        *self.work() = work;
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending {
    pub(super) fn new(body: Body, at_work: AtWork) -> Self {
        at_work.0.set(Work::Sending(Instant::now()));
        Self {
            body,
            rest: Bytes::new(),
            at_work,
        }
    }
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        // Whatever was sent before has been taken.
        this.at_work.0.set(Work::Sending(Instant::now()));
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first piece, when nothing is left over of any.
        self.body.size_hint()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.set(Work::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;
    use std::future::{pending, poll_fn};
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
        let mut seats = Seats::new(3, Line::default());
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

    #[tokio::test]
    async fn an_answer_is_at_work_until_the_last_piece_of_it_is_taken() {
        let seat = Seat::default();
        let text = "x".repeat(PIECE * 2 + 1);
        let mut sending = Sending::new(Body::from(text.clone()), seat.at_work());
        assert_eq!(sending.size_hint().exact(), Some(text.len() as u64));
        let mut sizes = Vec::new();
        while !sending.is_end_stream() {
            assert!(seat.is_at_work());
            let frame = poll_fn(|context| Pin::new(&mut sending).poll_frame(context)).await;
            sizes.push(frame.unwrap().unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        drop(sending);
        assert!(!seat.is_at_work());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_at_work_the_next_one_waits_for_an_end() {
        let mut seats = Seats::new(1, Line::default());
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

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_of_his_answer_goes_when_others_wait_and_not_before() {
        let line = Line::default();
        let seat = Seat::default();
        let text = "x".repeat(PIECE * 9);
        let mut sending = Sending::new(Body::from(text), seat.at_work());
        let unhurried = timeout(STALL_LIMIT * 9, seat.is_in_the_way(&line)).await;
        assert!(unhurried.is_err(), "nobody waits");
        let _waiting = line.wait();
        // One that takes a piece now and then stays.
        for _ in 0..3 {
            let frame = poll_fn(|context| Pin::new(&mut sending).poll_frame(context)).await;
            assert!(frame.is_some());
            let moving = timeout(STALL_LIMIT / 2, seat.is_in_the_way(&line)).await;
            assert!(moving.is_err());
        }
        let stalled = timeout(STALL_LIMIT, seat.is_in_the_way(&line)).await;
        assert!(stalled.is_ok());
        // What takes long to find is not the client's fault.
        drop(sending);
        let _at_work = seat.at_work();
        let answering = timeout(STALL_LIMIT * 9, seat.is_in_the_way(&line)).await;
        assert!(answering.is_err());
    }
}
