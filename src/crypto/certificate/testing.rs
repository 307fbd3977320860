//! Authorities and certificates for tests, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

use rcgen::string::Ia5String;

use super::Certificate;
use crate::crypto::signature::SigningKey;

/// Half way through the validity of everything that is made here, in seconds since 1970: 2028-01-01.
pub const NOW: u64 = 1_830_297_600;

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key_pem: String,
}

/// What stands in a certificate.
pub struct Leaf<'a> {
    pub name: &'a str,
    pub serial: u64,
    pub hosts: &'a [&'a str],
    pub mail: &'a [&'a str],
    pub addresses: &'a [&'a str],
    pub years: (i32, i32),
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
    pub usages: Vec<KeyUsagePurpose>,
    pub kind: &'static SignatureAlgorithm,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            name: "leaf",
            serial: 7,
            hosts: &["gw.example"],
            mail: &[],
            addresses: &[],
            years: (2026, 2030),
            purposes: Vec::new(),
            usages: vec![KeyUsagePurpose::DigitalSignature],
            kind: &PKCS_ECDSA_P256_SHA256,
        }
    }
}

/// A certificate with its key.
pub struct Issued {
    pub der: Vec<u8>,
    pub key_pem: String,
}

impl Issued {
    pub fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::from_pem(self.key_pem.as_bytes()).unwrap()
    }
}

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

