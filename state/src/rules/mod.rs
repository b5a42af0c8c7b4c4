//! What changes it: one topic a file, called by `step`.

pub(crate) mod boot;
pub(crate) mod child;
pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod ending;
pub(crate) mod install;
pub(crate) mod lan;
pub(crate) mod machine;
pub(crate) mod needs;
pub(crate) mod requests;
pub(crate) mod resume;
pub(crate) mod shutdown;
pub(crate) mod step;
pub(crate) mod survivors;
