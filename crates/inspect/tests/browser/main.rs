//! The timeline's page in a real browser: `cargo test -p allexmaster-inspect --features browser`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of tests fails the test"
)]

mod devtools;

use std::path::Path;

use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source;
use allexmaster_inspect::time::Zone;
use allexmaster_inspect::timeline::{Timeline, build, html};
use devtools::Browser;
use serde_json::json;

/// Where the middle of an element is.
const MIDDLE: &str = "(element) => { const box = element.getBoundingClientRect(); \
                      return [box.x + box.width / 2, box.y + box.height / 2]; }";

fn shown(browser: &mut Browser, folder: &Path, name: &str) -> Timeline {
    let journals = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    let journal = journals.join(format!("{name}.ndjson"));
    let mut past = Past::new(source::open(&journal).unwrap());
    let timeline = build(&mut past, 1..=u64::MAX).unwrap();
    let page = folder.join(format!("{name}.html"));
    std::fs::write(&page, html(&timeline, &Zone::utc())).unwrap();
    browser.open(&page);
    timeline
}

fn middle(browser: &mut Browser, element: &str) -> (f64, f64) {
    let place = browser.evaluate(&format!("({MIDDLE})({element})"));
    (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
}

/// From when to when the page shows.
fn view(browser: &mut Browser) -> (f64, f64) {
    let view = browser.evaluate("[view.from, view.to]");
    (view[0].as_f64().unwrap(), view[1].as_f64().unwrap())
}

fn close_to(one: f64, other: f64) -> bool {
    (one - other).abs() < 2.0
}

#[test]
fn each_lane_has_its_name_and_its_bars_in_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let timeline = shown(&mut browser, folder.path(), "crash_loop");
    let names =
        browser.evaluate("[...document.querySelectorAll('.name')].map(n => n.firstChild.data)");
    let expected: Vec<&str> = timeline
        .lanes
        .iter()
        .map(|lane| lane.name.as_str())
        .collect();
    assert_eq!(names, json!(expected));
    for (number, lane) in timeline.lanes.iter().enumerate() {
        let boxes = browser.evaluate(&format!(
            "(() => {{ const track = document.querySelectorAll('.track')[{number}]; \
             const left = track.getBoundingClientRect().x; return {{ width: track.clientWidth, \
             bars: [...track.querySelectorAll('.bar')].map(bar => {{ \
             const box = bar.getBoundingClientRect(); \
             return [box.x - left, box.width, getComputedStyle(bar).backgroundColor]; }}) }}; }})()"
        ));
        let width = boxes["width"].as_f64().unwrap();
        let bars = boxes["bars"].as_array().unwrap();
        assert!(width > 800.0 && !bars.is_empty(), "{}", lane.name);
        let span = (timeline.to - timeline.from) as f64;
        let expected = |at: u64| (at - timeline.from) as f64 / span * width;
        for bar in bars {
            let (left, wide) = (bar[0].as_f64().unwrap(), bar[1].as_f64().unwrap());
            let fits = lane.bars.iter().any(|known| {
                let (from, to) = (expected(known.from), expected(known.to));
                close_to(left, from) && close_to(wide, (to - from).max(1.0))
            });
            assert!(fits, "{}: {bar}", lane.name);
        }
    }
}

