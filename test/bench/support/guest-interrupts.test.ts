import { describe, expect, it } from 'vitest';
import { deviceInterrupts } from '../../../bench/support/guest-interrupts.js';

const TWO_CPUS = `           CPU0       CPU1
  0:        150          7   IO-APIC   2-edge      timer
  9:          3          4   IO-APIC   9-fasteoi   acpi
 11:        100         20   IO-APIC  11-fasteoi   virtio1, virtio7
 29:          9          0   PCI-MSI 491521-edge      virtio0-virtqueues
 30:          1          0   PCI-MSI 524288-edge      virtio3-config
 31:       1000        234   PCI-MSI 524289-edge      virtio3-requests
 32:         50          5   PCI-MSI 540672-edge      virtio31-requests
NMI:          0          0   Non-maskable interrupts
ERR:          0
`;

describe('interrupts of a device, from /proc/interrupts', () => {
  it('are those of all its MSI-X vectors, on all CPUs', () => {
    expect(deviceInterrupts(TWO_CPUS, 'virtio3')).toBe(1235);
  });

  it('are those of its INTx line where it has no vectors', () => {
    expect(deviceInterrupts(TWO_CPUS, 'virtio7')).toBe(120);
  });

  it('are not those of a device whose name merely begins alike', () => {
    expect(deviceInterrupts(TWO_CPUS, 'virtio31')).toBe(55);
    expect(deviceInterrupts(TWO_CPUS, 'virtio')).toBe(0);
  });
});
