//! The wire: floodmark's own gRPC contract. The `.proto` files beside this crate are the documentation; the Rust is
//! generated from them when the crate is built.

/// `floodmark.v1`: messages, and a client and a server for each service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("floodmark.v1");
}

/// The encoded descriptors of everything in [`v1`], for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floodmark_v1.bin"));

#[cfg(test)]
mod tests;
