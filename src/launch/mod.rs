//! Launchers: how a module name of a need becomes a command line of this machine.
//!
//! ```text
//!  need "exec:web" ──► Launchers ──► Launcher ──► CommandLine ──► (child driver)
//!  ports, properties                 templates    program, arguments, environment, folder
//! ```
//!
//! # Theory of operation
//!
//! The configuration names every program that this machine may run; a need can only choose among
//! these names. What a need says (its name, its properties) gets into a command line solely by
//! placeholders, each filled in inside one argument: there is no shell, and the program itself is
//! never a placeholder. So no one in the network can make this machine run anything else.
//!
//! Built in are `sample:clock`, this very program in the role of a small service, and the services
//! of AllexJS: modules without a domain (`allex_timeservice`), which run in the child program of the
//! AllexJS that is installed here, and those of the domain `dotnet`. Of these a need may name any
//! that is installed, by the name of its package and by nothing else. The launchers `node` and
//! `dotnet` of the configuration, where they exist, say how they are started instead.

mod allexjs;
mod descriptor;
mod flags;
mod packages;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use allexmaster_state::{
    self as state, CommandHash, JournalId, ModuleName, PerProtocol, Pid, Protocol, SpawnOrder,
};
use thiserror::Error;

pub use allexjs::{AllexJs, DOTNET_DOMAIN, NODE_LAUNCHER};
pub(crate) use template::PLACEHOLDERS;
pub use template::{BadTemplate, Template, Unfillable};

use descriptor::Descriptor;

/// The module name of the built-in sample service.
pub const SAMPLE_CLOCK: &str = "sample:clock";
/// The domain of the launchers of the configuration: `exec:web` is the launcher `web`.
pub const EXEC_DOMAIN: &str = "exec";
/// The hidden arguments that make this program the sample service.
pub const SAMPLE_ARGUMENTS: [&str; 2] = ["sample", "clock"];
/// The environment variable that names the incarnation: `<journal>/<incarnation>`.
pub const INCARNATION_VARIABLE: &str = "ALLEXMASTER_INCARNATION";
/// The environment variable with the spawn descriptor, as JSON.
pub const SPAWN_VARIABLE: &str = "ALLEX_SPAWN";
/// The environment variable with the folder that a service of AllexJS changes to.
pub const RUNTIME_FOLDER_VARIABLE: &str = "ALLEX_RUNTIMEDIRECTORY";
/// The environment variable with the master's process number.
pub const PARENT_VARIABLE: &str = "parentProcessID";

/// The longest single argument or variable: Linux takes 128 KiB (`MAX_ARG_STRLEN`) with the
/// variable's name and the terminating zero; a little less leaves room for these.
const LONGEST_TEXT: usize = 127 * 1024;

/// One way of starting a program, from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launcher {
    /// The program: looked up in `PATH`, or, where it has a slash, seen from the master's folder.
    pub program: PathBuf,
    pub arguments: Vec<Template>,
    /// The folder it runs in, seen from the master's folder; that folder itself where absent.
    pub folder: Option<PathBuf>,
    /// Variables on top of the master's own environment and AllexJS's.
    pub environment: BTreeMap<String, Template>,
    /// The protocols whose ports must answer, where the configuration says it.
    pub ready: Option<PerProtocol<bool>>,
}

impl Launcher {
    /// The protocols whose ports are tested, reported and shown: those that `ready` names; else those
    /// whose ports appear as placeholders; else all three.
    #[must_use]
    pub fn serves(&self) -> PerProtocol<bool> {
        if let Some(ready) = self.ready {
            return ready;
        }
        let mentioned = |protocol| {
            self.arguments
                .iter()
                .chain(self.environment.values())
                .any(|template| template.mentions(protocol))
        };
        let serves = PerProtocol {
            tcp: mentioned(Protocol::Tcp),
            http: mentioned(Protocol::Http),
            ws: mentioned(Protocol::Ws),
        };
        if serves == PerProtocol::default() {
            ALL_PROTOCOLS
        } else {
            serves
        }
    }

    /// Differs when anything differs in how the program is started. The same in every build: it
    /// stands in the journal.
    fn command_hash(&self) -> CommandHash {
        let mut hasher = blake3::Hasher::new();
        // Each text with a zero byte behind it, which no text has inside.
        let mut text = |text: &str| {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        };
        text(&self.program.to_string_lossy());
        for argument in &self.arguments {
            text(&argument.to_string());
        }
        text("");
        text(
            &self
                .folder
                .as_deref()
                .unwrap_or(Path::new(""))
                .to_string_lossy(),
        );
        for (name, value) in &self.environment {
            text(name);
            text(&value.to_string());
        }
        for (protocol, serves) in self.serves().iter() {
            text(&format!("{protocol} {serves}"));
        }
        let [one, two, three, four, ..] = *hasher.finalize().as_bytes();
        CommandHash(u32::from_le_bytes([one, two, three, four]))
    }
}

