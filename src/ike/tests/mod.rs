//! Two endpoints over a network in memory, in virtual time.

mod children;
mod hostile;
mod init;
mod lifecycle;
mod nat;
mod pair;
mod table;
mod twins;
