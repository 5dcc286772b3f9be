//! The live dashboard: state and drawing, without I/O and without a clock. It takes in samples
//! and keys, live or from a recording, and draws what it holds.
//!
//! ```text
//! status line      host, kernel, elapsed, hooks, lost, own cost, paused or live
//! summary strip    unmaps, futile unmaps, notifier calls, futile time; the last minutes of each
//! tabs             1overview 2victims …
//! table            the rows of the view
//! detail pane      details of the selected row
//! footer           the keys that work here
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `state` | what the dashboard holds, and how it takes in samples |
//! | `input` | what each key changes |
//! | `keys`, `keymap` | the keys, and the list of those that a dashboard has |
//! | `views` | the registry of views; one file a view |
//! | `table`, `charts` | tables and charts as lines of text |
//! | `draw` | where everything goes on the screen |
//! | `theme`, `width` | colours and marks; text cut to columns |

mod charts;
mod draw;
mod input;
mod keymap;
pub mod keys;
mod state;
mod table;
pub mod theme;
mod views;
mod width;

pub use input::Action;
pub use state::{Dashboard, Feed};
pub use theme::Theme;
pub use views::{VIEWS, View};