/// Stands for the command of a service of AllexJS for which no launcher is configured.
const BUILT_IN: CommandHash = CommandHash(0);

const ALL_PROTOCOLS: PerProtocol<bool> = PerProtocol {
    tcp: true,
    http: true,
    ws: true,
};

/// All that a master may run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Launchers {
    by_module: BTreeMap<ModuleName, Launcher>,
    allexjs: AllexJs,
}

impl Launchers {
    /// The launchers of the configuration, each under its bare name (`web`), and the built-in
    /// ones. `own_program` is this program's file, which the sample service runs.
    #[must_use]
    pub fn new(mut configured: BTreeMap<String, Launcher>, own_program: &Path) -> Self {
        let allexjs = AllexJs {
            node: configured.remove(NODE_LAUNCHER),
            dotnet: configured.remove(DOTNET_DOMAIN),
        };
        let sample = Launcher {
            program: own_program.to_owned(),
            arguments: Vec::from(SAMPLE_ARGUMENTS.map(Template::of_text)),
            folder: None,
            environment: BTreeMap::new(),
            ready: Some(ALL_PROTOCOLS),
        };
        let mut by_module: BTreeMap<_, _> = configured
            .into_iter()
            .map(|(name, launcher)| {
                let module = format!("{EXEC_DOMAIN}:{name}");
                (ModuleName::from(module), launcher)
            })
            .collect();
        by_module.insert(ModuleName::from(SAMPLE_CLOCK), sample);
        Self { by_module, allexjs }
    }

    /// The launcher that the configuration has for a module; `None` where there is none, as for
    /// the services of AllexJS.
    #[must_use]
    pub fn get(&self, module: &ModuleName) -> Option<&Launcher> {
        self.by_module.get(module)
    }

    /// What the rules need to know of the launchers.
    #[must_use]
    pub fn for_rules(&self) -> BTreeMap<ModuleName, state::Launcher> {
        self.by_module
            .iter()
            .map(|(module, launcher)| {
                // The sample is part of this program: no configuration changes it.
                let configured = module.domain() == EXEC_DOMAIN;
                let launcher = state::Launcher {
                    serves: launcher.serves(),
                    command: configured.then(|| launcher.command_hash()),
                };
                (module.clone(), launcher)
            })
            .collect()
    }

    /// The domains of which the rules let every module through: those of AllexJS.
    #[must_use]
    pub fn domains_for_rules(&self) -> BTreeMap<String, state::Launcher> {
        let serves = |launcher: &Option<Launcher>| {
            let named = launcher.as_ref().and_then(|launcher| launcher.ready);
            state::Launcher {
                serves: named.unwrap_or(allexjs::SERVES),
                command: Some(launcher.as_ref().map_or(BUILT_IN, Launcher::command_hash)),
            }
        };
        BTreeMap::from([
            (String::new(), serves(&self.allexjs.node)),
            (DOTNET_DOMAIN.to_owned(), serves(&self.allexjs.dotnet)),
        ])
    }

    /// The command line for a child.
    ///
    /// # Errors
    /// There is no such launcher, or a placeholder cannot be filled in.
    pub fn command_line(
        &self,
        order: &SpawnOrder,
        master: &MasterFacts,
    ) -> Result<CommandLine, LaunchError> {
        let module = &order.need.module;
        let mut line = match (self.get(module), module.domain()) {
            (Some(launcher), _) => configured_line(launcher, order, master)?,
            (None, "") => self.allexjs.node_line(order, master)?,
            (None, DOTNET_DOMAIN) => self.allexjs.dotnet_line(order, master)?,
            (None, _) => {
                return Err(LaunchError::NoLauncher {
                    module: module.clone(),
                });
            }
        };
        // Last, so that no launcher can take it away: the master finds its children by it.
        line.environment.insert(
            INCARNATION_VARIABLE.to_owned(),
            format!("{}/{}", master.journal, order.incarnation),
        );
        Ok(line)
    }
}

/// What the children get to know of their master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MasterFacts {
    /// The master's journal: it makes incarnations unique on the machine.
    pub journal: JournalId,
    pub pid: Pid,
    /// The folder in which the master runs, absolute.
    pub folder: PathBuf,
    /// `runtimedirectory` of the configuration, as it stands there.
    pub runtime_folder: String,
}

/// All that is needed to start a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine {
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// Variables on top of the master's own environment.
    pub environment: BTreeMap<String, String>,
    /// The folder that it starts in.
    pub folder: PathBuf,
    /// How the master talks to it.
    pub channel: ChannelKind,
}

