//! The wire: floodmark's own gRPC contract, and the Open Inference Protocol. The `.proto` files beside this crate are the documentation; the Rust is
//! generated from them when the crate is built.

/// `floodmark.v1`: messages, and a client and a server for each service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("floodmark.v1");
}

/// `inference`: the Open Inference Protocol, version 2.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, rustdoc::all)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// The encoded descriptors of everything in [`v1`] and [`inference`], for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floodmark_v1.bin"));

#[cfg(test)]
mod tests;