#[test]
fn pointing_at_a_bar_tells_what_it_was_and_which_event_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let timeline = shown(&mut browser, folder.path(), "crash_loop");
    let reports = timeline
        .lanes
        .iter()
        .position(|lane| lane.name == "Reports")
        .unwrap();
    let widest = format!(
        "[...document.querySelectorAll('.track')[{reports}].querySelectorAll('.bar')]\
         .sort((one, other) => other.offsetWidth - one.offsetWidth)[0]"
    );
    assert_eq!(browser.evaluate("getComputedStyle(tip).display"), "none");
    let place = middle(&mut browser, &widest);
    browser.mouse("mouseMoved", place, json!({}));
    assert_eq!(browser.evaluate("getComputedStyle(tip).display"), "block");
    let text = browser.evaluate("tip.innerText");
    let text = text.as_str().unwrap();
    let bars = &timeline.lanes[reports].bars;
    let longest = bars.iter().max_by_key(|bar| bar.to - bar.from).unwrap();
    for part in [
        format!("Reports: {}", longest.sort.word()),
        format!("#{}: {}", longest.sequence, longest.cause),
        longest.note.clone(),
    ] {
        assert!(text.contains(&part), "`{part}` is not in `{text}`");
    }
    let inside = "(() => { const box = tip.getBoundingClientRect(); \
                  return box.x >= 0 && box.right <= innerWidth && box.bottom <= innerHeight; })()";
    assert_eq!(browser.evaluate(inside), true);
    // A mark of bad news tells, too; and nothing is told where nothing is.
    let place = middle(&mut browser, "document.querySelector('.mark')");
    browser.mouse("mouseMoved", (place.0, place.1 - 2.0), json!({}));
    let told = browser.evaluate("tip.innerText");
    assert!(told.as_str().unwrap().contains('#'), "{told}");
    browser.mouse("mouseMoved", (3.0, 3.0), json!({}));
    assert_eq!(browser.evaluate("getComputedStyle(tip).display"), "none");
}

#[test]
fn the_wheel_zooms_where_the_mouse_is_a_drag_moves_and_a_button_shows_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let timeline = shown(&mut browser, folder.path(), "lost_lanmanager");
    let all = (timeline.from as f64, timeline.to as f64);
    assert_eq!(view(&mut browser), all);
    let place = middle(&mut browser, "document.querySelectorAll('.track')[1]");
    for _ in 0..3 {
        browser.mouse("mouseWheel", place, json!({ "deltaX": 0, "deltaY": -120 }));
    }
    let zoomed = view(&mut browser);
    let span = |view: (f64, f64)| view.1 - view.0;
    let centre = |view: (f64, f64)| f64::midpoint(view.0, view.1);
    assert!(
        close_to(span(zoomed), span(all) * 0.8_f64.powi(3)),
        "{zoomed:?}"
    );
    assert!(close_to(centre(zoomed), centre(all)), "{zoomed:?}");
    let width = browser.evaluate("axis.clientWidth").as_f64().unwrap();
    let left = json!({ "button": "left", "buttons": 1, "clickCount": 1 });
    browser.mouse("mousePressed", place, left.clone());
    browser.mouse("mouseMoved", (place.0 + 100.0, place.1), left.clone());
    browser.mouse("mouseReleased", (place.0 + 100.0, place.1), left.clone());
    let dragged = view(&mut browser);
    let expected = zoomed.0 - 100.0 / width * span(zoomed);
    assert!(close_to(dragged.0, expected), "{dragged:?}, not {expected}");
    assert!(close_to(span(dragged), span(zoomed)));
    // Once released, the mouse moves nothing.
    browser.mouse("mouseMoved", (place.0 - 200.0, place.1), json!({}));
    assert_eq!(view(&mut browser), dragged);
    browser.mouse("mouseWheel", place, json!({ "deltaX": 0, "deltaY": 120 }));
    assert!(span(view(&mut browser)) > span(dragged));
    let button = middle(&mut browser, "document.getElementById('whole')");
    browser.mouse("mousePressed", button, left.clone());
    browser.mouse("mouseReleased", button, left);
    assert_eq!(view(&mut browser), all);
}

#[test]
fn the_browser_has_nothing_to_complain_of_and_loads_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["crash_loop", "port_conflict", "lost_lanmanager", "adoption"] {
        let mut browser = Browser::start();
        shown(&mut browser, folder.path(), name);
        let place = middle(&mut browser, "document.querySelectorAll('.track')[0]");
        browser.mouse("mouseMoved", place, json!({}));
        browser.mouse("mouseWheel", place, json!({ "deltaX": 0, "deltaY": -120 }));
        browser.evaluate("dispatchEvent(new Event('resize'))");
        let complaints = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        ];
        let mut requests = Vec::new();
        for event in &browser.events {
            let method = event["method"].as_str().unwrap();
            assert!(!complaints.contains(&method), "{name}: {event}");
            if method == "Network.requestWillBeSent" {
                requests.push(
                    event["params"]["request"]["url"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        assert_eq!(requests.len(), 1, "{name}: {requests:?}");
        assert!(
            requests[0].ends_with(&format!("{name}.html")),
            "{requests:?}"
        );
    }
}
