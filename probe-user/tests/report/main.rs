//! The report: its text against stored snapshots, its JSON against the schemas, and both
//! against whatever a snapshot may hold.

mod fixtures;
mod machines;
mod properties;
mod texts;
