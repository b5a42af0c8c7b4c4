//! Command lines for services of AllexJS: modules without a domain, and those of `dotnet`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use allexmaster_state::{PerProtocol, SpawnOrder, is_package_name};

use super::packages::{Places, Surroundings};
use super::{
    ChannelKind, CommandLine, LaunchError, Launcher, MasterFacts, acceptable, allexjs_environment,
    fill_arguments, flags, program_path,
};

/// The domain of modules without one, and the name of the launcher that replaces the built-in.
pub const NODE_LAUNCHER: &str = "node";
/// The domain of services written for .NET, and the name of the launcher that replaces the built-in.
pub const DOTNET_DOMAIN: &str = "dotnet";

/// The child program of AllexJS, from a folder of packages.
const CHILD_PROGRAM: &str = "allex_masterservice/users/spawn.js";
/// The program that runs Node's programs.
const NODE: &str = "node";
/// The program that runs services for .NET, as the JavaScript master calls it.
const DOTNET: &str = "AllexJSDotNet";
/// Where Node looks for its channel, and the number that [`crate::child`] gives it.
const CHANNEL_VARIABLES: [(&str, &str); 2] = [
    ("NODE_CHANNEL_FD", "3"),
    ("NODE_CHANNEL_SERIALIZATION_MODE", "json"),
];
/// Where Node looks for packages last.
const PACKAGES_VARIABLE: &str = "NODE_PATH";

/// How services of AllexJS are started on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllexJs {
    /// Instead of looking for the child program of AllexJS.
    pub node: Option<Launcher>,
    /// Instead of `AllexJSDotNet`.
    pub dotnet: Option<Launcher>,
}

/// Every service of AllexJS opens all three.
pub(super) const SERVES: PerProtocol<bool> = PerProtocol {
    tcp: true,
    http: true,
    ws: true,
};

impl AllexJs {
    /// The command line for a module without a domain.
    pub(super) fn node_line(
        &self,
        order: &SpawnOrder,
        master: &MasterFacts,
    ) -> Result<CommandLine, LaunchError> {
        let module = checked_name(order)?;
        let mut arguments = flags::flags(&order.need)?;
        let mut environment = allexjs_environment(order, module, master)?;
        environment
            .extend(CHANNEL_VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let (program, folder) = match &self.node {
            Some(launcher) => {
                arguments.extend(fill_arguments(launcher, order)?);
                add_variables(&mut environment, launcher, order)?;
                (
                    program_path(&launcher.program, &master.folder),
                    launcher.folder.clone(),
                )
            }
            None => {
                let (child_program, packages) = find_child_program(module, master)?;
                arguments.push(text_of(child_program, "the path of the child program")?);
                if let Some(packages) = packages {
                    environment.insert(PACKAGES_VARIABLE.to_owned(), packages);
                }
                (PathBuf::from(NODE), None)
            }
        };
        Ok(CommandLine {
            program,
            arguments,
            environment,
            // The child changes to its runtime directory itself.
            folder: folder.map_or_else(|| master.folder.clone(), |f| master.folder.join(f)),
            channel: ChannelKind::Inherited,
        })
    }

    /// The command line for a module of the domain `dotnet`.
    pub(super) fn dotnet_line(
        &self,
        order: &SpawnOrder,
        master: &MasterFacts,
    ) -> Result<CommandLine, LaunchError> {
        let module = checked_name(order)?;
        let mut environment = allexjs_environment(order, module, master)?;
        let (program, arguments, folder) = match &self.dotnet {
            Some(launcher) => {
                add_variables(&mut environment, launcher, order)?;
                let program = program_path(&launcher.program, &master.folder);
                (
                    program,
                    fill_arguments(launcher, order)?,
                    launcher.folder.clone(),
                )
            }
            None => {
                let library = find_library(module, order, master)?;
                let library = text_of(library, "the path of the library")?;
                (PathBuf::from(DOTNET), vec![library], None)
            }
        };
        Ok(CommandLine {
            program,
            arguments,
            environment,
            folder: folder.map_or_else(|| master.folder.clone(), |f| master.folder.join(f)),
            channel: ChannelKind::OwnSocket,
        })
    }
}

fn checked_name(order: &SpawnOrder) -> Result<&str, LaunchError> {
    let name = order.need.module.without_domain();
    if is_package_name(name) {
        return Ok(name);
    }
    Err(LaunchError::NotAPackage {
        module: order.need.module.clone(),
    })
}

fn add_variables(
    environment: &mut BTreeMap<String, String>,
    launcher: &Launcher,
    order: &SpawnOrder,
) -> Result<(), LaunchError> {
    for (name, template) in &launcher.environment {
        let value = acceptable(template.fill(order)?, || format!("the variable {name}"))?;
        environment.insert(name.clone(), value);
    }
    Ok(())
}

/// The child program; and `NODE_PATH`, where the module stands where the program would not look.
fn find_child_program(
    module: &str,
    master: &MasterFacts,
) -> Result<(PathBuf, Option<String>), LaunchError> {
    let surroundings = Surroundings::of_this_process();
    let places = Places::new(master, &surroundings);
    let Some(folder) = places.holding(CHILD_PROGRAM) else {
        return Err(LaunchError::NoChildProgram {
            looked_in: places.described(),
        });
    };
    let program = folder.join(CHILD_PROGRAM);
    // Asked before the start: the child program hangs without a word when its module is missing.
    match places.holding(module) {
        Some(folder) => {
            let packages = surroundings.node_path_for(&program, folder);
            Ok((program, packages))
        }
        None => Err(LaunchError::ModuleMissing {
            module: module.to_owned(),
            looked_in: places.described(),
        }),
    }
}

fn find_library(
    module: &str,
    order: &SpawnOrder,
    master: &MasterFacts,
) -> Result<PathBuf, LaunchError> {
    let places = Places::new(master, &Surroundings::of_this_process());
    let Some(folder) = places.holding(module) else {
        return Err(LaunchError::ModuleMissing {
            module: module.to_owned(),
            looked_in: places.described(),
        });
    };
    let debugged = order
        .need
        .details
        .get("debug")
        .is_some_and(|debug| *debug == true);
    let build = if debugged { "Debug" } else { "Release" };
    let library = folder
        .join(module)
        .join("dotnet/bin")
        .join(build)
        .join("netcoreapp3.1")
        .join(format!("{module}.dll"));
    if library.is_file() {
        Ok(library)
    } else {
        Err(LaunchError::NoLibrary { library })
    }
}

fn text_of(path: PathBuf, what: &str) -> Result<String, LaunchError> {
    let text = path.into_os_string().into_string();
    text.map_err(|_| LaunchError::NotUtf8 {
        what: what.to_owned(),
    })
}
