//! What befalls the servers around the scheduler while runs go on.

use super::fleet::Fleet;
use mailprobe::demo::brevo::{Behaviour, error};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server that is away is away for less than this.
const LONGEST_AWAY: u64 = 2000;

/// One thing that befalls a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Dovecot is ended in good order, and comes back after a while.
    DovecotRestarts,
    /// Dovecot is killed with all its sessions, and comes back after a while.
    DovecotCrashes,
    /// The Pushgateway is ended in good order, and comes back after a while.
    GatewayRestarts,
    /// The Pushgateway is killed, and comes back after a while without what it had not written.
    GatewayCrashes,
    /// Brevo's port is closed, connections and all, and opened again after a while.
    BrevoRestarts,
    /// Brevo answers a few requests with 503, and takes nothing.
    BrevoFails,
    /// Brevo takes a few messages, and answers 503 all the same.
    BrevoLosesAnswers,
}

impl Event {
    pub const ALL: [Self; 7] = [
        Self::DovecotRestarts,
        Self::DovecotCrashes,
        Self::GatewayRestarts,
        Self::GatewayCrashes,
        Self::BrevoRestarts,
        Self::BrevoFails,
        Self::BrevoLosesAnswers,
    ];
}

/// Events in random order, each kind as often as the others.
pub struct Weather {
    random: fastrand::Rng,
    deck: Vec<Event>,
    /// How often each has happened.
    pub happened: BTreeMap<Event, usize>,
}

impl Weather {
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            deck: Vec::new(),
            happened: BTreeMap::new(),
        }
    }

    /// A number below this one.
    pub fn below(&mut self, limit: usize) -> usize {
        self.random.usize(..limit)
    }

    /// The next event, from its beginning to its end.
    pub fn strike(&mut self, fleet: &mut Fleet) {
        if self.deck.is_empty() {
            self.deck = Event::ALL.to_vec();
            self.random.shuffle(&mut self.deck);
        }
        let event = self.deck.pop().unwrap();
        *self.happened.entry(event).or_default() += 1;
        let away = Duration::from_millis(self.random.u64(..LONGEST_AWAY));
        let wait = || std::thread::sleep(away);
        match event {
            Event::DovecotRestarts => {
                fleet.dovecot.stop();
                wait();
                fleet.dovecot.restart();
            }
            Event::DovecotCrashes => {
                fleet.dovecot.crash();
                wait();
                fleet.dovecot.restart();
            }
            Event::GatewayRestarts => {
                fleet.gateway.stop();
                wait();
                fleet.gateway.restart();
            }
            Event::GatewayCrashes => {
                fleet.gateway.crash();
                wait();
                fleet.gateway.restart();
            }
            Event::BrevoRestarts => {
                fleet.stand_ins.stop_brevo();
                wait();
                fleet.stand_ins.start_brevo();
            }
            Event::BrevoFails => self.answer(fleet, Behaviour::Answer),
            Event::BrevoLosesAnswers => self.answer(fleet, Behaviour::TakeAndAnswer),
        }
    }

    fn answer(
        &mut self,
        fleet: &Fleet,
        behaviour: impl Fn(mailprobe::demo::http::Response) -> Behaviour,
    ) {
        for _ in 0..=self.random.usize(..5) {
            let answer = error(503, "unavailable", "try later");
            fleet.brevo.state().next.push_back(behaviour(answer));
        }
    }
}
