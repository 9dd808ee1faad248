//! An operator with one account and one user, as `nsc` would make them: JWTs signed with Ed25519 keys, and the user's .creds file.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

pub(crate) struct Operator {
    /// For the server's configuration.
    pub(crate) configuration: String,
    /// What the user's .creds file holds.
    pub(crate) credentials: String,
    /// The seed in it, which no text may show.
    pub(crate) seed: String,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        // Of its own: JetStream does not run without one.
        let system = KeyPair::new_account();
        let operator_jwt = signed(&operator, &operator, "O", json!({ "type": "operator", "version": 2 }));
        // Limits of -1 are none; without those of JetStream the account has none of it.
        let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
        let account_jwt = signed(&operator, &account, "A", json!({ "type": "account", "version": 2, "limits": limits }));
        let system_jwt = signed(&operator, &system, "SYS", json!({ "type": "account", "version": 2 }));
        let user_jwt = signed(&account, &user, "U", json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }));
        let seed = user.seed().expect("a seed");
        let configuration = format!(
            "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}\n",
            account = account.public_key(),
            system = system.public_key(),
        );
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        Self { configuration, credentials, seed }
    }
}

fn signed(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "jti": name, "iat": 1, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats });
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = issuer.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