fn authority_params(name: &str, years: (i32, i32), path_len: Option<u8>) -> CertificateParams {
    let mut params = params(name, years);
    params.is_ca = IsCa::Ca(path_len.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// One that nobody stands above.
    pub fn new(name: &str) -> Self {
        Self::valid(name, (2026, 2030))
    }

    pub fn valid(name: &str, years: (i32, i32)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key_pem = key.serialize_pem();
        Self { issuer: CertifiedIssuer::self_signed(authority_params(name, years, None), key).unwrap(), key_pem }
    }

    /// One below this one.
    pub fn below(&self, name: &str) -> Self {
        self.above(name, 0)
    }

    /// One below it, with so many authorities below that at most.
    pub fn above(&self, name: &str, others: u8) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = authority_params(name, (2026, 2030), Some(others));
        let key_pem = key.serialize_pem();
        Self { issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap(), key_pem }
    }

    pub fn certificate(&self) -> Certificate {
        Certificate::from_der(self.issuer.der()).unwrap()
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::from_pem(self.key_pem.as_bytes()).unwrap()
    }

    /// A certificate of it.
    pub fn issue(&self, leaf: &Leaf<'_>) -> Issued {
        self.issue_for(leaf, &KeyPair::generate_for(leaf.kind).unwrap())
    }

    /// A certificate of it for this key.
    pub fn issue_for(&self, leaf: &Leaf<'_>, key: &KeyPair) -> Issued {
        let mut params = params(leaf.name, leaf.years);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        let ia5 = |text: &str| Ia5String::try_from(text).unwrap();
        params.subject_alt_names = leaf.hosts.iter().map(|host| SanType::DnsName(ia5(host))).collect();
        params.subject_alt_names.extend(leaf.mail.iter().map(|mail| SanType::Rfc822Name(ia5(mail))));
        let addresses = leaf.addresses.iter().map(|address| SanType::IpAddress(address.parse().unwrap()));
        params.subject_alt_names.extend(addresses);
        params.extended_key_usages.clone_from(&leaf.purposes);
        params.key_usages.clone_from(&leaf.usages);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Issued { der: certificate.der().to_vec(), key_pem: key.serialize_pem() }
    }

    /// A revocation list of it, made and renewed in these years.
    pub fn revoke(&self, serials: &[u64], years: (i32, i32)) -> Vec<u8> {
        let serials: Vec<_> = serials.iter().map(|serial| SerialNumber::from(*serial)).collect();
        self.list(&serials, years)
    }

    /// The same, for serial numbers of any length.
    pub fn revoke_raw(&self, serials: &[&[u8]], years: (i32, i32)) -> Vec<u8> {
        let serials: Vec<_> = serials.iter().map(|serial| SerialNumber::from_slice(serial)).collect();
        self.list(&serials, years)
    }

    fn list(&self, serials: &[SerialNumber], years: (i32, i32)) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: date_time_ymd(years.0, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(years.0, 1, 1),
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// An RSA key, by `openssl genpkey`: for tests alone.
pub const RSA_2048: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC5w0wGwfUd3JhS
eoYeRcrzm36xMGkDVRHbVyfUANES/Dr2//b7h0WDFpXBuiS+2ca5lBKvCHCAi+Yo
q1wERLHBjAfUO6EtMa/nO2vnnu1ne/yx/Cvw3d/ofMJuSJ8IVKNKrapV5bD8UIIu
fykERkvxNqvI6Z5btLpt4gaYqoCMiw2vocBQ7tqvbUFur2qTT6OTDErPPlCdZdpz
KrsMTbvCMpU8VchA6HXnsrsaA85XcT60L36h/8UZv+QcbozBZDjS0dXW3etOATbn
IN0VryF0pMg8KB15jtx9uzoPrFnNbjDUmORUmBFa24gWB7xnuh/OSshxi2Albqjw
0HuvA16bAgMBAAECggEAAO9gLLSIkTg/KAo9Ll4NIAiSc+jEXMcnZqJ4O2jZpJGZ
ktQNA+Jx3+h+au5yYgP/SKQUgOKaxJdTPgq4jfcrAB2hxq3TDN9MmbVCwMnUyaZ0
O/Q7x4BGabQtSXu3boz4SzrwVnMEwn6aI9H/0dsiEEio8dFmyP8q5RIJaj3CXI8u
oxC/hZzUsNTOAo8dAd1E4maiPwNHB5ovlSEZcGvpJEcDZ2jonsIEnDV32Zvo8u9j
SZETBL4kxH3Xoa6cHYnZY9PhFXfob86t6/biEcr3Qy78CRtNkAem+v7mAPb09+Sp
UaJlnwP0cr1gIyuBzQ6DpMVDaYb3/beCT02myAHSOQKBgQD4hDIq9aE4rVGvmd1M
IGpd7vTJ9RfpacJNPKJ0gcJ+cRRtPhZ8KZAo+C1pR6AmUEQzLUIq6rBImj5IHt6v
ewxEfo1NIZL5FPppZ2+4o6BsfrU4CcO1HryskfNvpO1YpF/7OmO3W/Bburuyu6Fj
AbBbeC0S3ATp8cxAat6SGMB0JQKBgQC/W1YfYWj9PLNchWYSTvv4ue+Cra7c/cD7
rjMpgq9Ge621VNUhwVCvkpispHINzoYdUxWSHKux+0hCxcKMijrHqDa4dyGh0u7e
wu0KvlapSmqbmAvwgNoGjEBrPs1eqFnsFQoJpOpYkVglosJfg6CMEc/3MN1Riq2C
tWX9rvirvwKBgQDKohe52ZB8gy3QzdeYY/H254lnRtYZdyd8DM21y7wHlzJ9pJt2
3/jwvvNgHYvi0Z3aULPcBIJ6oHHaInmWgfFNxBZ45sBNIqLP4QxCdACxllsy9xtB
im9zEop45PS2S0kLst9tuaRxVwAGy2DbNpxS6NlvwECtdIADomAapd3+lQKBgDpy
+aFoLZt8WQTfskfRXGGi2ae+yXSzBalakkIRqtwKlwqWOOuwkqauTngdWsEg3hJC
+InCvCcHLBFJOp2W81Fc7in2KY22UkQ0ohbwAKSBGIMiNDNoCDCL0nlvm2dYYO8d
lg1QFEytSJFmX5yxJe7i2fUVNeTcSRdttROByG8dAoGAIU5VaXlJWTSK1OlZbgcY
J7XSiOiptZLcqGRMGa3IGGSTZkIAcaINF4SxpyacH5Nnicvup/sHHZgIWRBi5xQm
tytJanTpRMHeFeIWs8gh/GkRNy541ubAe2M595MlEuRV1TqG9GPkUd15uhlsGASL
bx5jOzDsrZ+oJ8GxcAClOuI=
-----END PRIVATE KEY-----
";

/// An RSA key, by `openssl genpkey`: for tests alone.
pub const RSA_1024: &str = "\
-----BEGIN PRIVATE KEY-----
MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBANXWQid+Ins/gLZ6
uMRzXRHInaKuTpxZmxLqV8Ue/FQiZPwVBVtIPo1YKifUrnAjiHr+YU++0444WKz4
4aQEbdn306yD4EMmA9BmrGuctdiKYiUTWASMimt/x9R/H0LTY6M+n5qdcQnJ71Ft
Bw5ll24Si1hmeW1XCjEaXLGIMpR5AgMBAAECgYAmYlN1q1qdLQT5vIW2Hc8zBgPl
08wgnKUNfCtNIwbAQ3xFE7Dmdc1kqdLHW5IEZxx0l3z4R5TKDqs8QWCfhHwDNA05
qOWHqVnaetii7Hm2D8LDrhINmpK2S8MwQa2ntatX0zK5OS3eqhck3FypHPfgljSm
asobm3uoMazErB0TUQJBAPzTtYm3jjD6MfaLzYV+n1Nw76uuiCTogQx1e3IcMdqa
K1ayp/1JzTIgxOSFr3k97mKxhUA+ju+/oZH6Jfn1e0sCQQDYhUfiEKuUpUJqfRus
OSuagQT9V5Vfh8iJOYogHs2zWHN/lwZjETe4JfcWWyA3GZLg6t9CxPUWcTc9awZF
K3DLAkBR/UIA8DK/dVOglYPHx+FZSOWgclAaUAARj0PCJJySPK7TRcqunDFcET5o
sWXPVqMpBFKnG+J0o1t9IHcSUWZzAkAZJtpj02XrHYtqjV/ykK2VBBnNSChM8ZwE
/M8jzhA9HjBEiQmv5mcfmCFs0mcan3jlccM/oVuLINm248DVticjAkA8m7bBiG9l
Z1N5ragQij8i7UGx2xLUYkPrvJ9edm/DdD0oXTGmw7HAQ7VjsdxUbSq/6grSUKO1
eNbiHUuMde3F
-----END PRIVATE KEY-----
";

/// A key on P-521, likewise, in SEC 1.
pub const P521: &str = "\
-----BEGIN EC PRIVATE KEY-----
MIHcAgEBBEIBA3rHVFK91lmtsskB9FEVVOZVSAp9Gk0U5iT/Sl2ixHNyO+INzLo1
lTTDiKsj/uEahuavQU4tO/koL6o4UA2n8RugBwYFK4EEACOhgYkDgYYABAFcXCI+
oR4G003ssJrcBTGmkAgADybB2eGwy5r1+hp8nj4viEaZHUbyCSnP2z17j54KWHkR
FGvshnsWT45hmHlNjgEywWt8ZI0GEkecARJMTgGYdE3naH4cggwx+uU7vhd4EKtf
cCYLp0spTxLwRxC8BdvdibGBgIakHkqxTUCcm6SPwQ==
-----END EC PRIVATE KEY-----
";
