//! `peer-config` and `import` from the built binary: whole pages beside golden ones, and the way there and back.
//!
//! A golden page that should change is written anew with `GOLDEN=write cargo test --test peer_config`, and then read.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis::config::import::import;
use portcullis::config::{Loaded, load};
use support::{Case, EXAMPLE};

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn compare(name: &str, shown: &str) {
    let file = golden(name);
    if std::env::var_os("GOLDEN").is_some() {
        fs::write(&file, shown).expect("a golden page");
    }
    assert_eq!(shown, fs::read_to_string(&file).unwrap_or_default(), "{name}");
}

/// What was printed and what was said beside it, without what differs from run to run.
fn page(output: &Output, case: &Case) -> String {
    let folder = case.path("").display().to_string();
    let all = format!("{}\n=== standard error\n{}", text(&output.stdout), text(&output.stderr));
    all.replace(folder.trim_end_matches('/'), "/FOLDER")
        .replace(&golden("").display().to_string(), "")
        .replace(concat!("portcullis ", env!("CARGO_PKG_VERSION")), "portcullis VERSION")
}

#[test]
fn pages_for_every_device_are_the_golden_ones() {
    let case = Case::new();
    let example = case.file(&EXAMPLE.replace("file:PSK", &format!("file:{}", case.path("psk").display())));
    let presets = ["cisco-ios-xe", "cisco-asa", "strongswan"];
    for device in presets {
        let shown = portcullis(&["peer-config", "cbp", "--for", device, example.to_str().unwrap()]);
        assert_eq!(code(&shown), 0, "{}", text(&shown.stderr));
        compare(&format!("example.{device}"), &page(&shown, &case));
    }
    // The appliance knows neither these identities nor this key.
    for (name, device, exit) in [
        ("bench", "cisco-ios-xe", 0),
        ("bench", "cisco-asa", 7),
        ("bench", "strongswan", 0),
        ("six", "cisco-ios-xe", 0),
        ("six", "cisco-asa", 7),
    ] {
        let file = golden("bench.toml");
        let shown = portcullis(&["peer-config", name, "--for", device, "--with-secret", file.to_str().unwrap()]);
        assert_eq!(code(&shown), exit, "{name} {device}: {}", text(&shown.stderr));
        compare(&format!("{name}.{device}"), &page(&shown, &case));
    }
}

#[test]
fn a_key_is_shown_only_when_it_is_asked_for() {
    let case = Case::new();
    let key = "8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33";
    let inline = EXAMPLE.replace("file:PSK", &format!("hex:{key}"));
    let file = case.file(&inline);
    for device in ["cisco-ios-xe", "cisco-asa", "strongswan"] {
        let ask = |more: &[&str]| {
            portcullis(&[&["peer-config", "cbp", "--for", device, file.to_str().unwrap()], more].concat())
        };
        let silent = ask(&[]);
        assert_eq!(code(&silent), 0);
        assert!(!page(&silent, &case).contains(key), "{device}");
        assert_eq!(text(&ask(&["--with-secret"]).stdout).contains(key), device != "cisco-asa", "{device}");
    }
    // A key that is text goes into both commands of the appliance, and nowhere else.
    let file = case.file(EXAMPLE);
    let shown = portcullis(&["peer-config", "cbp", "--for", "cisco-asa", "--with-secret", file.to_str().unwrap()]);
    assert_eq!((code(&shown), text(&shown.stdout).matches(support::PSK.trim_end()).count()), (0, 2));
    // Without it, the file of the key need not even be there.
    fs::remove_file(case.path("psk")).unwrap();
    let page = portcullis(&["peer-config", "cbp", "--for", "cisco-asa", file.to_str().unwrap()]);
    assert_eq!(code(&page), 0);
}

#[test]
fn a_tunnel_that_is_not_there_is_a_question_about_nothing() {
    let case = Case::new();
    let file = case.file(EXAMPLE);
    let refused = portcullis(&["peer-config", "cpb", "--for", "strongswan", file.to_str().unwrap()]);
    assert_eq!((code(&refused), text(&refused.stdout)), (2, ""));
    assert!(text(&refused.stderr).contains("there are cbp"), "{}", text(&refused.stderr));
    assert_eq!(code(&portcullis(&["peer-config", "cbp", "--for", "fridge", file.to_str().unwrap()])), 2);
    assert_eq!(code(&portcullis(&["peer-config", "cbp", "--for", "strongswan", "/nonexistent"])), 3);
}

#[test]
fn imports_are_the_golden_ones() {
    let case = Case::new();
    for name in ["swanctl.conf", "ipsec.conf"] {
        let imported = portcullis(&["import", golden(name).to_str().unwrap()]);
        assert_eq!(code(&imported), 7, "{}", text(&imported.stderr));
        compare(&format!("{name}.imported"), &page(&imported, &case));
        assert!(!page(&imported, &case).contains("nobody") && !page(&imported, &case).contains("horse"), "{name}");
    }
    // One with a gap does not load, and the error points at the gap; without it, it does.
    let imported = portcullis(&["import", golden("ipsec.conf").to_str().unwrap()]);
    fs::write(case.path("imported.toml"), &imported.stdout).unwrap();
    let check = portcullis(&["check", case.path("imported.toml").to_str().unwrap()]);
    assert_eq!(code(&check), 3);
}

