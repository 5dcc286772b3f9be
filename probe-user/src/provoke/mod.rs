//! provoke
