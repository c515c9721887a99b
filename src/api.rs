//! The one interface: consoles and commands over a Unix socket. Its records are `domain::view`.
