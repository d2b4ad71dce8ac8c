/** Whether a running QEMU can take our functions, and what else must be known about its version. */
import { ChassisError, type QemuArgsRequest } from '../control/api.js';
import type { PluggableFunction } from './driver.js';
import type { VmmAbilities } from './port-choice.js';
import {
  cardHasMsix,
  portId,
  VFIO_USER_DEVICE,
  VHOST_USER_DEVICE,
  VHOST_USER_DISK,
  VIRTIO_NET,
} from './qemu-names.js';
import { isRecord, QmpCommandError, type QemuVersion, type QmpClient } from './qmp.js';

/** Debian 12's own: it has front ends for disks and network cards, and none for mounts. */
const OLDEST: QemuVersion = { major: 7, minor: 2, micro: 0 };

/** Faults of QEMU releases that the manager works around. */
export interface QemuQuirk {
  readonly from: QemuVersion;
  /** The first release without the fault; undefined while none is known. */
  readonly fixedIn: QemuVersion | undefined;
  readonly note: string;
}

/**
 * Unplugging a vfio-user function that has an MSI-X capability aborts QEMU: `memory_region_del_subregion` asserts in the
 * teardown of the PBA. Seen up to 11.1.3. The fix ("vfio-user: Do not delete the subregion") is in no release that was
 * tried, and a wrong guess here kills a guest, so newer releases count as affected until one was seen to work.
 */
export const MSIX_UNPLUG_ABORTS: QemuQuirk = {
  from: { major: 10, minor: 2, micro: 0 },
  fixedIn: undefined,
  note: 'this QEMU aborts when a vfio-user function with MSI-X is unplugged: over vfio-user, mounts use INTx, except permanent ones',
};

export function hasQuirk(version: QemuVersion, quirk: QemuQuirk): boolean {
  return (
    compareVersions(version, quirk.from) >= 0 &&
    (quirk.fixedIn === undefined || compareVersions(version, quirk.fixedIn) < 0)
  );
}

export function compareVersions(a: QemuVersion, b: QemuVersion): number {
  return a.major - b.major || a.minor - b.minor || a.micro - b.micro;
}

/** Reads `11.1.3`. */
export function parseVersion(text: string): QemuVersion {
  const [major, minor, micro] = text.split('.').map(Number);
  return { major, minor, micro };
}

export function formatVersion(version: QemuVersion): string {
  return `${version.major}.${version.minor}.${version.micro}`;
}

/**
 * How soon QEMU connects again to a device process that is gone, as a property of the socket's chardev: in milliseconds from 9.2 on, in seconds
 * before.
 *
 * Its generic device must not have it: QEMU 11.1.3 aborts where that one connects again (`vhost_dev_start: Assertion 'hdev->vhost_ops'`: its
 * `vub_connect` starts what `vub_disconnect` has wiped), and it does not wait for the connection in the first place.
 */
export function reconnection(
  { disk, card }: PluggableFunction,
  version: QemuVersion | undefined,
): { 'reconnect-ms'?: number; reconnect?: number } {
  if (!disk && !card) return {};
  const inSeconds = version !== undefined && compareVersions(version, RECONNECT_MS_SINCE) < 0;
  return inSeconds ? { reconnect: 1 } : { 'reconnect-ms': RECONNECT_MS };
}

const RECONNECT_MS = 100;
const RECONNECT_MS_SINCE: QemuVersion = { major: 9, minor: 2, micro: 0 };

