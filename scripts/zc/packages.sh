#!/usr/bin/env bash
# Downloads QEMU and a kernel with zero-copy drivers as Debian packages and unpacks them under DIRECTORY, from
# the mirror that this machine's apt uses, by a configuration of its own: the machine's packages and lists stay
# as they are. Does nothing twice. Where that is not possible it prints why, in a line, and fails.
#
#   scripts/zc/packages.sh DIRECTORY
set -euo pipefail
directory=$1
# What makes another download necessary.
wanted=$(sha256sum "$0")

cannot() {
    echo "$1"
    exit 1
}

[ "$(cat "$directory/packages.done" 2>/dev/null)" != "$wanted" ] || exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || cannot "the guest is made for x86-64 Linux, and this is $(uname -sm)"
command -v apt-get dpkg-deb >/dev/null || cannot "its packages are Debian's, and there is no apt"
release=$(. /etc/os-release && echo "${ID-}/${VERSION_CODENAME-}")
[ "${release%/*}" = debian ] || cannot "its packages are Debian's, and this is ${release%/*}"
release=${release#*/}
# Other vendors have the release's name too, and no component of this one.
mirror=$(apt-get update --print-uris 2>/dev/null |
    sed -n "s|^'\(.*\)/dists/$release/main/binary-.*|\1|p" | head -n 1)
[ -n "$mirror" ] || cannot "apt has no mirror of Debian $release"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || cannot "there is no $keyring to verify packages by"

rm -rf "$directory"/{lists,debs,tools,kernel,packages.done}
mkdir -p "$directory"/{lists/partial,debs,tools,kernel}
cd "$directory"

# igb and AF_XDP's zero copy for both drivers: QEMU 8 or later, Linux 6.14 or later.
source_line() { echo "deb [signed-by=$keyring] $mirror $1 main"; }
{ source_line "$release"; source_line "$release-backports"; } >tools.list
source_line trixie-backports >kernel.list
# How this machine fetches (its proxies), and nothing else of its configuration: it may have hooks that clean its caches.
apt-config dump Acquire >apt.conf
cat >>apt.conf <<END
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::State::Lists "$directory/lists";
Dir::Cache "$directory";
Dir::Etc::sourcelist "$directory/tools.list";
Dir::Etc::sourceparts "/dev/null";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
APT::Sandbox::User "";
APT::Get::List-Cleanup "0";
END
export APT_CONFIG=$directory/apt.conf
# The drivers, and what they need.
modules=({failover,net_failover,virtio_net,dca,i2c-algo-bit,igb}.ko.xz)
kernels=(-o "Dir::Etc::sourcelist=$directory/kernel.list")

{ timeout 120 apt-get -qq update && timeout 120 apt-get -qq "${kernels[@]}" update; } >&2 ||
    cannot "the mirror's lists cannot be read"

qemu=()
for package in qemu-system-{x86,common,data} seabios; do
    qemu+=("$package/$release-backports")
done
# QEMU, and what this machine lacks of its dependencies.
tools=$(apt-get install -s --no-install-recommends "${qemu[@]}" |
    awk '/^Inst/ { match($0, /\([^ ]+/); print $2 "=" substr($0, RSTART + 1, RLENGTH - 1) }') ||
    cannot "Debian $release-backports has no QEMU for this machine"
version=$(apt-cache "${kernels[@]}" depends linux-image-amd64 2>/dev/null |
    sed -n 's/.*Depends: linux-image-//p' | head -n 1)
[ -n "$version" ] || cannot "the mirror has no kernel in trixie-backports"

cd debs
{ timeout 300 apt-get -qq download $tools busybox-static zstd &&
    timeout 300 apt-get -qq "${kernels[@]}" download "linux-binary-$version" "linux-modules-$version"; } >&2 ||
    cannot "the packages cannot be downloaded"
cd ..

for package in debs/*.deb; do
    case $package in
    debs/linux-binary-*) dpkg-deb --fsys-tarfile "$package" | tar -x -C kernel --wildcards '*/vmlinuz' ;;
    debs/linux-modules-*) dpkg-deb --fsys-tarfile "$package" | tar -x -C kernel --wildcards "${modules[@]/#/*/}" ;;
    *) dpkg-deb -x "$package" tools ;;
    esac
done
rm -rf debs lists ./*.bin
echo "$version" >kernel.version
echo "$wanted" >packages.done
