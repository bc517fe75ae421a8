//! Laws of the operations, asked through them.

mod accounts;
mod audit;
mod books;
mod calls;
mod closing;
mod earnings;
mod ends;
mod export;
mod fleet;
mod keys;
mod leases;
mod master;
mod money;
mod news;
mod objects;
mod prices;
mod random;
mod random_store;
mod rates;
mod refusals;
mod scale;
mod start;
mod storage;
mod usage;
mod verification;
mod windows;
