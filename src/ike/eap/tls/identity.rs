//! What the two sides of EAP-TLS are configured with: a certificate with its key, the authorities that the other side's
//! certificate has to come from, what these have taken back, and the name that it has to bear.
//!
//! Revocation lists are read when they are configured: a stranger costs no reading of them. OCSP is left out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

use crate::ike::eap::Fault;

/// The configuration cannot be used; in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// One side's certificate and key, and what it asks of the other's.
struct Material {
    provider: Arc<CryptoProvider>,
    own: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    /// The name that the other side's certificate has to bear.
    name: ServerName<'static>,
    versions: &'static [&'static SupportedProtocolVersion],
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// What all of it was made from, to tell whether another one is the same.
    made_from: Vec<Vec<u8>>,
}

impl Material {
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: Vec<CertificateDer<'static>>,
        name: &str,
    ) -> Result<Self, Refused> {
        let refused = |what: &'static str| move |error: rustls::Error| Refused(format!("{what}: {error}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made_from = chain.iter().chain(&authorities).map(|der| der.to_vec()).collect();
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(refused("the certificate of an authority cannot be used"))?;
        }
        if roots.is_empty() {
            return Err(Refused("there is no certificate of an authority".to_owned()));
        }
        // It also checks that key and certificate belong together.
        let own =
            CertifiedKey::from_der(chain, key, &provider).map_err(refused("certificate or key cannot be used"))?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Refused("the name that the certificate has to bear is neither a host name nor an address".to_owned())
        })?;
        let (own, roots) = (Arc::new(own), Arc::new(roots));
        Ok(Self { provider, own, roots, name, versions: ALL_VERSIONS, lists: Vec::new(), made_from })
    }

    /// From now on each certificate of the other side's chain has to be covered by one of these lists, which must not be out of
    /// date, and to be on none (RFC 5280 §6.3).
    fn take(&mut self, lists: Vec<CertificateRevocationListDer<'static>>) {
        self.made_from.extend(lists.iter().map(|der| der.to_vec()));
        self.lists = lists;
    }

    /// What the client asks of a server's certificate.
    fn of_servers(&self) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        if self.lists.is_empty() {
            return builder.build();
        }
        builder.with_crls(self.lists.clone()).enforce_revocation_expiration().build()
    }

    /// What the server asks of a client's. RFC 5216 §2.1.1: one without a certificate is refused within TLS.
    fn of_clients(&self) -> Result<Arc<Named>, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        let good = if self.lists.is_empty() {
            builder.build()?
        } else {
            builder.with_crls(self.lists.clone()).enforce_revocation_expiration().build()?
        };
        Ok(Arc::new(Named { good, name: self.name.clone() }))
    }

    fn same(&self, other: &Self) -> bool {
        (&self.name, &self.made_from) == (&other.name, &other.made_from)
    }
}

/// The client of EAP-TLS: the initiator of IKE.
pub struct ClientIdentity(Option<(Material, Arc<WebPkiServerVerifier>)>);

/// The server of EAP-TLS: the responder of IKE.
pub struct ServerIdentity(Option<(Material, Arc<Named>)>);

fn unverifiable(error: VerifierBuilderError) -> Refused {
    Refused(match error {
        VerifierBuilderError::InvalidCrl(_) => "a file holds no revocation list that is understood here".to_owned(),
        other => format!("nothing can be held against these certificates: {other}"),
    })
}

impl ClientIdentity {
    /// One whose files have not been read: nothing can be proved with it.
    #[must_use]
    pub fn unread() -> Self {
        Self(None)
    }

