//! Laws of the operations, asked through them.

mod accounts;
mod fleet;
mod keys;
mod money;
mod start;
mod usage;
mod windows;
