//! Compiles `floodmark/v1/*.proto` without protoc: protox reads them, tonic-prost-build writes the Rust.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use protox::prost::Message;

const FILES: [&str; 6] = [
    "floodmark/v1/value.proto",
    "floodmark/v1/features.proto",
    "floodmark/v1/push.proto",
    "floodmark/v1/score.proto",
    "floodmark/v1/models.proto",
    "floodmark/v1/predictions.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=floodmark");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("floodmark_v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
