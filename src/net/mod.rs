//! What every edge needs of the network.

pub mod http;
pub mod tls;