/// How the master talks to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelKind {
    None,
    /// Over a socket pair of which the child inherits one end as descriptor 3: Node's IPC channel.
    Inherited,
    /// Over the socket that the child opens, `allexprocess.<pid>`.
    OwnSocket,
}

/// A command line that cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LaunchError {
    #[error(
        "this machine has no launcher for `{module}`; `launchers` in the configuration names those it has"
    )]
    NoLauncher { module: ModuleName },
    #[error(
        "`{module}` is not the name of a package; modules of AllexJS are started by the names of their packages alone"
    )]
    NotAPackage { module: ModuleName },
    #[error(
        "AllexJS is not installed here: there is no allex_masterservice/users/spawn.js in {looked_in}; install it with `npm install allex` in the runtime directory, or name the child program in `launchers` as `node`"
    )]
    NoChildProgram { looked_in: String },
    #[error("the module `{module}` is not installed; it was looked for in {looked_in}")]
    ModuleMissing {
        /// The name of its package.
        module: String,
        looked_in: String,
    },
    #[error("there is no {}; build the module, or name a program in `launchers` as `dotnet`", library.display())]
    NoLibrary { library: PathBuf },
    #[error(
        "`{column}` of the need is {value}; an inspector is opened on a port of this machine alone: give true, or a port number"
    )]
    Inspector {
        /// `debug` or `debug_brk`.
        column: &'static str,
        value: String,
    },
    #[error("{what} is not UTF-8; move the installation to a folder with a plain name")]
    NotUtf8 { what: String },
    #[error(transparent)]
    Unfillable(#[from] Unfillable),
    /// A text contains a zero byte, which no argument can.
    #[error("{what} would contain a zero byte, which no program can be given")]
    ZeroByte { what: String },
    #[error("{what} would have {length} bytes; the system takes {LONGEST_TEXT} at most")]
    TooLong {
        what: String,
        /// How long it would be.
        length: usize,
    },
}

/// The command line of a launcher of the configuration.
fn configured_line(
    launcher: &Launcher,
    order: &SpawnOrder,
    master: &MasterFacts,
) -> Result<CommandLine, LaunchError> {
    let arguments = fill_arguments(launcher, order)?;
    let mut environment = allexjs_environment(order, order.need.module.as_str(), master)?;
    for (name, template) in &launcher.environment {
        let value = acceptable(template.fill(order)?, || format!("the variable {name}"))?;
        environment.insert(name.clone(), value);
    }
    Ok(CommandLine {
        program: program_path(&launcher.program, &master.folder),
        arguments,
        environment,
        folder: match &launcher.folder {
            Some(folder) => master.folder.join(folder),
            None => master.folder.clone(),
        },
        channel: ChannelKind::None,
    })
}

fn fill_arguments(launcher: &Launcher, order: &SpawnOrder) -> Result<Vec<String>, LaunchError> {
    let mut arguments = Vec::with_capacity(launcher.arguments.len());
    for (place, template) in launcher.arguments.iter().enumerate() {
        let argument = template.fill(order)?;
        arguments.push(acceptable(argument, || {
            format!("argument {}", place.saturating_add(1))
        })?);
    }
    Ok(arguments)
}

fn allexjs_environment(
    order: &SpawnOrder,
    module: &str,
    master: &MasterFacts,
) -> Result<BTreeMap<String, String>, LaunchError> {
    // A descriptor of texts, numbers and JSON values always has a JSON form.
    let descriptor =
        serde_json::to_string(&Descriptor::new(order, module, master.pid)).unwrap_or_default();
    let descriptor = acceptable(descriptor, || "the spawn descriptor".to_owned())?;
    Ok(BTreeMap::from([
        (SPAWN_VARIABLE.to_owned(), descriptor),
        (
            RUNTIME_FOLDER_VARIABLE.to_owned(),
            master.runtime_folder.clone(),
        ),
        (PARENT_VARIABLE.to_owned(), master.pid.to_string()),
    ]))
}

fn acceptable(text: String, what: impl FnOnce() -> String) -> Result<String, LaunchError> {
    if text.contains('\0') {
        return Err(LaunchError::ZeroByte { what: what() });
    }
    if text.len() > LONGEST_TEXT {
        return Err(LaunchError::TooLong {
            what: what(),
            length: text.len(),
        });
    }
    Ok(text)
}

/// A program with a slash is a file seen from the master's folder, wherever the child will run;
/// any other is looked up in `PATH`.
fn program_path(program: &Path, folder: &Path) -> PathBuf {
    match program.parent() {
        Some(parent) if parent.as_os_str().is_empty() => program.to_owned(),
        Some(_) | None => folder.join(program),
    }
}
