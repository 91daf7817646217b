//! `floodmark demo`
use crate::failure::Failure;
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: &Args, _: bool) -> Result<(), Failure> {
    Err(Failure::failed("not yet"))
}
