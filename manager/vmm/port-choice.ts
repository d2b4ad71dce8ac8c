/**
 * Over which port a mount reaches the VM: the one that works there and costs least, or the one that was asked for.
 *
 * vhost-user comes first where the VMM has a generic device for it: kicks and interrupts are eventfds, and it comes out again. The
 * interrupts that the guest sees are the VMM's affair: QEMU's generic device has one MSI-X vector, where Linux wants two and takes INTx
 * otherwise. Over vfio-user a vCPU waits on the socket for every kick, and MSI-X is only for what stays, or where the VMM survives its
 * unplug.
 */
import { ChassisError, type Port, type PortChoice } from '../control/api.js';

/** What of it a VMM can do. */
export interface VmmAbilities {
  readonly vfioUser: boolean;
  /** It has a vhost-user device that takes any virtio device id. */
  readonly vhostUser: boolean;
  /** True where unplugging a vfio-user function that has MSI-X crashes the VM: such functions must stay, or do with INTx. */
  readonly msixPreventsUnplug: boolean;
}

/** How one mount's function is served. */
export interface PortUse {
  readonly port: Port;
  /** Linux guests get MSI-X. */
  readonly msix: boolean;
  /** Why so, for people. */
  readonly reason: string;
}

/**
 * Chooses for one mount. `abilities` is undefined while no VMM is known.
 * @throws ChassisError VMM_UNSUITABLE where the VMM lacks the port that was asked for
 */
export function choosePort(
  mount: { readonly port: PortChoice; readonly permanent: boolean },
  abilities: VmmAbilities | undefined,
): PortUse {
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
  if (abilities && !abilities.vfioUser) throw lacks('vfio-user', 'vfio-user-pci');
  return vfioUser(mount.permanent, asked !== undefined, abilities);
}

function vfioUser(permanent: boolean, asked: boolean, abilities: VmmAbilities | undefined): PortUse {
  const why = asked
    ? 'asked for'
    : abilities
      ? 'the VMM has no generic vhost-user device'
      : 'no VMM is known yet';
  if (permanent) return { port: 'vfio-user', msix: true, reason: `${why}; MSI-X, for it is permanent` };
  if (abilities && !abilities.msixPreventsUnplug) return { port: 'vfio-user', msix: true, reason: why };
  const what = abilities ? 'this VMM aborts' : 'some VMMs abort';
  return { port: 'vfio-user', msix: false, reason: `${why}; INTx, for ${what} when MSI-X is unplugged` };
}

function lacks(port: Port, device: string): ChassisError {
  return new ChassisError(
    'VMM_UNSUITABLE',
    `this VMM has no ${device}, which ${port} needs`,
    'attach with --port auto',
  );
}
