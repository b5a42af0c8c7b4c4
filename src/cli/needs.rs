//! `allexmaster needs list | add | scale | remove`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use allexmaster_protocol::limits::{NameError, check_name};
use allexmaster_protocol::vocabulary::method;
use allexmaster_state::ServiceState;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::wait::{Verdict, running, tell, watch};
use super::{Common, ask, complain, duration, print, print_json, report, services, table};
use crate::client::{self, AskError};
use crate::exit_code;
use crate::status::{NeedDocument, ServiceDocument};

#[derive(Debug, Subcommand)]
pub(super) enum Needs {
    /// Show the unsatisfied needs that the LanManager has told this master
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the LanManager look for somebody who runs a further service
    Add(Add),
    Scale(Scale),
    /// Have the LanManager forget a need; a service that runs already is not stopped
    Remove {
        /// The name of the service
        #[arg(value_name = "NAME")]
        instance: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The name that the service will have
    #[arg(value_name = "NAME", value_parser = name)]
    instance: String,
    /// Its module, such as exec:web or sample:clock
    #[arg(value_name = "MODULE", value_parser = name)]
    module: String,
    /// A property for it; a value that is JSON is taken as such, any other as text
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, Value)>,
    /// Only machines with this address, or in this network (CIDR), may run it
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    ipaddress: Option<String>,
    /// Further columns of the need, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    with: Option<Map<String, Value>>,
    /// Return when it runs here, with 1 where it does not
    #[arg(long)]
    wait: bool,
    /// How long to wait: seconds, or a text such as 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, requires = "wait")]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Have as many services of a module as are asked for: NAME-1, NAME-2 and so on.
///
/// The needs that are missing are added. Those with a higher number that this machine knows are removed, and what runs here for
/// them is ended.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster needs scale web 4 --module exec:web
  allexmaster needs scale web 0 --module exec:web")]
pub(super) struct Scale {
    /// What the names begin with
    #[arg(value_name = "NAME", value_parser = name)]
    prefix: String,
    /// How many there are to be
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=MAX_SCALE))]
    count: u16,
    /// The module, such as exec:web
    #[arg(long, value_name = "MODULE", value_parser = name)]
    module: String,
    /// A property for each; a value that is JSON is taken as such, any other as text
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, Value)>,
    /// Return when they run here, with 1 where they do not
    #[arg(long)]
    wait: bool,
    /// How long to wait: seconds, or a text such as 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, requires = "wait")]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// So many services of one name can be asked for at once.
const MAX_SCALE: i64 = 1_000;

fn name(text: &str) -> Result<String, NameError> {
    check_name(text).map(|()| text.to_owned())
}

/// An address or a network. A host name would never be equal to the address of a machine.
fn address(text: &str) -> Result<String, String> {
    let (base, bits) = text.split_once('/').unwrap_or((text, "0"));
    let most = match base.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => {
            return Err(
                "expected an address such as 10.0.0.7, or a network such as 10.0.0.0/8".to_owned(),
            );
        }
    };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= most => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!(
            "the part behind / must be a number from 0 to {most}"
        )),
    }
}

