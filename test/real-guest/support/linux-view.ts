import { VirtioFeature } from '../../../devices/virtio/device.js';
import { hasFeature } from '../../../devices/virtio/ring/features.js';
import type { LinuxGuest } from '../../../testbed/guest.js';

/** What driver and device agreed on, of what both kinds of ring and of driver depend on. */
export interface Agreement {
  readonly modern: boolean;
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly notificationData: boolean;
}

/** How a Linux guest drives a PCI function. */
export interface LinuxView {
  /** By the registers that its driver has claimed. */
  readonly driver: 'modern' | 'legacy';
  readonly agreement: Agreement;
  readonly interrupts: 'MSI-X' | 'INTx';
  /** How many came; with INTx, those of the functions with the same line are among them. */
  readonly interruptCount: number;
}

export function agreementOf(features: bigint): Agreement {
  return {
    modern: hasFeature(features, VirtioFeature.VIRTIO_F_VERSION_1),
    packed: hasFeature(features, VirtioFeature.VIRTIO_F_RING_PACKED),
    eventIdx: hasFeature(features, VirtioFeature.VIRTIO_F_EVENT_IDX),
    indirect: hasFeature(features, VirtioFeature.VIRTIO_F_INDIRECT_DESC),
    notificationData: hasFeature(features, VirtioFeature.VIRTIO_F_NOTIFICATION_DATA),
  };
}

/** The function in a slot of the root bus: its folder in the guest's sysfs. */
export function functionFolder(slot: number): string {
  return `/sys/bus/pci/devices/${addressOf(slot)}`;
}

/** Asks a guest how it drives the function in a slot of the root bus. */
export async function linuxView(guest: LinuxGuest, slot: number): Promise<LinuxView> {
  const { stdout } = await guest.ok(`set -e
    cd ${functionFolder(slot)}
    echo virtio*
    cat virtio*/features
    cat /proc/ioports /proc/iomem
    cat /proc/interrupts`);
  const [name, bits, ...lines] = stdout.split('\n');
  return {
    driver: claimedBy(lines, slot),
    // Bit 0 comes first.
    agreement: agreementOf(BigInt(`0b${[...bits].reverse().join('')}`)),
    ...interruptsOf(lines, name),
  };
}

function addressOf(slot: number): string {
  return `0000:00:${slot.toString(16).padStart(2, '0')}.0`;
}

/** A driver's claim is listed below the BAR that it claims: `c080-c0ff : 0000:00:06.0`, `  c080-c0ff : virtio-pci-legacy`. */
function claimedBy(lines: readonly string[], slot: number): LinuxView['driver'] {
  const claim = /: virtio-pci-(modern|legacy)$/;
  const claims = lines.flatMap((line, i) =>
    lines[i - 1]?.endsWith(` : ${addressOf(slot)}`) ? (claim.exec(line)?.[1] ?? []) : [],
  );
  if (claims.length !== 1)
    throw new Error(`slot ${slot} has been claimed by ${claims.join(' and ') || 'no driver'}`);
  return claims[0] as LinuxView['driver'];
}

/** `29: 19 0 PCI-MSI 49153-edge virtio0-req.0`, or a line that functions share: `20: 6 0 IO-APIC 20-fasteoi virtio5, virtio1`. */
function interruptsOf(
  lines: readonly string[],
  name: string,
): Pick<LinuxView, 'interrupts' | 'interruptCount'> {
  const own = lines.filter((line) => new RegExp(` ${name}\\b(?!-config)`).test(line));
  const counts = own.map((line) =>
    (/^ *\d+:((?: +\d+)+) /.exec(line)?.[1] ?? '').trim().split(/ +/).map(Number),
  );
  return {
    interrupts: own.every((line) => line.includes('PCI-MSI')) ? 'MSI-X' : 'INTx',
    interruptCount: counts.flat().reduce((sum, count) => sum + count, 0),
  };
}
