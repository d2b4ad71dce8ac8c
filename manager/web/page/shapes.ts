/** What the page reads of what the API answers. A test holds that the API's own types fit them. */

export interface Counters {
  readonly requests: number;
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
}

export interface Place {
  readonly slot: number;
  readonly function: number;
  readonly state: string;
}

export interface Mount extends Place {
  readonly tag: string;
  readonly source?: { readonly type: string; readonly path?: string };
  readonly readOnly: boolean;
  readonly via: string;
  readonly target?: string;
  readonly inGuest?: string;
  readonly counters?: Counters;
}

export interface Disk extends Place {
  readonly name: string;
  readonly source: { readonly type: string; readonly path?: string; readonly uri?: string };
  readonly sizeBytes?: number;
  readonly counters?: Counters;
}

export interface Card extends Place {
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
  readonly network: { readonly type: string; readonly switch?: string; readonly interface?: string };
  readonly counters?: Counters;
  readonly statistics?: { readonly rxBytes: number; readonly txBytes: number };
}

export interface Chassis {
  readonly name: string;
  readonly slots: number;
  readonly deviceProcess: { readonly state: string };
  readonly vmm?: { readonly type: string; readonly version: string };
  readonly vmmProblem?: string;
  readonly guestHelper?: boolean;
  readonly mounts: readonly Mount[];
  readonly disks: readonly Disk[];
  readonly cards: readonly Card[];
}

/** Of any type: what is shown of it is all but these. */
export interface Happened {
  readonly id: string;
  readonly time: string;
  readonly type: string;
  readonly chassis?: string;
}

/** A mount, disk or card, whatever it is. */
export interface Device extends Place {
  readonly key: string;
  readonly kind: 'mount' | 'disk' | 'card';
  readonly name: string;
  /** What is behind it on the host. */
  readonly behind: string;
  readonly via: string;
  readonly note: string;
  readonly counters: Required<Counters>;
  readonly up: boolean;
}
