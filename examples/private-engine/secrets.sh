#!/usr/bin/env bash
# Creates a CA, a certificate for dev-engine signed by it, and a token, as Secrets in kubectl's namespace:
# engine-ca (ca.crt), engine-tls (tls.crt, tls.key) and engine-token (token).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${new_key[@]}" -keyout ca.key -out ca.crt -days 365 -subj "/CN=private CA" \
  -addext keyUsage=critical,keyCertSign,cRLSign
openssl req "${new_key[@]}" -keyout tls.key -out tls.csr -subj /CN=dev-engine
cat >tls.ext <<END
subjectAltName=DNS:dev-engine,DNS:localhost
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
END
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out tls.crt -days 365 -extfile tls.ext
printf %s "$(openssl rand -hex 16)" >token

make_secret() { kubectl create secret "$@" --dry-run=client --output=yaml | kubectl apply --filename=-; }
make_secret generic engine-ca --from-file=ca.crt
make_secret tls engine-tls --cert=tls.crt --key=tls.key
make_secret generic engine-token --from-file=token
