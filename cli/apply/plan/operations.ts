/** What an apply does, one request of the API after the other, each with what undoes it. Data alone: the executor sends them. */
import type {
  AddCardRequest,
  AddDiskRequest,
  AttachRequest,
  PolicyChange,
} from '../../../manager/control/api.js';
import type { Position } from '../manifest/problems.js';
import type { Frame } from './frame.js';

export type Operation = { readonly chassis: string } & (
  | ({ readonly do: 'create'; readonly managedBy?: string } & Frame)
  | { readonly do: 'delete' }
  | { readonly do: 'attach'; readonly request: Omit<AttachRequest, 'timeoutMs'> }
  | {
      readonly do: 'detach';
      /** All that leave: with several, the first is asked for, and the others leave with its slot. */
      readonly tags: readonly string[];
      readonly keepFunction: boolean;
      readonly force: boolean;
    }
  | { readonly do: 'set-policy'; readonly tag: string; readonly change: PolicyChange }
  | { readonly do: 'add-disk'; readonly request: Omit<AddDiskRequest, 'timeoutMs'> }
  | { readonly do: 'remove-disk'; readonly name: string; readonly force: boolean }
  | { readonly do: 'resize-disk'; readonly name: string; readonly sizeBytes: number }
  | { readonly do: 'add-card'; readonly request: Omit<AddCardRequest, 'timeoutMs'> }
  | { readonly do: 'remove-card'; readonly name: string; readonly force: boolean }
  | { readonly do: 'set-link'; readonly name: string; readonly up: boolean }
);

export interface Step {
  readonly operation: Operation;
  /** In order; empty where nothing undoes it. */
  readonly undo: readonly Operation[];
  /** What is not as before even where it is undone. */
  readonly loss?: string;
  /** What of the manifest it is for. */
  readonly at?: Position;
}

/** What is being done, for people, in the form of headings: `attach src`. */
export function operationText(operation: Operation): string {
  switch (operation.do) {
    case 'create':
      return `create chassis ${operation.chassis}`;
    case 'delete':
      return `remove chassis ${operation.chassis}`;
    case 'attach':
      return `attach ${listText(operation.request.mounts.map(({ tag }) => tag))} to ${operation.chassis}`;
    case 'detach':
      return `detach ${listText(operation.tags)} from ${operation.chassis}`;
    case 'set-policy':
      return `change the policy of ${operation.tag} in ${operation.chassis}`;
    case 'add-disk':
      return `add disk ${operation.request.name} to ${operation.chassis}`;
    case 'remove-disk':
      return `remove disk ${operation.name} from ${operation.chassis}`;
    case 'resize-disk':
      return `resize disk ${operation.name} of ${operation.chassis}`;
    case 'add-card':
      return `add network card ${operation.request.name} to ${operation.chassis}`;
    case 'remove-card':
      return `remove network card ${operation.name} from ${operation.chassis}`;
    case 'set-link':
      return `${operation.up ? 'plug in' : 'pull'} the cable of ${operation.name} in ${operation.chassis}`;
  }
}

function listText(tags: readonly string[]): string {
  return tags.join(', ');
}
