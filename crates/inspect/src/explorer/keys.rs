//! What each key does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Typing, TypingFor};

/// A large step.
const PAGE: i64 = 100;

/// What the keys do, for the help.
pub(super) const HELP: [(&str, &str); 14] = [
    ("→ l", "the next event"),
    ("← h", "the event before"),
    ("PgDn PgUp", "100 events on, or back"),
    ("Home End", "the first event, the last one"),
    ("0 … 9", "this many tenths into its life"),
    ("f F", "the next failure, the one before"),
    ("s S", "the next start of the master, the one before"),
    ("/", "search in kinds, services and states"),
    ("n N", "the next one found, the one before"),
    ("b", "a breakpoint: Clock child-exited backing-off"),
    ("space", "run to the breakpoint (backspace: back)"),
    ("g", "go to a number or a time: 918, 03:12:07, 10m"),
    ("↓ ↑", "scroll the services"),
    ("q", "leave"),
];

/// A key was pressed.
pub fn key(app: &mut App, key: KeyEvent) {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        app.quit = true;
        return;
    }
    if app.help {
        app.help = false;
        return;
    }
    if app.typing.is_some() {
        typing(app, key.code);
        return;
    }
    command(app, key.code);
}

fn typing(app: &mut App, code: KeyCode) {
    let Some(typing) = &mut app.typing else {
        return;
    };
    // Every other key has no meaning in a line.
    if code == KeyCode::Enter {
        app.typed();
    } else if code == KeyCode::Esc {
        app.typing = None;
    } else if code == KeyCode::Backspace {
        typing.text.pop();
    } else if let KeyCode::Char(letter) = code {
        typing.text.push(letter);
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the keys of a keyboard are not ours, and those that mean nothing do nothing"
)]
fn command(app: &mut App, code: KeyCode) {
    let begin = |what| {
        Some(Typing {
            what,
            text: String::new(),
        })
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => app.quit = true,
        KeyCode::Right | KeyCode::Char('l') => app.step(1),
        KeyCode::Left | KeyCode::Char('h') => app.step(-1),
        KeyCode::PageDown => app.step(PAGE),
        KeyCode::PageUp => app.step(-PAGE),
        KeyCode::Home => app.go(app.index.first),
        KeyCode::End => app.go(app.last),
        KeyCode::Char(digit @ '0'..='9') => {
            let tenths = u64::from(digit.to_digit(10).unwrap_or(0));
            app.go_to_share(tenths * 100);
        }
        KeyCode::Char('f') => app.failure(false),
        KeyCode::Char('F') => app.failure(true),
        KeyCode::Char('s') => app.boot(false),
        KeyCode::Char('S') => app.boot(true),
        KeyCode::Char('n') => app.find(false),
        KeyCode::Char('N') => app.find(true),
        KeyCode::Char(' ') => app.run(false),
        KeyCode::Backspace => app.run(true),
        KeyCode::Char('/') => app.typing = begin(TypingFor::Search),
        KeyCode::Char('b') => app.typing = begin(TypingFor::Breakpoint),
        KeyCode::Char('g') => app.typing = begin(TypingFor::Goto),
        KeyCode::Char('?') => app.help = true,
        KeyCode::Down => app.scroll = app.scroll.saturating_add(1),
        KeyCode::Up => app.scroll = app.scroll.saturating_sub(1),
        _ => {}
    }
}
