//! Compiles `floodmark/v1/*.proto` and `inference/*.proto` without protoc: protox reads them, tonic-prost-build writes the Rust.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use protox::prost::Message;

const FILES: [&str; 7] = [
    "floodmark/v1/value.proto",
    "floodmark/v1/features.proto",
    "floodmark/v1/push.proto",
    "floodmark/v1/score.proto",
    "floodmark/v1/models.proto",
    "floodmark/v1/predictions.proto",
    "inference/open_inference.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=floodmark");
    println!("cargo::rerun-if-changed=inference");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("floodmark_v1.bin"), descriptors.encode_to_vec())?;
    // Tensors are not copied out of their message, and the parameters of an answer have one order.
    tonic_prost_build::configure().bytes(".inference").btree_map(".inference").compile_fds(descriptors)?;
    Ok(())
}
