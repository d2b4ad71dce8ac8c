/** The ids that a chassis's parts have in QEMU: on the command line, in `device_add`, and when they are recognised. */

/** The guest's memory, which must be shared with the device process. */
export const MEMORY_ID = 'chassis-mem';

export function portId(slot: number): string {
  return `chassis-slot${slot}`;
}

export function deviceId(slot: number, fn: number): string {
  return `${portId(slot)}-fn${fn}`;
}

/** The slot and function of one of our devices; undefined where the id is not ours. */
export function parseDeviceId(id: string): { slot: number; function: number } | undefined {
  const match = /^chassis-slot(\d{1,2})-fn([0-7])$/.exec(id);
  return match ? { slot: Number(match[1]), function: Number(match[2]) } : undefined;
}

/** `-device` and `device_add` take the same JSON. */
export function functionDevice(slot: number, fn: number, multifunction: boolean, socketPath: string) {
  return {
    driver: 'vfio-user-pci',
    id: deviceId(slot, fn),
    bus: portId(slot),
    addr: `0.${fn}`,
    multifunction,
    socket: { type: 'unix', path: socketPath },
  };
}

/** Functions 1 to 7 first: the guest looks at the slot when function 0 arrives, and QEMU adds nothing after it. */
export function inPlugOrder<T extends { readonly function: number }>(functions: readonly T[]): T[] {
  return [...functions].sort((a, b) => (a.function || 8) - (b.function || 8));
}
