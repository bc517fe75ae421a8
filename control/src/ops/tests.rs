//! Laws of the operations, asked through them.

mod accounts;
mod fleet;
mod keys;
mod money;
mod prices;
mod start;
mod usage;
