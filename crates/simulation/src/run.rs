//! One run: the time of faults, the calm, the verdict.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use allexmaster_state::{Event, StopSource};

use crate::crash::{Crashes, Loss, Name, Point};
use crate::failure::Failure;
use crate::plan::{FATE_MOST, Length};
use crate::world::World;

/// How long the world may take to come to rest once the faults have ended: longer than every
/// pause of the rules and of the wire, several times over. Milliseconds.
const REST_MOST: u64 = 30 * 60 * 1_000;
/// The world is looked at so often until it is at rest.
const LOOK_EVERY: u64 = 1_000;
/// It is at rest when nothing has changed for so long: longer than a port cools down and an
/// unready child is waited for, and shorter than services are forgotten.
const REST: u64 = 45_000;
/// How long a master may take to stop.
const STOP_MOST: u64 = 60_000;
/// So many things in one millisecond are no life, but a loop that does not end.
const TICKS_AT_ONCE_MOST: u64 = 200_000;

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events in the master's journal.
    pub events: u64,
    /// Simulated milliseconds.
    pub milliseconds: u64,
    /// Points at which a crash makes a difference, each time that one was passed.
    pub crash_points: u64,
    /// Crashes: of the engine, of the master, of the machine.
    pub losses: u64,
    /// Children forked.
    pub forks: u64,
    /// The kinds of points that a crash happened at.
    pub(crate) covered: BTreeSet<(Point, Name, Loss)>,
    /// The journal's events and times, in one number: the same for the same run.
    pub digest: u64,
}

impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.milliseconds += other.milliseconds;
        self.crash_points += other.crash_points;
        self.losses += other.losses;
        self.forks += other.forks;
        self.covered.extend(other.covered.iter().copied());
    }

    /// At how many kinds of points (before an effect of a kind, after the durability of an event of
    /// a kind, and so on; for each sort of loss) a crash happened.
    #[must_use]
    pub fn kinds_covered(&self) -> usize {
        self.covered.len()
    }
}

/// Runs a seed.
///
/// # Errors
/// [`Failure`] says which promise did not hold.
pub fn run(seed: u64, length: Length, crashes: Crashes) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, length, crashes);
    let disk = world.disk.clone();
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    if let Err(panic) = lived {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let words = words.unwrap_or_else(|| "a panic without words".to_owned());
        // What the panic has left half done is not looked at again, and counts first.
        world.broken = Some(words);
    }
    if let Some(what) = world.broken.take() {
        return Err(Box::new(Failure {
            seed,
            length,
            crashes,
            at: world.now,
            event: world.acknowledged,
            what,
            disk,
        }));
    }
    Ok(Report {
        events: world.acknowledged,
        milliseconds: world.now,
        crash_points: world.crash_points.passed,
        losses: world.crash_points.losses,
        forks: world.forks,
        covered: std::mem::take(&mut world.crash_points.covered),
        digest: world.digest(),
    })
}

/// Runs a seed once for each point that it passes and each sort of loss, crashing there.
///
/// # Errors
/// [`Failure`], of the first run that failed.
pub fn sweep(
    seed: u64,
    length: Length,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, Box<Failure>> {
    let mut total = run(seed, length, Crashes::Never)?;
    let points = total.crash_points;
    for number in 1..=points {
        progress(number, points);
        for loss in Loss::ALL {
            total.add(&run(seed, length, Crashes::At { number, loss })?);
        }
    }
    Ok(total)
}

fn live(world: &mut World) {
    let calm_from = world.plan.calm_from;
    world.pass_until(calm_from);
    world.calm_down();
    world.come_to_rest();
    if world.broken.is_some() {
        return;
    }
    world.check_replay();
    world.stop();
}

impl World {
    /// Everything happens until then, or until a promise is broken.
    fn pass_until(&mut self, end: u64) {
        let mut ticks = 0;
        let mut then = self.now;
        while self.broken.is_none() && self.tick(end) {
            ticks = if self.now == then { ticks + 1 } else { 0 };
            then = self.now;
            self.demand(ticks < TICKS_AT_ONCE_MOST, || {
                "it never ends: too much happens at once".to_owned()
            });
        }
    }

    /// Without faults, all needs are satisfied, and then nothing changes any more.
    fn come_to_rest(&mut self) {
        let end = self.now + REST_MOST;
        self.pass_until(self.now + FATE_MOST);
        let mut since = None;
        while self.broken.is_none() {
            match self.unrest() {
                None => {
                    let (began, forks) = *since.get_or_insert((self.now, self.forks));
                    let rested = self.forks == forks;
                    self.demand(rested, || {
                        "a child is started although all is at rest".to_owned()
                    });
                    if self.now >= began + REST {
                        return;
                    }
                }
                Some(why) => {
                    since = None;
                    let now = self.now;
                    self.demand(now < end, || format!("it never comes to rest: {why}"));
                }
            }
            for instance in self.given_up() {
                self.ask(|request| Event::RestartRequested { request, instance });
            }
            self.pass_until(self.now + LOOK_EVERY);
        }
    }

    /// At the end the master stops, and leaves nothing.
    fn stop(&mut self) {
        let (exits, end) = (self.exits, self.now + STOP_MOST);
        let mut asked = None;
        while self.broken.is_none() && self.exits == exits {
            // Whoever asked a master that was lost has heard that, and asks the next one.
            if asked != Some(self.life) && self.engine.is_some() {
                asked = Some(self.life);
                self.ask(|request| Event::StopRequested {
                    request: Some(request),
                    source: StopSource::Operator,
                });
            }
            let now = self.now;
            self.demand(now < end, || "the master does not stop".to_owned());
            self.pass_until(now + 10);
        }
    }
}
