//! What is true: the state with its invariants, and what comes in and goes out.

pub(crate) mod check;
pub(crate) mod deadline;
pub(crate) mod difference;
pub(crate) mod effect;
pub(crate) mod event;
pub(crate) mod id;
pub(crate) mod need;
pub(crate) mod ports;
pub(crate) mod rejection;
pub(crate) mod restart;
pub(crate) mod service;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod status;