#[test]
fn a_file_that_is_none_is_told_with_line_and_column() {
    let case = Case::new();
    let file = case.path("swanctl.conf");
    fs::write(&file, "connections {\n  a b\n}\n").unwrap();
    let refused = portcullis(&["import", file.to_str().unwrap()]);
    assert_eq!((code(&refused), text(&refused.stdout)), (3, ""));
    assert!(text(&refused.stderr).contains("swanctl.conf:2:5: "), "{}", text(&refused.stderr));
    // What it is taken for decides.
    let refused = portcullis(&["import", "--from", "ipsec", file.to_str().unwrap()]);
    assert!(text(&refused.stderr).contains("swanctl.conf:1:1: "), "{}", text(&refused.stderr));
    assert_eq!(code(&portcullis(&["import", "/nonexistent/swanctl.conf"])), 3);
}

/// The only tunnel of a file that is made for the other side and read back.
fn there_and_back(case: &Case, file: &Path, tunnel: &str) -> (Loaded, Vec<String>) {
    let page =
        portcullis(&["peer-config", tunnel, "--for", "strongswan", "--with-secret", &file.display().to_string()]);
    assert_eq!(code(&page), 0, "{}", text(&page.stderr));
    let imported = import(text(&page.stdout), None, true).expect("what was printed is read");
    let path = case.path("back.toml");
    fs::write(&path, imported.toml.as_bytes()).expect("a file");
    let loaded = load(&path).unwrap_or_else(|error| panic!("{error}\n{}", *imported.toml));
    (loaded, imported.lost.into_iter().map(|lost| lost.what).collect())
}

#[test]
fn what_strongswan_is_told_comes_back_as_the_same_tunnel_from_the_other_side() {
    let case = Case::new();
    let example = case.file(&EXAMPLE.replace("\n\n[[rule]]", "\npeer_id = \"gw.example.com\"\n\n[[rule]]"));
    for (file, name) in [(example, "cbp"), (golden("bench.toml"), "bench"), (golden("bench.toml"), "six")] {
        let original = load(&file).unwrap();
        let original = original.ike.tunnels.iter().find(|tunnel| tunnel.name == name).unwrap();
        let (loaded, lost) = there_and_back(&case, &file, name);
        let back = &loaded.ike.tunnels[0];
        assert_eq!((back.local, back.peer), (original.peer, original.local));
        assert_eq!((&back.local_id, &back.peer_id), (&original.peer_id, &original.local_id));
        assert_eq!((&back.ike, &back.esp), (&original.ike, &original.esp));
        assert_eq!(back.local_auth, original.local_auth);
        assert_eq!(back.peer_auth, original.peer_auth);
        let settings = |tunnel: &portcullis::ike::config::TunnelConfig| {
            let (child, ike) = (tunnel.lifetime, tunnel.ike_lifetime);
            (tunnel.force_encapsulation, tunnel.liveness, tunnel.replay_window, child, ike)
        };
        assert_eq!(settings(back), settings(original));
        let mirrored: Vec<_> = back.children.iter().map(|child| (child.remote, child.local)).collect();
        let children: Vec<_> = original.children.iter().map(|child| (child.local, child.remote)).collect();
        assert_eq!(mirrored, children, "{name}");
        if name == "bench" {
            assert_eq!(lost, [""; 0], "every selector names its service");
        } else {
            assert!(lost.len() == 1 && lost[0].contains("every protocol may pass there"), "{lost:?}");
        }
        // And back again: from the other side of the other side it is the original.
        let other = case.path("other.toml");
        fs::copy(case.path("back.toml"), &other).unwrap();
        let (loaded, _) = there_and_back(&case, &other, name);
        let twice = &loaded.ike.tunnels[0];
        assert_eq!((twice.local, &twice.local_id), (original.local, &original.local_id));
        let shapes: Vec<_> = twice.children.iter().map(|child| (child.local, child.remote)).collect();
        assert_eq!(shapes, children);
    }
}

/// A peer with several head-ends: one page for all of them where the device can, else a page for the first with a word on the
/// others.
#[test]
fn a_page_for_several_head_ends_names_them_all() {
    let case = Case::new();
    let several = "peer = [\"203.0.113.5\", \"203.0.113.6\"]\npeer_id = \"gw.example.com\"\nmobike = true";
    let text_of = EXAMPLE.replace("peer = \"203.0.113.5\"", several);
    let file = case.file(&text_of.replace("file:PSK", &format!("file:{}", case.path("psk").display())));
    let page_for = |device: &str| {
        let shown = portcullis(&["peer-config", "cbp", "--for", device, file.to_str().unwrap()]);
        // The appliance has no form for an identity that is no address, and says so; the page is printed all the same.
        assert!(
            code(&shown) == 0 || text(&shown.stderr).contains("not expressed: identity"),
            "{}",
            text(&shown.stderr)
        );
        text(&shown.stdout).to_owned()
    };
    let strongswan = page_for("strongswan");
    assert!(strongswan.contains("local_addrs = 203.0.113.5, 203.0.113.6"), "{strongswan}");
    assert!(strongswan.contains("mobike = yes"), "{strongswan}");
    for device in ["cisco-ios-xe", "cisco-asa"] {
        let cisco = page_for(device);
        assert!(cisco.contains("203.0.113.6 gets the same, with its own address"), "{cisco}");
    }
}
