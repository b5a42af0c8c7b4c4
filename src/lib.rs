//! See the README.

// In reading order.
pub mod machine;
pub mod rows;
pub mod tables;
pub mod lan;
pub mod local;
pub mod launch;
pub mod sink;
pub mod process;
pub mod probe;
pub mod child;
pub mod logs;
pub mod status;
pub mod exit_code;
pub mod telemetry;
