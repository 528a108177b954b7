#!/bin/sh
# Installs the Debian packages that the tests' foreign peers come from: only as root, only on Debian, only what is
# missing. Elsewhere it says what is missing and how to name a part that runs already; those tests then say so and skip.
set -u

missing=""
need() { # command, Debian package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need epmd rabbitmq-server
[ -e /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null 2>&1 || missing="$missing rabbitmq-server"
need thrift thrift-compiler
need socat socat
need openssl openssl
need curl curl
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')

if [ -n "${missing# }" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests: $missing"
    # The packages' services must not be started: the tests run brokers of their own, on ports of their own.
    policy=/usr/sbin/policy-rc.d
    made=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086
    if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        missing=""
    else
        tail -5 "$log"
    fi
    [ -z "$made" ] || rm -f "$policy"
    rm -f "$log"
fi

for package in $missing; do
    case $package in
        rabbitmq-server) echo "missing: $package - install it, or set GATEWAY_TEST_RABBITMQ=amqp://user:password@host:port" ;;
        *) echo "missing: $package - install it; its tests will say that they skip" ;;
    esac
done
command -v java >/dev/null 2>&1 && command -v mvn >/dev/null 2>&1 ||
    echo "missing: java and mvn - install them, or set GATEWAY_TEST_KAFKA=host:port; Kafka's tests will run on Tansu"
command -v npm >/dev/null 2>&1 || echo "missing: npm - install Node.js; its clients and servers will say that they skip"
exit 0
