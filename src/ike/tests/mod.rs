//! Two endpoints over a network in memory, in virtual time.

mod abuse;
mod child_collision;
mod child_rekey;
mod children;
mod choices;
mod crash;
mod eap;
mod followup;
mod fragmentation;
mod heads;
mod hostile;
mod ike_rekey;
mod init;
mod intermediate;
mod lifecycle;
mod lifetimes;
mod mobike;
mod nat;
mod pair;
mod peering;
mod peers;
mod ppk;
mod rotation;
mod table;
mod traffic;
mod twins;
