# RabbitMQ and Redis for a script that starts its own. To be sourced behind apt.sh.

# Where Debian and Fedora have rabbitmq-server.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

have_servers() { command -v rabbitmq-server && command -v redis-server && command -v redis-cli; } >/dev/null

# Installs what is missing, where apt is. Else ends the script: who needs them, and what to do on macOS.
need_servers() {
    have_servers || install_by_apt rabbitmq-server redis-server
    if ! have_servers; then
        say "error: $1 on real servers, and RabbitMQ or Redis is not installed"
        say "hint: Debian, Ubuntu: sudo apt-get install rabbitmq-server redis-server"
        say "      Fedora:         sudo dnf install rabbitmq-server redis"
        say "      macOS:          $2"
        exit 1
    fi
}
