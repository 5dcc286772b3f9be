//! The live kernel: its facts, the hooks, and the maps.
