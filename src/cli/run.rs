//! `allexmaster` without a command: the master of the folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::config::report;
use super::{Common, complain, runtime};
use allexmaster_journal::{BadFailpoint, Failpoint};
use allexmaster_keeper::keeper::{self, Role};
use allexmaster_keeper::link::Inheritance;
use tracing::{info, warn};

use crate::child::AbortAfterFork;
use crate::config::{Accepted, Config, Loaded, Overrides};
use crate::daemon::{self, Options, Time};
use crate::exit_code;
use crate::telemetry::{self, LogDestination, LogFormat};

/// The variable that makes a test's master die at a point of the loop.
const FAILPOINT: &str = "ALLEXMASTER_FAILPOINT";
/// The variable that names the file by which a test sets the clock of its master.
const CLOCK_SHIFT: &str = "ALLEXMASTER_CLOCK_SHIFT";

pub(super) fn run(
    common: &Common,
    overrides: &Overrides,
    role: Option<Role>,
    inheritance: Option<Inheritance>,
) -> ExitCode {
    if let Err(error) = telemetry::start(common.log_format, LogDestination::StandardError) {
        complain(&format!("cannot log: {error}"));
    }
    let (failpoint, abort_after_fork) = match failpoints() {
        Ok(failpoints) => failpoints,
        Err(error) => {
            complain(&format!("{FAILPOINT}: {error}"));
            return ExitCode::from(exit_code::USAGE);
        }
    };
    let folder = match std::path::absolute(&common.directory) {
        Ok(folder) if folder.is_dir() => folder,
        Ok(folder) => {
            complain(&format!("{} is not a folder", folder.display()));
            return ExitCode::from(exit_code::CONFIGURATION);
        }
        Err(error) => {
            complain(&format!("{}: {error}", common.directory.display()));
            return ExitCode::from(exit_code::CONFIGURATION);
        }
    };
    let kept = inheritance.as_ref().and_then(|inherited| {
        // Its file may be anything by now: an engine may die at any time.
        Accepted::given_back(inherited.kept(), overrides)
    });
    let accepted = kept.unwrap_or_else(|| {
        let loaded = Config::load(&folder, overrides)?;
        if role != Some(Role::Engine) {
            announce(&loaded);
        }
        Ok(Accepted::now(loaded))
    });
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return report(error, false),
    };
    if role.is_none() {
        // From here on the keeper goes on; its engines come here again, each in its role.
        let error = keeper::become_keeper(common.log_format == LogFormat::Json);
        warn!(%error, "there will be no keeper: a killed master will lose its connections");
    }
    let options = Options {
        folder,
        accepted,
        overrides: overrides.clone(),
        socket_folder: common.socket_dir.clone(),
        failpoint,
        abort_after_fork,
        time: std::env::var_os(CLOCK_SHIFT)
            .map_or_else(Time::default, |file| Time::shifted_by(PathBuf::from(file))),
    };
    match runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(daemon::run(options, inheritance));
            // What still waits for the system then would hold up whoever waits for our end.
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            code
        }
        Err(error) => {
            complain(&format!(
                "the system refused what every program needs: {error}"
            ));
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

/// How long calls of the system that are under way may take when everything else has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a test wants the master to die: `durable:17` in the loop, `forked:2` after a fork.
fn failpoints() -> Result<(Option<Failpoint>, Option<AbortAfterFork>), String> {
    let Ok(text) = std::env::var(FAILPOINT) else {
        return Ok((None, None));
    };
    if let Some(count) = text.strip_prefix("forked:") {
        let count = count.parse().map_err(|_| format!("{count} is no number"))?;
        return Ok((None, Some(AbortAfterFork(count))));
    }
    let failpoint: Failpoint = text
        .parse()
        .map_err(|error: BadFailpoint| error.to_string())?;
    Ok((Some(failpoint), None))
}

fn announce(loaded: &Loaded) {
    if loaded.written {
        info!(file = %loaded.file.display(), "there was no configuration: the default was written");
    }
    for warning in &loaded.warnings {
        warn!("{}", warning.one_line());
    }
}
