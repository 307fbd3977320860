//! strongSwan as a peer: one charon in one namespace, with its userspace ESP, driven through its own control socket.
//!
//! Its ESP knows tunnel mode in UDP only, no ESN, a replay window of 128, and wants an address of its own inside its traffic
//! selector: so the host behind it is the gateway itself.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use portcullis::lab::topology::{Topology, V4, spawn_in};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;

/// OpenSSL comes first: charon's own AES is a tenth as fast.
const PLUGINS: &str = "random nonce openssl curve25519 sha1 sha2 hmac pem pkcs1 pkcs8 x509 pubkey constraints revocation kdf \
                       kernel-libipsec kernel-netlink socket-default vici updown eap-identity eap-mschapv2 eap-tls";

/// What a test changes of the connection; the rest is the same in all.
#[derive(Clone, Debug)]
pub struct Connection {
    /// IKE proposals.
    pub ike: String,
    /// ESP proposals.
    pub esp: String,
    /// The preshared key, in hexadecimal.
    pub psk: String,
    /// What charon protects on its own side.
    pub local_ts: String,
    /// What charon protects on the other side.
    pub remote_ts: String,
    /// Pretend that there is a NAT.
    pub encap: bool,
    /// Who charon says it is, and who its peer is; the addresses if it is empty.
    pub ids: Vec<String>,
    /// Further lines of the connection.
    pub lines: String,
    /// Further secrets.
    pub secrets: String,
    /// Datagrams beyond this length are cut into fragments; 0 for charon's default.
    pub fragment_size: usize,
}

impl Connection {
    fn text(&self, here: IpAddr, there: IpAddr) -> String {
        let Self { ike, esp, psk, local_ts, remote_ts, encap, ids, lines, secrets, .. } = self;
        let addresses = [here.to_string(), there.to_string()];
        let [us, them] = if let [us, them] = ids.as_slice() { [us, them] } else { [&addresses[0], &addresses[1]] };
        format!(
            "connections {{ gw {{\n version = 2\n mobike = no\n local_addrs = {here}\n remote_addrs = {there}\n \
             proposals = {ike}\n encap = {encap}\n unique = replace\n keyingtries = 1\n {lines}\n \
             local {{ auth = psk\n id = {us} }}\n remote {{ auth = psk\n id = {them} }}\n \
             children {{ net {{ local_ts = {local_ts}\n remote_ts = {remote_ts}\n esp_proposals = {esp} }} }}\n}} }}\n\
             secrets {{ ike-gw {{ id-a = {us}\n id-b = {them}\n secret = 0x{psk} }}\n {secrets} }}\n",
            encap = if *encap { "yes" } else { "no" },
        )
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            ike: "aes256gcm16-prfsha384-ecp384".into(),
            esp: "aes256gcm16-ecp384".into(),
            psk: super::PSK.into(),
            local_ts: format!("{}/32", V4.host_b),
            remote_ts: format!("{}/32", V4.host_a),
            encap: false,
            ids: Vec::new(),
            lines: String::new(),
            secrets: String::new(),
            fragment_size: 0,
        }
    }
}

/// Which gateway of the topology charon is.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// Gateway A.
    A,
    /// Gateway B.
    B,
}

/// A running charon.
pub struct Charon {
    child: Child,
    folder: PathBuf,
}

impl Charon {
    /// Starts it as gateway `side` and loads the connection.
    pub fn start(topology: &Topology, side: Side, folder: &Path, connection: &Connection) -> Self {
        let (here, there) = match side {
            Side::A => (V4.gateway_a, V4.gateway_b),
            Side::B => (V4.gateway_b, V4.gateway_a),
        };
        let settings = format!("fragment_size = {}", connection.fragment_size);
        Self::start_among(topology, side, folder, &connection.text(here, there), &[], &settings)
    }

    /// Starts it as gateway `side` and loads the text of a whole swanctl.conf.
    pub fn start_with(topology: &Topology, side: Side, folder: &Path, swanctl: &str) -> Self {
        Self::start_among(topology, side, folder, swanctl, &[], "")
    }

