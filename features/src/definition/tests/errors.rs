//! What is wrong with a file, and the whole message.

use super::*;
