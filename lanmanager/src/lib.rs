//! The LanManager of AllexJS.

pub mod files;
pub mod rules;