    /// The same among these files (`x509/peer.pem`, `private/peer.pem`, ..), with more lines for `charon-systemd { }`.
    pub fn start_among(
        topology: &Topology,
        side: Side,
        folder: &Path,
        swanctl: &str,
        files: &[(&str, &str)],
        settings: &str,
    ) -> Self {
        let place: &Namespace = match side {
            Side::A => &topology.gateway_a,
            Side::B => &topology.gateway_b,
        };
        let host = if matches!(side, Side::A) { V4.host_a } else { V4.host_b };
        place.run(|| own(host)).unwrap().expect("the loopback takes the host's address");
        let folder = folder.join(format!("charon-{side:?}"));
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("vici");
        let _ = fs::remove_file(&socket);
        let main = format!(
            "charon-systemd {{\n load = {PLUGINS}\n retransmit_tries = 3\n retransmit_timeout = 1.0\n {settings}\n \
             plugins {{ vici {{ socket = unix://{socket} }} }}\n \
             filelog {{ file {{ path = {log}\n flush_line = yes\n default = 1\n ike = 2\n cfg = 2 }} }}\n}}\n\
             swanctl {{ load = openssl curve25519 pem pkcs1 pkcs8 x509 pubkey random\n socket = unix://{socket} }}\n",
            socket = socket.display(),
            log = folder.join("log").display(),
        );
        fs::write(folder.join("strongswan.conf"), main).unwrap();
        write(&folder.join("swanctl.conf"), swanctl);
        for (name, content) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            write(&file, content);
        }
        let output = || Stdio::from(fs::File::create(folder.join("output")).unwrap());
        let mut command = Command::new("charon-systemd");
        command.env("STRONGSWAN_CONF", folder.join("strongswan.conf"));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(output()).stderr(output());
        let child = spawn_in(place, &mut command).expect("charon-systemd starts");
        let charon = Self { child, folder };
        assert!(
            super::until(Duration::from_secs(10), || socket.exists()),
            "charon has no control socket: {}",
            charon.log()
        );
        charon.load();
        charon
    }

    /// Takes another connection from now on; its SAs stay. Only for gateway B.
    pub fn reload(&self, connection: &Connection) {
        write(&self.folder.join("swanctl.conf"), &connection.text(V4.gateway_b, V4.gateway_a));
        self.load();
    }

    /// The same with a whole swanctl.conf.
    pub fn reload_with(&self, swanctl: &str) {
        write(&self.folder.join("swanctl.conf"), swanctl);
        self.load();
    }

    fn load(&self) {
        let file = self.folder.join("swanctl.conf");
        let loaded = super::until(Duration::from_secs(5), || {
            self.swanctl(&["--load-all", "--file", &file.to_string_lossy()]).is_ok()
        });
        assert!(loaded, "swanctl cannot load: {:?}", self.swanctl(&["--load-all", "--file", &file.to_string_lossy()]));
    }

    fn swanctl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("swanctl")
            .args(arguments)
            .env("STRONGSWAN_CONF", self.folder.join("strongswan.conf"))
            .env("SWANCTL_DIR", &self.folder)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("swanctl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// Opens the child SA; the text is charon's account of it.
    pub fn initiate(&self) -> Result<String, String> {
        self.swanctl(&["--initiate", "--child", "net", "--timeout", "10"])
    }

    /// Gives the child SA (`child`) or the IKE SA (`ike`) new keys.
    pub fn rekey(&self, what: &str) -> Result<String, String> {
        let of = if what == "ike" { ["--ike", "gw"] } else { ["--child", "net"] };
        self.swanctl(&["--rekey", of[0], of[1]])
    }

    /// Deletes the IKE SA and what hangs on it.
    pub fn terminate_ike(&self) -> Result<String, String> {
        self.swanctl(&["--terminate", "--ike", "gw", "--timeout", "10"])
    }

    /// Deletes the child SA alone.
    pub fn terminate_child(&self) -> Result<String, String> {
        self.swanctl(&["--terminate", "--child", "net", "--timeout", "10"])
    }

    /// Its SAs, as `swanctl --list-sas` shows them.
    pub fn sas(&self) -> String {
        self.swanctl(&["--list-sas"]).unwrap_or_default()
    }

    /// Its log.
    pub fn log(&self) -> String {
        ["log", "output"].map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default()).concat()
    }

    /// Kills it without a word to its peer.
    pub fn kill(mut self) {
        self.vanish();
    }

    /// The same, and its log can be read.
    pub fn vanish(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn own(host: IpAddr) -> std::io::Result<()> {
    let mut netlink = Netlink::open()?;
    let lo = netlink.index_of("lo")?;
    netlink.add_address(lo, IpNet::from(host))
}

impl Drop for Charon {
    fn drop(&mut self) {
        self.vanish();
    }
}
