//! One run: the time of faults, the calm, the verdict.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use crate::crash::{Crashes, Loss, Name, Point};
use crate::failure::Failure;
use crate::plan::{Length, MAX_FATE};
use crate::world::World;

/// How long the world may take to come to rest once the faults have ended: longer than every
/// pause of the rules and of the wire, several times over. Milliseconds.
const MAX_REST: u64 = 30 * 60 * 1_000;
/// The world is looked at so often until it is at rest.
const LOOK_EVERY: u64 = 1_000;
/// It is at rest when nothing has changed for so long: longer than a port cools down and an
/// unready child is waited for, and shorter than services are forgotten.
const REST: u64 = 45_000;
/// So long after the last fault, two copies of a service may run: longer than it takes until a broken
/// line is noticed, the copy that the network does not use has had its time, and it has ended.
const MAX_DOUBLED: u64 = 60_000;
/// How long a master may take to stop.
const MAX_STOP: u64 = 60_000;
/// So many things in one millisecond are no life, but a loop that does not end.
const MAX_TICKS_AT_ONCE: u64 = 200_000;

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
    let disks: Vec<_> = world
        .masters
        .iter()
        .map(|master| master.disk.clone())
        .collect();
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    if let Err(panic) = lived {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let words = words.unwrap_or_else(|| "a panic without words".to_owned());
        // What the panic has left half done is not looked at again, and counts first.
        world.env.broken = Some(words);
    }
    if let Some(what) = world.env.broken.take() {
        return Err(Box::new(Failure {
            seed,
            length,
            crashes,
            at: world.env.now,
            what,
            disks,
        }));
    }
    Ok(Report {
        events: world.masters.iter().map(|master| master.acknowledged).sum(),
        milliseconds: world.env.now,
        crash_points: world.env.crash_points.passed,
        losses: world.env.crash_points.losses,
        forks: world.env.forks,
        covered: std::mem::take(&mut world.env.crash_points.covered),
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
    let calm_from = world.env.plan.calm_from;
    world.pass_until(calm_from);
    world.calm_down();
    world.come_to_rest();
    if world.env.broken.is_some() {
        return;
    }
    world.check_replay();
    world.stop();
}

impl World {
    /// Everything happens until then, or until a promise is broken.
    fn pass_until(&mut self, end: u64) {
        let mut ticks = 0;
        let mut then = self.env.now;
        while self.env.broken.is_none() && self.tick(end) {
            ticks = if self.env.now == then { ticks + 1 } else { 0 };
            then = self.env.now;
            self.env.demand(ticks < MAX_TICKS_AT_ONCE, || {
                "it never ends: too much happens at once".to_owned()
            });
        }
    }

    /// Without faults, all needs are satisfied, and then nothing changes any more.
    fn come_to_rest(&mut self) {
        let end = self.env.now + MAX_REST;
        self.pass_until(self.env.now + MAX_FATE);
        let mut since = None;
        let mut single_at = self.env.now;
        while self.env.broken.is_none() {
            let now = self.env.now;
            match self.doubled() {
                None => single_at = now,
                Some(instance) => self.env.demand(now < single_at + MAX_DOUBLED, || {
                    format!("{instance} runs twice in the network, and goes on")
                }),
            }
            match self.unrest() {
                None => {
                    let (began, forks) = *since.get_or_insert((now, self.env.forks));
                    let rested = self.env.forks == forks;
                    self.env.demand(rested, || {
                        "a child is started although all is at rest".to_owned()
                    });
                    if now >= began + REST {
                        return;
                    }
                }
                Some(why) => {
                    since = None;
                    self.env
                        .demand(now < end, || format!("it never comes to rest: {why}"));
                }
            }
            self.try_again();
            self.pass_until(now + LOOK_EVERY);
        }
    }

    /// Somebody has the services started that are not tried again by themselves.
    fn try_again(&mut self) {
        for index in 0..self.masters.len() {
            let Some(master) = self.masters.get(index) else {
                return;
            };
            if self.env.tools.waiting(master.id).next().is_none() {
                for instance in master.given_up() {
                    self.ask(index, "restart", json!(instance.as_str()));
                }
            }
        }
    }

    /// At the end the masters stop, and leave nothing.
    fn stop(&mut self) {
        let end = self.env.now + MAX_STOP;
        let exits: Vec<u64> = self.masters.iter().map(|master| master.exits).collect();
        let mut asked = vec![None; exits.len()];
        while self.env.broken.is_none() {
            let mut stopping = false;
            for (index, (asked, exits)) in asked.iter_mut().zip(&exits).enumerate() {
                let Some(master) = self.masters.get(index) else {
                    return;
                };
                if master.exits > *exits {
                    continue;
                }
                stopping = true;
                // Who asked a master that was lost has heard that, and asks the next one.
                if *asked != Some(master.life) && master.engine.is_some() {
                    *asked = Some(master.life);
                    self.ask(index, "stop", Value::Null);
                }
            }
            if !stopping {
                return;
            }
            let now = self.env.now;
            self.env
                .demand(now < end, || "a master does not stop".to_owned());
            self.pass_until(now + 10);
        }
    }
}
