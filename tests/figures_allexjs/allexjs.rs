//! Services of AllexJS under this master and under the JavaScript one, side by side in one run.
//!
//! `ALLEXJS_MODULES=/path/to/node_modules cargo bench --bench allexjs [-- NEEDS [RUNS]]`: the folder
//! has the JavaScript programs; 20 needs and 3 runs by default; `--small` is for the gate. Both masters serve the
//! same LanManager, which runs in this process. The baseline is Node alone: the same children,
//! booted two at a time by nothing but a process that waits for each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on panics, and prints what it found"
)]

mod bare;
mod master;
mod watch;

use std::time::Duration;

use allexmaster_testkit::installation::Installation;
use allexmaster_testkit::report::{self, goal, median_and_most, to_megabytes as megabytes};
use master::{Figures, Kind};

/// How many services are needed, and how often each figure is taken, where nothing else is said.
const SIZE: [usize; 2] = [20, 3];
const SMALL: [usize; 2] = [2, 1];
/// How many children of many are killed in one life. None of the JavaScript master's: it waits until
/// its helper has forgotten that the ports are its own, which takes minutes where the next ports are
/// its own as well.
const KILLS_OF_MANY: u16 = 3;

fn main() {
    let installation = match Installation::find_with_master() {
        Ok(installation) => installation,
        Err(missing) => return report::not_run("figures with AllexJS", &missing),
    };
    let [needs, runs] = report::sizes(SIZE, SMALL);
    let needs = u16::try_from(needs).unwrap();
    // Its first start is that of a helper which then stays: that is no figure of this machine's.
    master::measure(&installation, Kind::JavaScript, 1, 0);
    let mut table = Table::default();
    for _ in 0..runs {
        let one = bare::boot(&installation, 1);
        let all = bare::boot(&installation, needs);
        table.one.push(one.as_secs_f64());
        table.all.push(all.as_secs_f64());
        for (kind, columns, kills) in [
            (Kind::Ours, &mut table.ours, KILLS_OF_MANY.min(needs)),
            (Kind::JavaScript, &mut table.theirs, 0),
        ] {
            let alone = master::measure(&installation, kind, 1, 1);
            let many = master::measure(&installation, kind, needs, kills);
            columns.take(&alone, &many);
        }
    }
    table.print(needs);
}

/// All that was measured, each figure with its runs.
#[derive(Default)]
struct Table {
    one: Vec<f64>,
    all: Vec<f64>,
    ours: Columns,
    theirs: Columns,
}

/// The figures of one master.
#[derive(Default)]
struct Columns {
    first: Vec<f64>,
    all: Vec<f64>,
    back: Vec<f64>,
    back_of_many: Vec<f64>,
    memory: Vec<f64>,
    helper: Vec<f64>,
}

impl Columns {
    /// Takes the figures of a life with one need and of one with many.
    fn take(&mut self, alone: &Figures, many: &Figures) {
        self.first.push(alone.satisfied.as_secs_f64());
        self.all.push(many.satisfied.as_secs_f64());
        self.back
            .extend(alone.back.iter().map(Duration::as_secs_f64));
        self.back_of_many
            .extend(many.back.iter().map(Duration::as_secs_f64));
        self.memory.push(megabytes(many.memory));
        self.helper.extend(many.helper.map(megabytes));
    }
}

impl Table {
    /// Prints each figure as its smallest, median and largest; a goal names what is compared.
    fn print(&self, needs: u16) {
        let Self {
            one,
            all,
            ours,
            theirs,
        } = self;
        println!("smallest / median / largest; goals compare medians\n");
        row("one child, Node alone, s", one);
        row(
            &format!("{needs} children, Node alone, two at a time, s"),
            all,
        );
        for (name, master) in [("allexmaster", ours), ("JavaScript master", theirs)] {
            println!();
            row(
                &format!("{name}: one need, from its start, s"),
                &master.first,
            );
            row(
                &format!("{name}: {needs} needs, from its start, s"),
                &master.all,
            );
            row(
                &format!("{name}: back after kill -9 of its child, s"),
                &master.back,
            );
            row(
                &format!("{name}: back after kill -9 of one of {needs}, s"),
                &master.back_of_many,
            );
            row(
                &format!("{name}: memory with {needs} children, MB"),
                &master.memory,
            );
            row(
                &format!("{name}: memory of its other process, MB"),
                &master.helper,
            );
        }
        println!();
        let helped = median(&theirs.memory) + median(&theirs.helper);
        goal(
            "all needs / Node alone",
            median(&ours.all) / median(all),
            1.1,
        );
        goal(
            "back, less one boot, s",
            median(&ours.back) - median(one),
            0.05,
        );
        let own = median(&ours.memory) + median(&ours.helper);
        goal("memory / theirs", own / helped, 0.2);
    }
}

fn row(what: &str, figures: &[f64]) {
    if figures.is_empty() {
        println!("{what:<60} {:>8}", "none");
        return;
    }
    let sorted = sorted(figures);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    let median = median(figures);
    println!("{what:<60} {least:>8.2} {median:>8.2} {most:>8.2}");
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(figures: &[f64]) -> f64 {
    median_and_most(figures).0
}
