//! What the clock says.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Settings;

/// The clock's whole knowledge, as JSON.
pub(super) fn document(settings: &Settings) -> Value {
    json!({
        "instancename": settings.descriptor.instancename,
        "modulename": settings.descriptor.modulename,
        "pid": std::process::id(),
        "time": time(),
        "descriptor": settings.shown,
    })
}

/// The same as a small page.
pub(super) fn page(settings: &Settings) -> String {
    let name = escaped(&settings.descriptor.instancename);
    let descriptor = serde_json::to_string_pretty(&settings.shown).unwrap_or_default();
    let descriptor = escaped(&descriptor);
    let (time, pid) = (time(), std::process::id());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
         <h1>{name}</h1>\n<p>{time} (milliseconds since 1970), process {pid}. \
         <a href=\"/json\">As JSON</a>.</p>\n<pre>{descriptor}</pre>\n</html>\n"
    )
}

/// Milliseconds since the Unix epoch.
pub(super) fn time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
