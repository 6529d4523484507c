//! What every edge needs of the network.

pub mod http;
pub mod proxy_protocol;
pub mod tls;
