# openssl: digests, ciphers, keys, certificates, a TLS server and client talking.
seq 1 50000 > d; openssl dgst -sha256 d; openssl dgst -sha3-512 d | cut -c1-60; openssl enc -aes-256-ctr -pbkdf2 -k pass -S 0102030405060708 -in d | openssl md5
openssl enc -aes-256-cbc -pbkdf2 -k pass -in d -out e && openssl enc -d -aes-256-cbc -pbkdf2 -k pass -in e | cmp - d && echo same
openssl genpkey -algorithm ed25519 -out k.pem && openssl req -x509 -new -key k.pem -subj /CN=localhost -days 2 -out c.pem && openssl x509 -in c.pem -noout -subject
openssl genrsa -out r.pem 1024 2>/dev/null; openssl rsa -in r.pem -check -noout; echo message | openssl dgst -sha256 -sign r.pem -out sig; openssl rsa -in r.pem -pubout -out pub.pem 2>/dev/null; echo message | openssl dgst -sha256 -verify pub.pem -signature sig
openssl prime 1000003; openssl rand -hex 16 | wc -c; openssl version | cut -d' ' -f1
openssl s_server -accept 127.0.0.1:$1 -cert c.pem -key k.pem -quiet -WWW > log 2>&1 & s=$!
i=0; while ! (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.05; i=$((i + 1)); [ $i = 100 ] && exit 1; done
for f in d missing; do printf "GET /$f HTTP/1.0\r\n\r\n" | openssl s_client -connect 127.0.0.1:$1 -quiet -ign_eof -CAfile c.pem 2>/dev/null | grep -v : | cksum; done
kill $s; wait $s; echo "server $?"
rm -f d e *.pem sig log
