//! The command line of the simulation: one seed, many seeds, or one seed at every crash point.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use allexmaster_simulation::{Crashes, Failure, Length, Loss, Report, run, sweep};
use clap::{Args, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Simulates allexmaster, its LanManager, its children, its disk and its network from a seed, with
/// everything going wrong, and says whether every promise holds.
#[derive(Parser)]
#[command(name = "allexmaster-simulation", version)]
struct Arguments {
    #[command(flatten)]
    what: What,
    /// The first of `--seeds`.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Crash the seed once at every single point, for each sort of loss.
    #[arg(long, requires = "seed", conflicts_with_all = ["crash_at", "no_crashes"])]
    sweep: bool,
    /// A shorter life: three services, eight seconds of faults.
    #[arg(long)]
    short: bool,
    /// No crashes of the master.
    #[arg(long, conflicts_with = "crash_at")]
    no_crashes: bool,
    /// Crash at the point of this number only.
    #[arg(long, requires = "lose")]
    crash_at: Option<u64>,
    /// What is lost there.
    #[arg(long)]
    lose: Option<Lose>,
    /// The folder for the journal of a run that fails.
    #[arg(long, default_value = "target/simulation")]
    keep: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Run this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long)]
    seeds: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lose {
    /// The engine; the connections live on.
    Engine,
    /// The master with its connections.
    Master,
    /// The machine.
    Machine,
}

impl Lose {
    const fn loss(self) -> Loss {
        match self {
            Self::Engine => Loss::Engine,
            Self::Master => Loss::Master,
            Self::Machine => Loss::Machine,
        }
    }
}

impl Arguments {
    const fn length(&self) -> Length {
        if self.short {
            Length::Short
        } else {
            Length::Full
        }
    }

    fn crashes(&self) -> Crashes {
        match (self.crash_at, self.lose) {
            (Some(number), Some(lose)) => Crashes::At {
                number,
                loss: lose.loss(),
            },
            (Some(_) | None, _) if self.no_crashes => Crashes::Never,
            (Some(_) | None, _) => Crashes::usual(),
        }
    }

    /// Runs what is asked for. How many seeds, and what came of them.
    fn run(&self, bar: &ProgressBar) -> Result<(u64, Report), Box<Failure>> {
        if let Some(seed) = self.what.seed {
            let report = if self.sweep {
                sweep(seed, self.length(), |number, points| {
                    bar.set_length(points);
                    bar.set_position(number);
                })?
            } else {
                run(seed, self.length(), self.crashes())?
            };
            return Ok((1, report));
        }
        let seeds = self.what.seeds.unwrap_or(0);
        bar.set_length(seeds);
        let mut total = Report::default();
        for seed in self.first..self.first.saturating_add(seeds) {
            total.add(&run(seed, self.length(), self.crashes())?);
            bar.inc(1);
            bar.set_message(format!("{} events, {} losses", total.events, total.losses));
        }
        Ok((seeds, total))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Each broken promise is told once, in the end.
    std::panic::set_hook(Box::new(|_| {}));
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    let began = Instant::now();
    let outcome = arguments.run(&bar);
    bar.finish_and_clear();
    let mut output = io::stdout().lock();
    let (told, code) = match outcome {
        Ok((seeds, report)) => {
            let seconds = began.elapsed().as_secs_f64();
            (
                writeln!(output, "{}", summary(seeds, &report, seconds)),
                ExitCode::SUCCESS,
            )
        }
        Err(failure) => (
            writeln!(output, "{}", story(&failure, &arguments.keep)),
            ExitCode::FAILURE,
        ),
    };
    // Nobody reads it: the exit code still tells.
    drop(told);
    code
}

fn summary(seeds: u64, report: &Report, seconds: f64) -> String {
    format!(
        "{seeds} seeds, {} events, {} simulated hours, {} forks, {} crashes at {} kinds of points \
         ({} points passed), 0 broken promises, {seconds:.1} s, digest {:016x}",
        report.events,
        report.milliseconds / 3_600_000,
        report.forks,
        report.losses,
        report.kinds_covered(),
        report.crash_points,
        report.digest,
    )
}

fn story(failure: &Failure, folder: &std::path::Path) -> String {
    let again = format!(
        "again: cargo run --release -p allexmaster-simulation -- {}",
        failure.arguments()
    );
    let kept = match failure.keep(folder) {
        Ok(paths) => {
            let journals = paths.iter().map(|path| {
                let path = path.display();
                format!("journal: allexmaster journal log --last 40 --effects --journal {path}")
            });
            journals.collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("the journals are not kept: {error}"),
    };
    format!("{failure}\n{again}\n{kept}")
}
