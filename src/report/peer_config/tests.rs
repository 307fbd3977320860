//! Golden pages, and what is said where a device has no words.

use super::*;
