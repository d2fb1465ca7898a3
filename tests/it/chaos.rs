//! What happens to real systems happens to a fleet under load; afterwards every login is accounted for. Worker and
//! Redis processes are left alone here.

mod broker;
mod cluster;
mod to_broker;
mod to_store;
mod to_wechat;
