//! Kills, stops and fills what the built programs run on, and looks from outside whether anybody
//! noticed.
//!
//! `cargo bench --bench torture [-- --seed N --kills N --children N --allexjs N]`. Services of
//! AllexJS are among the children where `ALLEXJS_MODULES` names a folder `node_modules` with them.
//!
//! ```text
//!  seed ──► rounds of deeds ──► keeper, engine, LanManager, children, disk
//!                 │
//!            quiet point ◄── status, held queries, the LanManager's table, /proc, ports
//! ```
//!
//! # Theory of operation
//!
//! A round is a few deeds; its end is a *quiet point*: within a bound everything is served again, and
//! all that can be seen is compared with what was known before and with what was done. Gentle rounds
//! kill, stop and continue engines alone: then nothing at all may have changed, and no held query may
//! have told anything. Tools call all the time, and each answer must come once. The seed decides what
//! is done; when it happens inside the programs is up to the machine.

#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

mod checks;
mod deeds;
mod load;
mod processes;
mod report;
mod rounds;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use allexmaster_testkit::installation::Installation;
use clap::Parser;
use rounds::Rounds;
use world::{Programs, World};

/// Kills what it can, and looks whether anybody noticed
#[derive(Debug, Parser)]
struct Arguments {
    /// Decides what is done; chosen anew where none is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many engines are killed; all else comes with it
    #[arg(long, default_value_t = 1_000)]
    kills: u64,
    /// How many services there are
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(3..=300))]
    children: u16,
    /// How many of them are services of AllexJS; a fifth where they are installed
    #[arg(long)]
    allexjs: Option<u16>,
    /// The first of 1,300 ports that nobody else uses
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u16).range(1_024..=64_000))]
    ports: u16,
    /// The folder with the programs allexmaster and allexlanmanager; without it, those of this build
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// A run of seconds for the gate: seed 1, 10 engines, 6 services
    #[arg(long, conflicts_with_all = ["seed", "kills", "children"])]
    small: bool,
    /// What `cargo bench` says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.small {
        arguments.seed = Some(1);
        (arguments.kills, arguments.children) = (10, 6);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = arguments
        .seed
        .unwrap_or_else(|| now.map_or(0, |time| time.as_secs()));
    let installation = match (Installation::find(), arguments.allexjs) {
        (Ok(installation), _) => Some(installation),
        (Err(why), Some(1..)) => {
            println!("no services of AllexJS: {why}");
            return ExitCode::FAILURE;
        }
        (Err(why), Some(0) | None) => {
            println!("NOT RUN: services of AllexJS: {why}");
            None
        }
    };
    let count = arguments.allexjs.unwrap_or(arguments.children / 5);
    let allexjs = installation
        .as_ref()
        .map(|installation| (installation, count));
    println!(
        "seed {seed}: {} services, {} of them of AllexJS, until {} engines were killed",
        arguments.children,
        allexjs.map_or(0, |(_, count)| count.min(arguments.children)),
        arguments.kills,
    );
    let started = Programs::find(arguments.programs).and_then(|programs| {
        let world = World::new(programs, arguments.children, allexjs, arguments.ports)?;
        Rounds::start(seed, world, installation.as_ref())
    });
    let mut rounds = match started {
        Ok(rounds) => rounds,
        Err(finding) => {
            println!("VERDICT: it did not even start: {finding}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = rounds.run(arguments.kills);
    rounds.report.print();
    match outcome.and_then(|()| rounds.end()) {
        Ok(()) => {
            println!("VERDICT: nothing lost, nothing doubled, nothing noticed (seed {seed})");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            println!("VERDICT: {finding} (seed {seed})");
            if let Some(folder) = rounds.give_up() {
                println!(
                    "what was done, and all logs and journals: {}",
                    folder.display()
                );
            }
            ExitCode::FAILURE
        }
    }
}
