#!/bin/sh
# Makes sure that the tests find a browser (dashboard) and nginx (sub-path); says what to do where it cannot.
# Quick where both are there. With --fonts: browser and Chinese fonts alone, which the README's pictures need.
set -eu

browsers="chromium chromium-browser google-chrome google-chrome-stable chrome msedge"
PATH="$PATH:/usr/sbin:/usr/local/sbin"

# present VARIABLE NAME...: the program that the variable names, or else one of the names, is there.
present() {
    variable=$1
    eval "chosen=\${$variable:-}"
    shift
    if [ -n "$chosen" ]; then
        [ -x "$chosen" ] && return 0
        echo "$variable=$chosen 不存在，或不能执行" >&2
        exit 1
    fi
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

missing() {
    # shellcheck disable=SC2086
    present CHROMIUM $browsers || printf 'chromium '
    [ "${1:-}" = "--fonts" ] || present NGINX nginx || printf 'nginx '
}

needed=$(missing "$@")
packages=$needed
[ "${1:-}" = "--fonts" ] && packages="$packages fonts-noto-cjk"
[ -z "$packages" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    [ -z "$needed" ] && exit 0
    echo "测试需要 $needed。Debian/Ubuntu：sudo make browser；其他系统请自行安装，或设置 CHROMIUM=、NGINX=（程序的路径）" >&2
    exit 1
fi
echo "安装 $packages（测试需要）"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $packages >/dev/null
needed=$(missing "$@")
[ -z "$needed" ]
