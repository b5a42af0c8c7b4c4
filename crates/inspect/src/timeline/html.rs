//! The lanes as one page that needs nothing but a browser.

use serde_json::json;

use super::svg::{escape, title};
use super::{Sort, Timeline};
use crate::time::Zone;

const PAGE: &str = include_str!("page.html");

/// Makes the page.
#[must_use]
pub fn html(timeline: &Timeline, zone: &Zone) -> String {
    let sorts: Vec<_> = Sort::ALL
        .iter()
        .map(|sort| json!({ "word": sort.word(), "colour": sort.colour() }))
        .collect();
    let index = |sort: Sort| Sort::ALL.iter().position(|other| *other == sort);
    let lanes: Vec<_> = timeline
        .lanes
        .iter()
        .map(|lane| {
            let bars = lane.bars.iter().map(|bar| {
                json!([
                    index(bar.sort),
                    bar.from,
                    bar.to,
                    bar.sequence,
                    bar.cause,
                    bar.note
                ])
            });
            json!({
                "name": lane.name,
                "about": lane.about,
                "bars": bars.collect::<Vec<_>>(),
                "marks": lane.marks,
            })
        })
        .collect();
    let data = json!({
        "from": timeline.from, "to": timeline.to, "sorts": sorts, "lanes": lanes,
        "offset": zone.offset(timeline.to), "leftout": timeline.left_out.len(),
    });
    // No text of the journal can end the script that it stands in.
    let data = data.to_string().replace('<', "\\u003c");
    PAGE.replace("{{title}}", &escape(&title(timeline, zone)))
        .replace("{{data}}", &data)
}
