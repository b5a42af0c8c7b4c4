//! The loop between the keyboard and the screen.

use std::time::Duration;

use crossterm::event::{self, Event, KeyEventKind};

use super::app::App;
use super::draw::draw;
use super::index::Indexing;
use super::keys::key;
use crate::error::InspectError;

/// How often it is looked whether more of the journal has been read.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs the explorer until the user quits. The terminal is restored in every case.
///
/// # Errors
/// The terminal cannot be used.
pub fn run(mut app: App, indexing: &Indexing) -> Result<(), InspectError> {
    let mut terminal = ratatui::try_init()?;
    let result = turn(&mut terminal, &mut app, indexing);
    ratatui::try_restore()?;
    result
}

fn turn(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    indexing: &Indexing,
) -> Result<(), InspectError> {
    let mut stale = true;
    while !app.quit {
        if indexing.take_into(&mut app.index) {
            app.catch_up();
            stale = true;
        }
        if stale {
            terminal.draw(|frame| draw(frame, app))?;
        }
        stale = false;
        let mut timeout = LOOK_EVERY;
        // Whatever was typed meanwhile is done before the screen is drawn once.
        while !app.quit && event::poll(timeout)? {
            timeout = Duration::ZERO;
            // Resizing, too, makes the screen stale.
            stale = true;
            if let Event::Key(pressed) = event::read()?
                && pressed.kind != KeyEventKind::Release
            {
                key(app, pressed);
            }
        }
    }
    Ok(())
}
