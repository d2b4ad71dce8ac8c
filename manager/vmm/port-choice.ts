/**
 * Over which port a device reaches the VM: the one that works there and costs least, or the one that was asked for.
 *
 * vhost-user comes first where the VMM has a generic device for it: kicks and interrupts are eventfds, and it comes out again. The
 * interrupts that the guest sees are the VMM's affair: QEMU's generic device has one MSI-X vector, where Linux wants two and takes INTx
 * otherwise. Over vfio-user a vCPU waits on the socket for every kick, and MSI-X is only for what stays, or where the VMM survives its
 * unplug.
 */
import { ChassisError, type Port, type PortChoice } from '../control/api.js';

/** What the choice depends on. */
export interface PortWish {
  readonly port: PortChoice;
  readonly permanent: boolean;
  /** There where it is a disk. */
  readonly disk?: object;
  /** There where it is a network card. */
  readonly card?: object;
}

/** What of it a VMM can do. */
export interface VmmAbilities {
  readonly vfioUser: boolean;
  /** It has a vhost-user device that takes any virtio device id. */
  readonly vhostUser: boolean;
  /** It has a vhost-user disk. */
  readonly vhostUserDisk: boolean;
  /** It has a virtio network card, whose queues it can leave to a vhost-user back-end. */
  readonly vhostUserNet: boolean;
  /** True where unplugging a vfio-user function that has MSI-X crashes the VM: such functions must stay, or do with INTx. */
  readonly msixPreventsUnplug: boolean;
  /** False where its network card does with INTx over vhost-user. */
  readonly cardMsix: boolean;
}

/** How one function is served. */
export interface PortUse {
  readonly port: Port;
  /** Linux guests get MSI-X. */
  readonly msix: boolean;
  /** Why so, for people. */
  readonly reason: string;
}

/**
 * Chooses for one device. `abilities` is undefined while no VMM is known.
 * @throws ChassisError VMM_UNSUITABLE where the VMM lacks the port that was asked for
 */
export function choosePort(device: PortWish, abilities: VmmAbilities | undefined): PortUse {
  if (device.disk) return chooseWhole(device, abilities, abilities?.vhostUserDisk, DISK);
  if (device.card) return chooseForCard(device, abilities);
  return chooseForMount(device, abilities);
}

const DISK = { driver: 'vhost-user-blk-pci', lacking: 'the VMM has no vhost-user disk' } as const;
const CARD = { driver: 'virtio-net-pci', lacking: 'the VMM has no virtio network card' } as const;

/**
 * For what the VMM has a vhost-user front end of its own for, disks and network cards. Every QEMU of ours has, unless it was built without:
 * so one that is not known yet is taken to.
 */
function chooseWhole(
  { port, permanent }: PortWish,
  abilities: VmmAbilities | undefined,
  able: boolean | undefined,
  { driver, lacking }: { readonly driver: string; readonly lacking: string },
): PortUse {
  if (port === 'vfio-user') return chooseVfioUser(permanent, port, abilities, '');
  if (able ?? true) {
    const reason =
      port === 'auto' ? 'MSI-X, kicks and interrupts by eventfd, and it unplugs safely' : 'asked for';
    return { port: 'vhost-user', msix: true, reason };
  }
  if (port === 'vhost-user') throw lacks(port, driver);
  return chooseVfioUser(permanent, undefined, abilities, lacking);
}

function chooseForCard(card: PortWish, abilities: VmmAbilities | undefined): PortUse {
  const use = chooseWhole(card, abilities, abilities?.vhostUserNet, CARD);
  if (use.port !== 'vhost-user' || (abilities?.cardMsix ?? true)) return use;
  const why = card.port === 'auto' ? 'kicks and interrupts by eventfd' : 'asked for';
  return { ...use, msix: false, reason: `${why}; INTx, for this VMM can crash where a card has MSI-X` };
}

function chooseForMount(mount: PortWish, abilities: VmmAbilities | undefined): PortUse {
  if (abilities && !abilities.vhostUser && !abilities.vfioUser) {
    throw new ChassisError(
      'VMM_UNSUITABLE',
      'this VMM takes disks and network cards alone: it has neither vhost-user-test-device-pci nor vfio-user-pci',
      'start the VM with QEMU 10.1 or newer',
    );
  }
  const asked = mount.port === 'auto' ? undefined : mount.port;
  if (asked === undefined && abilities?.vhostUser) {
    return {
      port: 'vhost-user',
      msix: false,
      reason: 'kicks and interrupts are eventfds, and it unplugs safely',
    };
  }
  if (asked === 'vhost-user') {
    if (abilities && !abilities.vhostUser) throw lacks('vhost-user', 'vhost-user-test-device-pci');
    return { port: 'vhost-user', msix: false, reason: 'asked for' };
  }
  const otherwise = abilities ? 'the VMM has no generic vhost-user device' : 'no VMM is known yet';
  return chooseVfioUser(mount.permanent, asked, abilities, otherwise);
}

function chooseVfioUser(
  permanent: boolean,
  asked: Port | undefined,
  abilities: VmmAbilities | undefined,
  otherwise: string,
): PortUse {
  if (abilities && !abilities.vfioUser) throw lacks('vfio-user', 'vfio-user-pci');
  const why = asked ? 'asked for' : otherwise;
  if (permanent) return { port: 'vfio-user', msix: true, reason: `${why}; MSI-X, for it is permanent` };
  if (abilities && !abilities.msixPreventsUnplug) return { port: 'vfio-user', msix: true, reason: why };
  const what = abilities ? 'this VMM aborts' : 'some VMMs abort';
  return { port: 'vfio-user', msix: false, reason: `${why}; INTx, for ${what} when MSI-X is unplugged` };
}

function lacks(port: Port, device: string): ChassisError {
  return new ChassisError(
    'VMM_UNSUITABLE',
    `this VMM has no ${device}, which ${port} needs`,
    'use --port auto',
  );
}
