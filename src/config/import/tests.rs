//! Whole files of other gateways, and what becomes of them.

use super::*;
