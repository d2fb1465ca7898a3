//! Everything that needs a running RabbitMQ or Redis, in one binary: it links once, and all tests share one broker.

mod authorizers;
mod dead_letters;
mod external;
mod forgotten;
mod frozen;
mod garbage;
mod gateway;
mod handed_over;
mod harness;
mod hosts;
mod overload;
mod poison;
mod program;
mod promises;
mod pushes;
mod reasons;
mod reconnect;
mod redis_topologies;
mod reload;
mod secrecy;
mod shares;
mod storm;
mod support;
mod token_commands;
mod tokens;
mod worn_out;
