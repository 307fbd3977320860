//! Lines of the tables with which Wireshark decrypts: `ikev2_decryption_table` and `esp_sa`. The names of the algorithms
//! are Wireshark's own (4.0); a suite that it cannot decrypt has no line.

use std::net::IpAddr;

use super::api::KeyLog;
use super::keymat::{IkeKeys, Spis};
use crate::crypto::suite::{Cipher, EspSuite, IkeSuite, Mac};
use crate::sa::child::EspKeys;
use crate::sa::spi::Spi;
use crate::secret::Secret;

/// The line of an IKE SA.
pub fn ike(suite: IkeSuite, spis: Spis, keys: &IkeKeys) -> Option<KeyLog> {
    let encryption = match suite.cipher {
        Cipher::Aes256Gcm16 => "AES-GCM-256 with 16 octet ICV [RFC5282]",
        Cipher::Aes128Gcm16 => "AES-GCM-128 with 16 octet ICV [RFC5282]",
        Cipher::Aes256Cbc => "AES-CBC-256 [RFC3602]",
        Cipher::ChaCha20Poly1305 => return None,
    };
    let integrity = match suite.mac {
        None => "NONE [RFC4306]",
        Some(Mac::HmacSha256) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Mac::HmacSha384) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Mac::HmacSha512) => "HMAC_SHA2_512_256 [RFC4868]",
    };
    let [spi_i, spi_r] = spis.to_hex();
    let [ei, er, ai, ar] = [&keys.sk_ei, &keys.sk_er, &keys.sk_ai, &keys.sk_ar].map(hexadecimal);
    Some(KeyLog::Ike(format!("{spi_i},{spi_r},{ei},{er},\"{encryption}\",{ai},{ar},\"{integrity}\"")))
}

/// The line of one direction of a child SA.
pub fn esp(suite: EspSuite, source: IpAddr, destination: IpAddr, spi: Spi, keys: &EspKeys) -> Option<KeyLog> {
    let encryption = match suite.cipher {
        Cipher::Aes256Gcm16 | Cipher::Aes128Gcm16 => "AES-GCM with 16 octet ICV [RFC4106]",
        Cipher::Aes256Cbc => "AES-CBC [RFC3602]",
        Cipher::ChaCha20Poly1305 => return None,
    };
    let (integrity, mac) = match suite.mac {
        None => ("NULL", String::new()),
        Some(Mac::HmacSha256) => ("HMAC-SHA-256-128 [RFC4868]", format!("0x{}", hexadecimal(&keys.mac))),
        Some(Mac::HmacSha384) => ("HMAC-SHA-384-192 [RFC4868]", format!("0x{}", hexadecimal(&keys.mac))),
        Some(Mac::HmacSha512) => ("HMAC-SHA-512-256 [RFC4868]", format!("0x{}", hexadecimal(&keys.mac))),
    };
    let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
    let key = hexadecimal(&keys.cipher);
    Some(KeyLog::Esp(format!(
        "\"{family}\",\"{source}\",\"{destination}\",\"0x{spi}\",\"{encryption}\",\"0x{key}\",\"{integrity}\",\"{mac}\""
    )))
}

fn hexadecimal(secret: &Secret) -> String {
    hex::encode(secret.expose())
}
