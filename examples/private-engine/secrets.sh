#!/usr/bin/env bash
# Makes a CA, a certificate for dev-engine that it signs, and a token, as Secrets in kubectl's namespace:
# engine-ca (ca.crt), engine-tls (tls.crt, tls.key) and engine-token (token).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

new_key=(-newkey rsa:2048 -nodes)
openssl req -x509 "${new_key[@]}" -keyout ca.key -out ca.crt -days 365 -subj "/CN=private CA" \
  -addext keyUsage=critical,keyCertSign,cRLSign 2>openssl.log
openssl req "${new_key[@]}" -keyout tls.key -out tls.csr -subj /CN=dev-engine 2>>openssl.log
cat >tls.ext <<END
subjectAltName=DNS:dev-engine,DNS:localhost
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
END
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out tls.crt -days 365 -extfile tls.ext 2>>openssl.log
printf %s "$(openssl rand -hex 16)" >token

kubectl create secret generic engine-ca --from-file=ca.crt
kubectl create secret tls engine-tls --cert=tls.crt --key=tls.key
kubectl create secret generic engine-token --from-file=token
