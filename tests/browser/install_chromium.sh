#!/bin/sh
# Makes sure that the dashboard's tests find a browser; says what to do where it cannot. Quick where there is one.
# With --fonts also the Chinese fonts, which only the README's pictures need.
set -eu

names="chromium chromium-browser google-chrome google-chrome-stable chrome msedge"
packages="chromium"
[ "${1:-}" = "--fonts" ] && packages="chromium fonts-noto-cjk"

present() {
    if [ -n "${CHROMIUM:-}" ]; then
        [ -x "$CHROMIUM" ] && return 0
        echo "CHROMIUM=$CHROMIUM 不存在，或不能执行" >&2
        exit 1
    fi
    for name in $names; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

if present && [ "$packages" = "chromium" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    present && exit 0
    echo "管理界面的测试需要 Chromium。Debian/Ubuntu：sudo make browser；其他系统请自行安装，或设置 CHROMIUM=/path/to/chrome" >&2
    exit 1
fi
echo "安装 $packages（管理界面的测试需要）"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $packages >/dev/null
present
