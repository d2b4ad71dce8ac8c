/**
 * Interrupts of one device so far, over all CPUs, from a Linux guest's /proc/interrupts: `number: count… chip hwirq name, name…`.
 * A virtio device's MSI-X vectors are called `virtio3-requests` and the like, its INTx just `virtio3`.
 * @param device as in /sys/bus/virtio/devices.
 */
export function deviceInterrupts(procInterrupts: string, device: string): number {
  const [heading, ...lines] = procInterrupts.split('\n');
  const cpus = heading.trim().split(/\s+/).length;
  let total = 0;
  for (const line of lines) {
    const words = line.trim().split(/[\s,]+/);
    const isOurs = words.slice(1 + cpus).some((word) => word === device || word.startsWith(`${device}-`));
    if (isOurs) for (const count of words.slice(1, 1 + cpus)) total += Number(count);
  }
  return total;
}
