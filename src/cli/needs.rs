//! `allexmaster needs list | add | remove`.

use std::process::ExitCode;

use allexmaster_protocol::vocabulary::method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Common, ask, complain, print, print_json, report, table};
use crate::client;
use crate::exit_code;
use crate::status::NeedDocument;

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
    #[arg(value_name = "NAME")]
    instance: String,
    /// Its module, such as exec:web or sample:clock
    #[arg(value_name = "MODULE")]
    module: String,
    /// A property for it; a value that is JSON is taken as such, any other as text
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, Value)>,
    /// Only machines with this address, or in this network (CIDR), may run it
    #[arg(long, value_name = "ADDRESS")]
    ipaddress: Option<String>,
    /// Further columns of the need, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    with: Option<Map<String, Value>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        done(
            ask(common, method::ADD_NEED, vec![Value::Object(need)]),
            json,
            || format!("the LanManager has the need {instance}; `allexmaster status` shows it"),
        )
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
