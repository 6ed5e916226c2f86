#!/usr/bin/env bash
# Boots DIRECTORY's kernel and initramfs with two NICs of DRIVER (virtio_net or igb), joined back to back, under
# QEMU's software emulation. The guest runs its checks, says what came of them, and powers itself off. Succeeds
# only if it says that all passed. What it printed is in DIRECTORY/DRIVER.log.
#
#   scripts/zc/guest.sh DIRECTORY DRIVER
set -euo pipefail
directory=$1
driver=$2
limit=180
log=$directory/$driver.log

case $driver in
# Zero copy needs DMA addresses, which the device takes only with VIRTIO_F_ACCESS_PLATFORM.
virtio_net) device=virtio-net-pci,disable-legacy=on,iommu_platform=on ;;
igb) device=igb ;;
*)
    echo "$driver: no such driver: virtio_net or igb" >&2
    exit 2
    ;;
esac

wire=$(mktemp -d)
trap 'rm -rf "$wire"' EXIT
nics=()
for end in 0 1; do
    other=$((1 - end))
    nics+=(
        -netdev "dgram,id=n$end,local.type=unix,local.path=$wire/$end,remote.type=unix,remote.path=$wire/$other"
        # igb takes a PCI Express port of its own.
        -device "pcie-root-port,id=port$end,chassis=$((end + 1)),slot=$((end + 1))"
        -device "$device,bus=port$end,netdev=n$end,mac=52:54:00:00:00:0$end,romfile="
    )
done

tools=$directory/tools
started=$SECONDS
status=0
LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu \
    timeout --foreground "$limit" "$tools/usr/bin/qemu-system-x86_64" -L "$tools/usr/share/qemu" -L "$tools/usr/share/seabios" \
    -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 768 -nodefaults -no-user-config -display none \
    -serial stdio -no-reboot -kernel "$directory/vmlinux" -initrd "$directory/initramfs.gz" \
    -append "console=ttyS0 panic=-1 quiet net.ifnames=0 mitigations=off nokaslr audit=0 no_timer_check \
cryptomgr.notests=1 rcupdate.rcu_expedited=1 random.trust_cpu=on driver=$driver" \
    "${nics[@]}" </dev/null 2>&1 | tr -d '\r' >"$log" || status=$?
took=$((SECONDS - started))

verdict=$(sed -n "s/^zero copy $driver: //p" "$log" | tail -n 1)
case $verdict in
"mode zero-copy, "*) [ "$status" -ne 0 ] || {
    echo "zero copy $driver: $verdict, $took s"
    exit 0
} ;;
esac
cat "$log" >&2
if [ "$status" -eq 124 ]; then
    verdict="no end in $limit s"
fi
echo "zero copy $driver: failed: ${verdict:-the guest ended without a verdict}, $took s"
exit 1
