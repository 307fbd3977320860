//! The IKEv2 registries (RFC 7296 §3 and IANA "IKEv2 Parameters"): a newtype over the number, so that a number
//! without a name survives decoding and prints.

use std::fmt;

macro_rules! registry {
    ($(#[$doc:meta])* $name:ident($repr:ty) { $($number:literal => $constant:ident, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: Self = Self($number);)*

            /// The registered name, if the number has one that this endpoint knows.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some($text),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() { Some(name) => f.write_str(name), None => write!(f, "{}", self.0) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

registry! {
    /// Exchange types (RFC 7296 §3.1).
    ExchangeType(u8) {
        34 => IKE_SA_INIT, "IKE_SA_INIT";
        35 => IKE_AUTH, "IKE_AUTH";
        36 => CREATE_CHILD_SA, "CREATE_CHILD_SA";
        37 => INFORMATIONAL, "INFORMATIONAL";
        43 => IKE_INTERMEDIATE, "IKE_INTERMEDIATE";
        44 => IKE_FOLLOWUP_KE, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// Payload types (RFC 7296 §3.2; SKF: RFC 7383 §2.5).
    PayloadType(u8) {
        0 => NONE, "none";
        33 => SA, "SA";
        34 => KE, "KE";
        35 => IDI, "IDi";
        36 => IDR, "IDr";
        37 => CERT, "CERT";
        38 => CERTREQ, "CERTREQ";
        39 => AUTH, "AUTH";
        40 => NONCE, "Nonce";
        41 => NOTIFY, "N";
        42 => DELETE, "D";
        43 => VENDOR, "V";
        44 => TSI, "TSi";
        45 => TSR, "TSr";
        46 => SK, "SK";
        47 => CP, "CP";
        48 => EAP, "EAP";
        53 => SKF, "SKF";
        54 => PS, "PS";
    }
}

registry! {
    /// Security protocol identifiers (RFC 7296 §3.3.1).
    ProtocolId(u8) {
        0 => NONE, "none";
        1 => IKE, "IKE";
        2 => AH, "AH";
        3 => ESP, "ESP";
    }
}

registry! {
    /// Transform types (RFC 7296 §3.3.2; ADDKE1 to 7: RFC 9370 §2.2.1).
    TransformType(u8) {
        1 => ENCR, "ENCR";
        2 => PRF, "PRF";
        3 => INTEG, "INTEG";
        4 => KE, "KE";
        5 => ESN, "ESN";
        6 => ADDKE1, "ADDKE1";
        7 => ADDKE2, "ADDKE2";
        8 => ADDKE3, "ADDKE3";
        9 => ADDKE4, "ADDKE4";
        10 => ADDKE5, "ADDKE5";
        11 => ADDKE6, "ADDKE6";
        12 => ADDKE7, "ADDKE7";
    }
}

registry! {
    /// Encryption transforms (transform type 1).
    Encr(u16) {
        2 => DES, "DES";
        3 => TRIPLE_DES, "3DES";
        11 => NULL, "NULL";
        12 => AES_CBC, "AES_CBC";
        13 => AES_CTR, "AES_CTR";
        16 => AES_CCM_16, "AES_CCM_16";
        18 => AES_GCM_8, "AES_GCM_8";
        19 => AES_GCM_12, "AES_GCM_12";
        20 => AES_GCM_16, "AES_GCM_16";
        28 => CHACHA20_POLY1305, "CHACHA20_POLY1305";
    }
}

registry! {
    /// Pseudorandom functions (transform type 2).
    Prf(u16) {
        1 => HMAC_MD5, "PRF_HMAC_MD5";
        2 => HMAC_SHA1, "PRF_HMAC_SHA1";
        4 => AES128_XCBC, "PRF_AES128_XCBC";
        5 => HMAC_SHA2_256, "PRF_HMAC_SHA2_256";
        6 => HMAC_SHA2_384, "PRF_HMAC_SHA2_384";
        7 => HMAC_SHA2_512, "PRF_HMAC_SHA2_512";
        8 => AES128_CMAC, "PRF_AES128_CMAC";
    }
}

registry! {
    /// Integrity algorithms (transform type 3).
    Integ(u16) {
        0 => NONE, "NONE";
        1 => HMAC_MD5_96, "AUTH_HMAC_MD5_96";
        2 => HMAC_SHA1_96, "AUTH_HMAC_SHA1_96";
        5 => AES_XCBC_96, "AUTH_AES_XCBC_96";
        12 => HMAC_SHA2_256_128, "AUTH_HMAC_SHA2_256_128";
        13 => HMAC_SHA2_384_192, "AUTH_HMAC_SHA2_384_192";
        14 => HMAC_SHA2_512_256, "AUTH_HMAC_SHA2_512_256";
    }
}

registry! {
    /// Key exchange methods, once called Diffie-Hellman groups (transform type 4).
    KeMethod(u16) {
        0 => NONE, "NONE";
        1 => MODP_768, "MODP_768";
        2 => MODP_1024, "MODP_1024";
        5 => MODP_1536, "MODP_1536";
        14 => MODP_2048, "MODP_2048";
        15 => MODP_3072, "MODP_3072";
        16 => MODP_4096, "MODP_4096";
        17 => MODP_6144, "MODP_6144";
        18 => MODP_8192, "MODP_8192";
        19 => ECP_256, "ECP_256";
        20 => ECP_384, "ECP_384";
        21 => ECP_521, "ECP_521";
        24 => MODP_2048_256, "MODP_2048_256";
        31 => CURVE25519, "CURVE25519";
        32 => CURVE448, "CURVE448";
        35 => ML_KEM_512, "ML_KEM_512";
        36 => ML_KEM_768, "ML_KEM_768";
        37 => ML_KEM_1024, "ML_KEM_1024";
    }
}

registry! {
    /// Extended sequence numbers (transform type 5).
    Esn(u16) {
        0 => NO, "no ESN";
        1 => YES, "ESN";
    }
}

registry! {
    /// Identification types (RFC 7296 §3.5).
    IdType(u8) {
        1 => IPV4_ADDR, "ID_IPV4_ADDR";
        2 => FQDN, "ID_FQDN";
        3 => RFC822_ADDR, "ID_RFC822_ADDR";
        5 => IPV6_ADDR, "ID_IPV6_ADDR";
        9 => DER_ASN1_DN, "ID_DER_ASN1_DN";
        10 => DER_ASN1_GN, "ID_DER_ASN1_GN";
        11 => KEY_ID, "ID_KEY_ID";
    }
}

registry! {
    /// Authentication methods (RFC 7296 §3.8, RFC 7427).
    AuthMethod(u8) {
        1 => RSA, "RSA digital signature";
        2 => SHARED_KEY, "shared key MIC";
        9 => ECDSA_256, "ECDSA P-256";
        10 => ECDSA_384, "ECDSA P-384";
        11 => ECDSA_521, "ECDSA P-521";
        13 => NULL, "NULL";
        14 => DIGITAL_SIGNATURE, "digital signature";
    }
}

registry! {
    /// Notify message types (RFC 7296 §3.10.1): below 16384 errors, from there on status.
    NotifyType(u16) {
        1 => UNSUPPORTED_CRITICAL_PAYLOAD, "UNSUPPORTED_CRITICAL_PAYLOAD";
        4 => INVALID_IKE_SPI, "INVALID_IKE_SPI";
        5 => INVALID_MAJOR_VERSION, "INVALID_MAJOR_VERSION";
        7 => INVALID_SYNTAX, "INVALID_SYNTAX";
        9 => INVALID_MESSAGE_ID, "INVALID_MESSAGE_ID";
        11 => INVALID_SPI, "INVALID_SPI";
        14 => NO_PROPOSAL_CHOSEN, "NO_PROPOSAL_CHOSEN";
        17 => INVALID_KE_PAYLOAD, "INVALID_KE_PAYLOAD";
        24 => AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED";
        34 => SINGLE_PAIR_REQUIRED, "SINGLE_PAIR_REQUIRED";
        35 => NO_ADDITIONAL_SAS, "NO_ADDITIONAL_SAS";
        36 => INTERNAL_ADDRESS_FAILURE, "INTERNAL_ADDRESS_FAILURE";
        37 => FAILED_CP_REQUIRED, "FAILED_CP_REQUIRED";
        38 => TS_UNACCEPTABLE, "TS_UNACCEPTABLE";
        39 => INVALID_SELECTORS, "INVALID_SELECTORS";
        40 => UNACCEPTABLE_ADDRESSES, "UNACCEPTABLE_ADDRESSES";
        41 => UNEXPECTED_NAT_DETECTED, "UNEXPECTED_NAT_DETECTED";
        43 => TEMPORARY_FAILURE, "TEMPORARY_FAILURE";
        44 => CHILD_SA_NOT_FOUND, "CHILD_SA_NOT_FOUND";
        47 => STATE_NOT_FOUND, "STATE_NOT_FOUND";
        48 => TS_MAX_QUEUE, "TS_MAX_QUEUE";
        16384 => INITIAL_CONTACT, "INITIAL_CONTACT";
        16385 => SET_WINDOW_SIZE, "SET_WINDOW_SIZE";
        16386 => ADDITIONAL_TS_POSSIBLE, "ADDITIONAL_TS_POSSIBLE";
        16387 => IPCOMP_SUPPORTED, "IPCOMP_SUPPORTED";
        16388 => NAT_DETECTION_SOURCE_IP, "NAT_DETECTION_SOURCE_IP";
        16389 => NAT_DETECTION_DESTINATION_IP, "NAT_DETECTION_DESTINATION_IP";
        16390 => COOKIE, "COOKIE";
        16391 => USE_TRANSPORT_MODE, "USE_TRANSPORT_MODE";
        16392 => HTTP_CERT_LOOKUP_SUPPORTED, "HTTP_CERT_LOOKUP_SUPPORTED";
        16393 => REKEY_SA, "REKEY_SA";
        16394 => ESP_TFC_PADDING_NOT_SUPPORTED, "ESP_TFC_PADDING_NOT_SUPPORTED";
        16395 => NON_FIRST_FRAGMENTS_ALSO, "NON_FIRST_FRAGMENTS_ALSO";
        16396 => MOBIKE_SUPPORTED, "MOBIKE_SUPPORTED";
        16397 => ADDITIONAL_IP4_ADDRESS, "ADDITIONAL_IP4_ADDRESS";
        16398 => ADDITIONAL_IP6_ADDRESS, "ADDITIONAL_IP6_ADDRESS";
        16399 => NO_ADDITIONAL_ADDRESSES, "NO_ADDITIONAL_ADDRESSES";
        16400 => UPDATE_SA_ADDRESSES, "UPDATE_SA_ADDRESSES";
        16401 => COOKIE2, "COOKIE2";
        16402 => NO_NATS_ALLOWED, "NO_NATS_ALLOWED";
        16406 => REDIRECT_SUPPORTED, "REDIRECT_SUPPORTED";
        16407 => REDIRECT, "REDIRECT";
        16418 => CHILDLESS_IKEV2_SUPPORTED, "CHILDLESS_IKEV2_SUPPORTED";
        16419 => QCD_TOKEN, "QCD_TOKEN";
        16430 => IKEV2_FRAGMENTATION_SUPPORTED, "IKEV2_FRAGMENTATION_SUPPORTED";
        16431 => SIGNATURE_HASH_ALGORITHMS, "SIGNATURE_HASH_ALGORITHMS";
        16434 => PUZZLE, "PUZZLE";
        16435 => USE_PPK, "USE_PPK";
        16436 => PPK_IDENTITY, "PPK_IDENTITY";
        16437 => NO_PPK_AUTH, "NO_PPK_AUTH";
        16438 => INTERMEDIATE_EXCHANGE_SUPPORTED, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        16441 => ADDITIONAL_KEY_EXCHANGE, "ADDITIONAL_KEY_EXCHANGE";
        16443 => SUPPORTED_AUTH_METHODS, "SUPPORTED_AUTH_METHODS";
        16444 => SA_RESOURCE_INFO, "SA_RESOURCE_INFO";
    }
}

impl TransformType {
    /// ADDKE1 to ADDKE7, by their number from 1 on.
    #[must_use]
    pub const fn additional(place: u8) -> Self {
        Self(Self::KE.0 + 1 + place)
    }

    /// Whether it is one of ADDKE1 to ADDKE7.
    #[must_use]
    pub const fn is_additional(self) -> bool {
        Self::ADDKE1.0 <= self.0 && self.0 <= Self::ADDKE7.0
    }
}

impl NotifyType {
    /// RFC 7296 §3.10.1: types below 16384 report errors.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Traffic selector types (RFC 7296 §3.13.1).
    TsType(u8) {
        7 => IPV4_ADDR_RANGE, "TS_IPV4_ADDR_RANGE";
        8 => IPV6_ADDR_RANGE, "TS_IPV6_ADDR_RANGE";
    }
}

registry! {
    /// Certificate encodings (RFC 7296 §3.6).
    CertEncoding(u8) {
        4 => X509_SIGNATURE, "X.509 certificate";
        7 => CRL, "CRL";
        12 => HASH_AND_URL_X509, "hash and URL of X.509 certificate";
        13 => HASH_AND_URL_BUNDLE, "hash and URL of X.509 bundle";
    }
}

registry! {
    /// Configuration payload types (RFC 7296 §3.15).
    CfgType(u8) {
        1 => REQUEST, "CFG_REQUEST";
        2 => REPLY, "CFG_REPLY";
        3 => SET, "CFG_SET";
        4 => ACK, "CFG_ACK";
    }
}
