/** What manifests want, as requests of the API; what they leave to the daemon is absent. */
import type {
  AddCardRequest,
  AddDiskRequest,
  MountRequest,
  PortChoice,
  Via,
} from '../../../manager/control/api.js';
import type { Position } from '../manifest/problems.js';
import type { Frame } from './frame.js';

/** Once in a guest; where it is not what it was then; or with each apply. */
export type When = 'once' | 'changed' | 'always';

/** What QEMU boots: see `bootLine`. */
export interface BootOptions {
  readonly cpus: number;
  readonly accel?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly disks: readonly string[];
}

interface Wanted {
  /** Of a mount, its tag. */
  readonly name: string;
  readonly at: Position;
}

export interface DesiredMount extends Wanted {
  readonly terms: Omit<MountRequest, 'tag' | 'managedBy'>;
  readonly via: Via;
  /** Mounts that name the same slot share it. */
  readonly slot?: number;
  readonly permanent: boolean;
  readonly port: PortChoice;
}

export interface DesiredDisk extends Wanted {
  readonly options: Omit<AddDiskRequest, 'name' | 'managedBy' | 'timeoutMs'>;
  /** At least that, of a file or block device. */
  readonly sizeBytes?: number;
}

export interface DesiredCard extends Wanted {
  readonly options: Omit<AddCardRequest, 'name' | 'managedBy' | 'timeoutMs'>;
}

/** How its VM is started where none runs. Paths are absolute. */
export interface DesiredVm {
  readonly at: Position;
  readonly qemu: string;
  readonly memoryMiB: number;
  readonly boot: BootOptions;
  /** Where its first serial port goes; nowhere without it. */
  readonly console?: string;
  readonly args: readonly string[];
}

/** What is done in the guest. */
export interface DesiredStep extends Wanted {
  readonly action:
    | { readonly type: 'run'; readonly script: string }
    | { readonly type: 'copy'; readonly from: string; readonly to: string };
  readonly when: When;
  /** Root without it; of what is run. */
  readonly user?: string;
  readonly timeoutMs: number;
}

export interface DesiredChassis extends Wanted, Readonly<Frame> {
  readonly mounts: readonly DesiredMount[];
  readonly disks: readonly DesiredDisk[];
  readonly cards: readonly DesiredCard[];
  readonly vm?: DesiredVm;
  /** In their order. */
  readonly provision?: readonly DesiredStep[];
}

export interface Desired {
  /** Who makes what: a manifest's name, or its path. */
  readonly manifest: string;
  readonly chassis: readonly DesiredChassis[];
}
