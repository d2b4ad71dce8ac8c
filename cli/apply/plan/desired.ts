/** What manifests want, as requests of the API; what they leave to the daemon is absent. */
import type {
  AddCardRequest,
  AddDiskRequest,
  MountRequest,
  PortChoice,
  Via,
} from '../../../manager/control/api.js';
import type { Position } from '../manifest/problems.js';

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

export interface DesiredChassis extends Wanted {
  readonly slots?: number;
  readonly mounts: readonly DesiredMount[];
  readonly disks: readonly DesiredDisk[];
  readonly cards: readonly DesiredCard[];
}

export interface Desired {
  /** Who makes what: a manifest's name, or its path. */
  readonly manifest: string;
  readonly chassis: readonly DesiredChassis[];
}
