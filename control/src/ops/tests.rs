//! Laws of the operations, asked through them.

mod accounts;
mod audit;
mod fleet;
mod keys;
mod money;
mod news;
mod prices;
mod start;
mod usage;
mod windows;
