//! Everything that needs a running RabbitMQ or Redis, in one binary: it links once, and all tests share one broker.

mod garbage;
mod gateway;
mod harness;
mod program;
mod promises;
mod reasons;
mod reconnect;
mod secrecy;
mod shares;
mod support;
mod tokens;
