//! The terminal: taken for as long as `top` runs and given back however it ends.
//!
//! In: answers from a thread that asks, keys, SIGINT and SIGTERM. Out: a screen drawn when something changed.

use super::client::{Client, Silence};
use super::{Top, Wish};
use crate::latency::snapshot::Snapshot;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::layout::Rect;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the instance is asked: twice in an interval of the recorder.
const ASK: Duration = Duration::from_millis(500);
/// How soon a key, an answer or a signal is seen.
const LOOK: Duration = Duration::from_millis(50);
/// How often the screen is drawn when nothing happens: a silence grows older.
const DRAW: Duration = Duration::from_secs(1);

/// Size of [`text`] before what is empty is cut off: room for more venues than a host has.
const PAGE: Rect = Rect { x: 0, y: 0, width: 110, height: 590 };

/// Show the instance at `address` until a key or `stop` ends it.
///
/// # Errors
/// A terminal that cannot be taken, drawn on or read from.
pub fn run(address: &str, stop: &AtomicBool) -> io::Result<()> {
    let _restore = Restore;
    // Its panic hook restores the terminal too, before the message is printed, all but the cursor.
    let mut terminal = ratatui::try_init()?;
    let restore_and_print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = execute!(io::stdout(), Show);
        restore_and_print(info);
    }));
    let (client, (tell, answers)) = (Client::new(address), mpsc::channel());
    // Not joined: it may be waiting for an answer, and ends with the next one or with the process.
    thread::Builder::new().name("tickpath-ask".into()).spawn(move || ask(&client, &tell))?;
    let mut top = Top::new(address);
    let mut drawn: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        if hear(&mut top, &answers)? || drawn.is_none_or(|at| at.elapsed() >= DRAW) {
            terminal.draw(|frame| top.draw(Instant::now(), frame.area(), frame.buffer_mut()))?;
            drawn = Some(Instant::now());
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if wish(key).is_some_and(|wish| !top.wish(wish)) {
                    return Ok(());
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
    Ok(())
}

/// A state as plain text.
pub fn text(address: &str, snapshot: Snapshot) -> String {
    let (mut top, at) = (Top::new(address), Instant::now());
    top.hear(Ok(snapshot), at);
    let mut buffer = Buffer::empty(PAGE);
    top.print(at, PAGE, &mut buffer);
    let lines = buffer.content().chunks(usize::from(PAGE.width));
    let lines = lines.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    let text = lines.collect::<Vec<_>>().join("\n");
    text.trim_end().to_owned() + "\n"
}

/// Gives the terminal back.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn ask(client: &Client, tell: &Sender<Result<Snapshot, Silence>>) {
    while tell.send(client.ask()).is_ok() {
        thread::sleep(ASK);
    }
}

/// Whether there was an answer.
fn hear(top: &mut Top, answers: &Receiver<Result<Snapshot, Silence>>) -> io::Result<bool> {
    let mut heard = false;
    loop {
        match answers.try_recv() {
            Ok(answer) => top.hear(answer, Instant::now()),
            Err(TryRecvError::Empty) => return Ok(heard),
            Err(TryRecvError::Disconnected) => return Err(io::Error::other("the thread that asks is gone")),
        }
        heard = true;
    }
}

fn wish(key: KeyEvent) -> Option<Wish> {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Some(Wish::Next),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Some(Wish::Previous),
        KeyCode::Char(digit @ '1'..='9') => Some(Wish::Venue(digit as usize - '1' as usize)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_last_line_of_the_screen_says() {
        let press = |code, modifiers| wish(KeyEvent::new(code, modifiers));
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(code, KeyModifiers::NONE), Some(Wish::Quit));
        }
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(press(KeyCode::Tab, KeyModifiers::NONE), Some(Wish::Next));
        assert_eq!(press(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Wish::Previous));
        assert_eq!(press(KeyCode::Char('3'), KeyModifiers::NONE), Some(Wish::Venue(2)));
    }
}