    /// `chain` and `key` are ours; the server's certificate has to come from one of `authorities` and bear `name`.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: Vec<CertificateDer<'static>>,
        name: &str,
    ) -> Result<Self, Refused> {
        let material = Material::new(chain, key, authorities, name)?;
        let verifier = material.of_servers().map_err(unverifiable)?;
        Ok(Self(Some((material, verifier))))
    }

    /// The same, where revocation lists of the authorities, in DER, have the last word.
    pub fn with_lists(self, lists: Vec<CertificateRevocationListDer<'static>>) -> Result<Self, Refused> {
        let Some((mut material, _)) = self.0 else { return Ok(self) };
        material.take(lists);
        let verifier = material.of_servers().map_err(unverifiable)?;
        Ok(Self(Some((material, verifier))))
    }

    /// The same without TLS 1.3.
    #[cfg(test)]
    #[must_use]
    pub fn only_tls12(mut self) -> Self {
        static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        self.0.as_mut().unwrap().0.versions = TLS12;
        self
    }

    /// A new TLS connection at `unix_now`, seconds since 1970.
    pub fn connect(&self, unix_now: u64) -> Result<Connection, Fault> {
        let (Material { provider, own, name, versions, .. }, verifier) = self.0.as_ref().ok_or_else(unusable)?;
        let mut config = ClientConfig::builder_with_details(Arc::clone(provider), At::second(unix_now))
            .with_protocol_versions(versions)
            .map_err(|_| unusable())?
            .with_webpki_verifier(Arc::clone(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
        // RFC 5216 §2.1.2 allows it, and nobody needs it here: a resumed session proves less.
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        ClientConnection::new(Arc::new(config), name.clone()).map(Connection::Client).map_err(|_| unusable())
    }
}

impl ServerIdentity {
    /// One whose files have not been read: nothing can be proved with it.
    #[must_use]
    pub fn unread() -> Self {
        Self(None)
    }

    /// `chain` and `key` are ours; the client's certificate has to come from one of `authorities` and bear `name`.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: Vec<CertificateDer<'static>>,
        name: &str,
    ) -> Result<Self, Refused> {
        let material = Material::new(chain, key, authorities, name)?;
        let verifier = material.of_clients().map_err(unverifiable)?;
        Ok(Self(Some((material, verifier))))
    }

    /// The same, where revocation lists of the authorities, in DER, have the last word.
    pub fn with_lists(self, lists: Vec<CertificateRevocationListDer<'static>>) -> Result<Self, Refused> {
        let Some((mut material, _)) = self.0 else { return Ok(self) };
        material.take(lists);
        let verifier = material.of_clients().map_err(unverifiable)?;
        Ok(Self(Some((material, verifier))))
    }

    /// A new TLS connection at `unix_now`, seconds since 1970.
    pub fn accept(&self, unix_now: u64) -> Result<Connection, Fault> {
        let (Material { provider, own, versions, .. }, verifier) = self.0.as_ref().ok_or_else(unusable)?;
        let verifier: Arc<dyn ClientCertVerifier> = Arc::<Named>::clone(verifier);
        let mut config = ServerConfig::builder_with_details(Arc::clone(provider), At::second(unix_now))
            .with_protocol_versions(versions)
            .map_err(|_| unusable())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        ServerConnection::new(Arc::new(config)).map(Connection::Server).map_err(|_| unusable())
    }
}

/// The client's certificate has to be good, and to bear the name. It is refused within TLS, so that nothing that looks
/// like a success leaves before.
#[derive(Debug)]
struct Named {
    good: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.good.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.good.verify_client_cert(own, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(own)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.good.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.good.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.good.supported_verify_schemes()
    }
}

fn unusable() -> Fault {
    Fault::failed("TLS cannot begin with this configuration")
}

/// The time as it was when the conversation began: certificates are checked against it.
#[derive(Debug)]
struct At(UnixTime);

impl At {
    fn second(unix_now: u64) -> Arc<dyn TimeProvider> {
        Arc::new(Self(UnixTime::since_unix_epoch(Duration::from_secs(unix_now))))
    }
}

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

macro_rules! compared_and_printed {
    ($($name:ident)*) => {
        $(
            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($name)).field("name", &self.0.as_ref().map(|(of, _)| &of.name)).finish_non_exhaustive()
                }
            }

            impl PartialEq for $name {
                fn eq(&self, other: &Self) -> bool {
                    match (&self.0, &other.0) {
                        (Some((one, _)), Some((two, _))) => one.same(two),
                        (None, None) => true,
                        _ => false,
                    }
                }
            }

            impl Eq for $name {}
        )*
    };
}

compared_and_printed!(ClientIdentity ServerIdentity);