fn property(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

impl Needs {
    pub(super) fn run(self, common: &Common) -> ExitCode {
        match self {
            Self::List { json } => list(common, json),
            Self::Add(add) => add.run(common),
            Self::Scale(scale) => match scale.run(common) {
                Ok(code) => code,
                Err(error) => report(&error, scale.json),
            },
            Self::Remove { instance, json } => {
                let arguments = vec![json!(instance)];
                done(ask(common, method::REMOVE_NEED, arguments), json, || {
                    format!("the LanManager has forgotten the need {instance}")
                })
            }
        }
    }
}

fn list(common: &Common, json: bool) -> ExitCode {
    let needs =
        ask(common, method::NEEDS, Vec::new()).and_then(client::document::<Vec<NeedDocument>>);
    match needs {
        Ok(needs) => {
            if json {
                print_json(&needs);
            } else {
                print(&table::needs(&needs));
            }
            ExitCode::from(exit_code::OK)
        }
        Err(error) => report(&error, json),
    }
}

impl Add {
    fn run(self, common: &Common) -> ExitCode {
        let Self {
            instance,
            module,
            properties,
            ipaddress,
            with,
            wait,
            timeout,
            json,
        } = self;
        let mut need = with.unwrap_or_default();
        let mut hash = match need.remove("propertyhash") {
            None => Map::new(),
            Some(Value::Object(hash)) => hash,
            Some(_) => {
                complain("--with: propertyhash must be a JSON object");
                return ExitCode::from(exit_code::USAGE);
            }
        };
        hash.extend(properties);
        need.insert("instancename".to_owned(), json!(instance));
        need.insert("modulename".to_owned(), json!(module));
        need.insert("propertyhash".to_owned(), Value::Object(hash));
        if let Some(address) = ipaddress {
            need.insert("ipaddress".to_owned(), json!(address));
        }
        let answer = ask(common, method::ADD_NEED, vec![Value::Object(need)]);
        if wait && answer.is_ok() {
            return match until_running(common, vec![instance], timeout, json) {
                Ok(code) => code,
                Err(error) => report(&error, json),
            };
        }
        done(answer, json, || {
            format!("the LanManager has the need {instance}; `allexmaster status` shows it")
        })
    }
}

/// Waits until services run here.
fn until_running(
    common: &Common,
    names: Vec<String>,
    timeout: Duration,
    json: bool,
) -> Result<ExitCode, AskError> {
    let judge = |_: &str, now: Option<&ServiceDocument>| match now {
        Some(now) => running(now),
        None => Verdict::Pending("the LanManager has not asked this machine for it".to_owned()),
    };
    let all_run = watch(common, names, timeout, judge, |name, ended| {
        tell(name, ended, json);
    })?;
    Ok(ExitCode::from(if all_run {
        exit_code::OK
    } else {
        exit_code::FAILURE
    }))
}

impl Scale {
    fn run(&self, common: &Common) -> Result<ExitCode, AskError> {
        let Self { prefix, count, .. } = self;
        let number_of = |name: &str| {
            let number: u16 = name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()?;
            (format!("{prefix}-{number}") == name).then_some(number)
        };
        let services = services(common)?;
        let present: BTreeMap<u16, &ServiceDocument> = services
            .iter()
            .filter_map(|service| Some((number_of(&service.instancename)?, service)))
            .collect();
        let wanted = Vec::from_iter((1..=*count).map(|number| format!("{prefix}-{number}")));
        let mut added = Vec::new();
        for (number, name) in (1..).zip(&wanted) {
            // One that waits or ends may have no need any more. A need that is there already is not changed.
            let lingers = |one: &&ServiceDocument| {
                matches!(one.state, ServiceState::Waiting | ServiceState::Stopping)
            };
            if present.get(&number).is_some_and(|one| !lingers(one)) {
                continue;
            }
            let need = json!({
                "instancename": name,
                "modulename": self.module,
                "propertyhash": Map::from_iter(self.properties.clone()),
            });
            ask(common, method::ADD_NEED, vec![need])?;
            added.push(name.clone());
        }
        let mut removed = Vec::new();
        for (_, service) in present.range(count.saturating_add(1)..) {
            let name = &service.instancename;
            ask(common, method::REMOVE_NEED, vec![json!(name)])?;
            if service.pid.is_some() {
                // Its need is gone, so it ends and does not come back.
                ask(common, method::RESTART, vec![json!(name)])?;
            }
            removed.push(name.clone());
        }
        if self.json {
            print(&format!(
                "{}\n",
                json!({ "added": added, "removed": removed })
            ));
        } else {
            for (names, what) in [(&added, "added"), (&removed, "removed, and ended here")] {
                if !names.is_empty() {
                    print(&format!("{what}: {}\n", names.join(", ")));
                }
            }
            if added.is_empty() && removed.is_empty() {
                print(&format!("there are {count} already\n"));
            }
        }
        if self.wait {
            return until_running(common, wanted, self.timeout, self.json);
        }
        Ok(ExitCode::from(exit_code::OK))
    }
}

/// Tells that a call was done.
fn done(
    answer: Result<Value, client::AskError>,
    json: bool,
    text: impl FnOnce() -> String,
) -> ExitCode {
    match answer {
        Ok(value) => {
            if json {
                print_json(&json!({ "result": value }));
            } else {
                print(&format!("{}\n", text()));
            }
            ExitCode::from(exit_code::OK)
        }
        Err(error) => report(&error, json),
    }
}