/** What a QEMU can do. @throws ChassisError VMM_UNSUITABLE, saying what is missing and how to start QEMU with it */
export async function checkQemu(qmp: QmpClient, slotCount: number): Promise<VmmAbilities> {
  if (compareVersions(qmp.version, OLDEST) < 0) {
    throw unsuitable(
      `this is QEMU ${formatVersion(qmp.version)}, and ${formatVersion(OLDEST)} is the oldest that is known to work`,
      'start the VM with a newer QEMU',
    );
  }
  const abilities = await findAbilities(qmp);
  if (!abilities.vfioUser && !abilities.vhostUser && !abilities.vhostUserDisk && !abilities.vhostUserNet) {
    throw unsuitable(
      'this QEMU was built without any of the devices that a chassis is plugged in by',
      `use a build that has ${VFIO_USER_DEVICE} or ${VHOST_USER_DISK} (x86_64 or aarch64 on Linux)`,
    );
  }
  await checkMemoryIsShared(qmp);
  const ports = await peripherals(qmp);
  if (!portNumbers(slotCount).some((slot) => ports.has(portId(slot)))) {
    throw unsuitable(
      `this VM has no root port "${portId(1)}" to plug mounts into`,
      'start QEMU with the arguments that `chassis args` prints',
    );
  }
  return abilities;
}

async function findAbilities(qmp: QmpClient): Promise<VmmAbilities> {
  const [vfioUser, vhostUser, vhostUserDisk, vhostUserNet] = [
    await hasDevice(qmp, VFIO_USER_DEVICE),
    await hasDevice(qmp, VHOST_USER_DEVICE),
    await hasDevice(qmp, VHOST_USER_DISK),
    await hasDevice(qmp, VIRTIO_NET),
  ];
  return {
    vfioUser,
    vhostUser,
    vhostUserDisk,
    vhostUserNet,
    msixPreventsUnplug: hasQuirk(qmp.version, MSIX_UNPLUG_ABORTS),
    cardMsix: cardHasMsix(qmp.version),
  };
}

/** The same of a QEMU that does not run yet, by its `--version` and `-device help`. */
export function qemuAbilities(qemu: NonNullable<QemuArgsRequest['qemu']>): VmmAbilities {
  return {
    vfioUser: qemu.devices.includes(VFIO_USER_DEVICE),
    vhostUser: qemu.devices.includes(VHOST_USER_DEVICE),
    vhostUserDisk: qemu.devices.includes(VHOST_USER_DISK),
    vhostUserNet: qemu.devices.includes(VIRTIO_NET),
    msixPreventsUnplug: hasQuirk(parseVersion(qemu.version), MSIX_UNPLUG_ABORTS),
    cardMsix: cardHasMsix(parseVersion(qemu.version)),
  };
}

async function hasDevice(qmp: QmpClient, typename: string): Promise<boolean> {
  try {
    await qmp.execute('device-list-properties', { typename });
    return true;
  } catch (error) {
    if (error instanceof QmpCommandError) return false;
    throw error;
  }
}

/** A device process sees guest memory only through the file behind it, and a private mapping hides the guest's writes. */
async function checkMemoryIsShared(qmp: QmpClient): Promise<void> {
  const backends = records(await qmp.execute('query-memdev'));
  const unshared = backends.find((backend) => backend.share !== true);
  if (backends.length > 0 && !unshared) return;
  const which = unshared
    ? `memory "${String(unshared.id)}" of this VM is not shared`
    : 'the memory of this VM is not shared';
  throw unsuitable(
    which,
    'start QEMU with -object memory-backend-memfd,id=chassis-mem,size=…,share=on -machine memory-backend=chassis-mem ' +
      '(`chassis args` prints it)',
  );
}

/** The devices that have an id, with their types (`child<pcie-root-port>`). */
export async function peripherals(qmp: QmpClient): Promise<Map<string, string>> {
  return children(qmp, '/machine/peripheral');
}

export async function children(qmp: QmpClient, path: string): Promise<Map<string, string>> {
  const entries = records(await qmp.execute('qom-list', { path }));
  return new Map(
    entries
      .map((entry): [string, string] => [String(entry.name), String(entry.type)])
      .filter(([, type]) => type.startsWith('child<')),
  );
}

/** The character devices' ids. */
export async function chardevs(qmp: QmpClient): Promise<string[]> {
  return records(await qmp.execute('query-chardev')).map(({ label }) => String(label));
}

export function portNumbers(slotCount: number): number[] {
  return Array.from({ length: slotCount }, (_, i) => i + 1);
}

function records(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function unsuitable(message: string, suggestion: string): ChassisError {
  return new ChassisError('VMM_UNSUITABLE', message, suggestion);
}
