//! What a rule demands of the bytes of its flows: what loads, and what is refused, on which line and with which advice.

mod support;

use support::{Case, EXAMPLE};

/// The example with another service and further keys in its rule.
fn inspected(service: &str, keys: &str) -> String {
    EXAMPLE.replace("service = \"mq\"", &format!("service = \"{service}\"\n{keys}"))
}

/// Asserts that `text` is refused with `message` on the line where `marked` stands, and that the help tells to `mend`.
#[track_caller]
fn refused(text: &str, message: &str, marked: &str, mend: &str) {
    let refused = Case::new().load(text).map(drop).expect_err(message);
    let problem = refused.errors.iter().find(|problem| problem.message().contains(message));
    let problem = problem.unwrap_or_else(|| panic!("nothing says \"{message}\" in\n{}", refused.render(false)));
    assert!(problem.mend().is_some_and(|help| help.contains(mend)), "{problem}: {:?}", problem.mend());
    let (line, _) = problem.place().expect("a place");
    let line = text.lines().nth(line - 1).expect("a line of the file");
    assert!(line.contains(marked), "{problem}: {line}");
}

#[test]
fn what_a_rule_demands_of_the_bytes_goes_with_its_service() {
    for (service, key, value) in [
        ("sftp", "channels", "[\"A\"]"),
        ("tls", "queues", "[\"A\"]"),
        ("smtp", "queue_managers", "[\"A\"]"),
        ("sftp", "roles", "[\"client\"]"),
        ("sftp", "tls", "\"required\""),
        ("tls", "tls", "\"required\""),
        ("sftp", "sni", "[\"a.example\"]"),
        ("sftp", "tls_versions", "[\"1.3\"]"),
    ] {
        refused(
            &inspected(service, &format!("{key} = {value}")),
            &format!("`{key}` does not go with"),
            value,
            "take it out",
        );
    }
    refused(
        &inspected("tcp", "tcp = [1]\ninspect = \"observe\""),
        "`inspect` does not go with",
        "\"observe\"",
        "take it out",
    );
    let tcp = inspected("tcp", "tcp = [1]\nciphers = [\"aes256\"]");
    refused(&tcp, "`ciphers` does not go with service \"tcp\"", "[\"aes256\"]", "it is for service \"mq\", \"sftp\"");
}

#[test]
fn words_and_names_of_what_is_demanded_are_checked() {
    for (service, keys, message, marked, mend) in [
        ("mq", "inspect = \"obsrve\"", "`inspect` cannot be \"obsrve\"", "\"obsrve\"", "did you mean \"observe\"?"),
        ("mq", "roles = [\"clients\"]", "`roles` cannot be \"clients\"", "\"clients\"", "did you mean \"client\"?"),
        ("mq", "tls = \"require\"", "`tls` cannot be \"require\"", "\"require\"", "did you mean \"required\"?"),
        ("mq", "channels = [\"TO QM\"]", "is not the name of an MQ object", "\"TO QM\"", "up to 20 letters"),
        ("mq", "channels = [\"A123456789B123456789C\"]", "is not the name", "\"A123456789B123456789C\"", "up to 20"),
        ("mq", "queues = [\"A*B\"]", "is not the name of an MQ object", "\"A*B\"", "a `*` at the end"),
        ("mq", "queues = [\"SYSTEM.ADMIN.COMMAND.QUEUE\"]", "administers a queue manager", "\"SYSTEM", "CBP §1b"),
        ("mq", "queues = [\"A\", \"A\"]", "`queues` names \"A\" twice", "\"A\"", "take it out"),
        ("mq", "queue_managers = [\"\"]", "`queue_managers` is empty", "\"\"", "plain text"),
        ("sftp", "ciphers = [\"aes256-ctrl\"]", "cannot be \"aes256-ctrl\"", "\"aes256-ctrl\"", "\"aes256-ctr\"?"),
        ("sftp", "ciphers = [\"aes256\"]", "`ciphers` cannot be \"aes256\"", "\"aes256\"", "it can be"),
        ("tls", "ciphers = [\"aes-256\"]", "`ciphers` cannot be \"aes-256\"", "\"aes-256\"", "\"aes256\"?"),
        ("tls", "ciphers = [\"TLS_AES_256_GCM_SHA385\"]", "cannot be", "\"TLS_AES_256_GCM_SHA385\"", "SHA384\"?"),
        ("tls", "tls_versions = [\"1.1\"]", "TLS 1.1 is not accepted", "\"1.1\"", "RFC 8996"),
        ("tls", "tls_versions = [\"1.4\"]", "`tls_versions` cannot be \"1.4\"", "\"1.4\"", "\"1.3\""),
        ("tls", "sni = [\"*.example\"]", "is not a host name", "\"*.example\"", "the whole name"),
        ("tls", "sni = [\"192.0.2.1\"]", "is not a host name", "\"192.0.2.1\"", "the whole name"),
        ("smtp", "tls = \"refused\"\nsni = [\"a.b\"]", "`sni` says how TLS has to be", "[\"a.b\"]", "one of the two"),
    ] {
        refused(&inspected(service, keys), message, marked, mend);
    }
    let many: Vec<String> = (0..65).map(|number| format!("\"Q{number}\"")).collect();
    let list = format!("[{}]", many.join(", "));
    refused(&inspected("mq", &format!("queues = {list}")), "`queues` is too long", "\"Q1\"", "a `*` at the end");
}

#[test]
fn what_a_rule_demands_of_the_bytes_is_taken_over() {
    let demands = |service: &str, keys: &str| {
        let loaded =
            Case::new().load(&inspected(service, keys)).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        let rule = &loaded.policy.rules()[0];
        format!("{} {}", rule.mode.as_str(), rule.inspection)
    };
    assert_eq!(demands("mq", ""), "enforce mq client server tls allowed 1.2 1.3");
    let keys = "inspect = \"observe\"\nroles = [\"client\"]\nchannels = [\"B\", \"A.*\"]\nqueue_managers = [\"QM1\"]\n\
                queues = [\"CBP.*\"]\ntls = \"required\"\ntls_versions = [\"1.3\"]\nciphers = [\"TLS_AES_256_GCM_SHA384\"]\n\
                sni = [\"mq.example\"]";
    assert_eq!(
        demands("mq", keys),
        "observe mq client channels A.* B queue-managers QM1 queues CBP.* tls required 1.3 suites TLS_AES_256_GCM_SHA384 \
         sni mq.example"
    );
    assert_eq!(demands("sftp", ""), "enforce ssh ciphers aes256-ctr aes256-gcm@openssh.com");
    assert_eq!(demands("sftp", "ciphers = [\"aes128-ctr\"]"), "enforce ssh ciphers aes128-ctr");
    assert_eq!(demands("smtp", "tls = \"required\""), "enforce smtp tls required 1.2 1.3");
    let strong = demands("tls", "ciphers = [\"aes256-gcm\"]\nsni = [\"ais2.cisa.dhs.gov\"]");
    assert!(strong.contains("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384 TLS_AES_256_GCM_SHA384"), "{strong}");
    assert!(strong.ends_with("sni ais2.cisa.dhs.gov"), "{strong}");
    assert_eq!(demands("tcp", "tcp = [8000]"), "enforce uninspected");
}
