/** What events tell of a mount, disk or network card, as it is at a moment. */
import type { FunctionKind, MountState, MountTerms, Plan } from '../control/api.js';
import {
  isCard,
  isDisk,
  type CardRecord,
  type ChassisModel,
  type DeviceRecord,
  type MountRecord,
  type Placement,
} from '../chassis/chassis.js';
import { functionState } from '../views.js';

/** What the model does not know of a function. */
export interface DeviceSight {
  /** A VMM has it open. */
  isConnected(device: Placement): boolean;
  /** Why it is not as it should be. */
  reason(name: string): string | undefined;
}

interface Place extends Placement {
  readonly state: MountState;
}

export interface MountLook extends Place, Pick<MountTerms, 'policy'> {
  readonly kind: 'mount' | 'tree' | 'queues';
  readonly via: Plan['via'];
  readonly queue?: number;
  readonly target?: string | undefined;
  readonly readOnly: boolean;
  readonly revoked: boolean;
  /** The mount is gone, and its function stays. */
  readonly kept: boolean;
  readonly reason: string | undefined;
}

export interface DiskLook extends Place {
  readonly kind: 'disk';
  readonly readOnly: boolean;
  readonly reason: string | undefined;
}

export interface CardLook extends Place {
  readonly kind: 'card';
  readonly mac: string;
  readonly up: boolean;
  readonly reason: string | undefined;
}

export type DeviceLook = MountLook | DiskLook | CardLook;

/** Undefined where nothing has that name. */
export function lookAt(name: string, model: ChassisModel, sight: DeviceSight): DeviceLook | undefined {
  const device = model.device(name);
  if (device) return lookAtDevice(device, model, sight);
  const child = model.children.get(name);
  if (child && model.tree) {
    const { target } = child;
    return { ...carried(model.tree, model, sight), ...termsOf(child), kind: 'mount', via: 'tree', target };
  }
  const seat = model.seats.get(name);
  if (!seat || !model.mux) return undefined;
  const { queue } = seat;
  return { ...carried(model.mux, model, sight), ...termsOf(seat), kind: 'mount', via: 'queue', queue };
}

function lookAtDevice(device: DeviceRecord, model: ChassisModel, sight: DeviceSight): DeviceLook {
  const place = { ...carried(device, model, sight), reason: sight.reason(device.tag) };
  if (isDisk(device)) return { ...place, kind: 'disk', readOnly: device.readOnly };
  if (isCard(device)) return { ...place, ...cardOf(device) };
  const { kept = false } = device;
  return { ...place, ...termsOf(device), kept, kind: kindOf(device), via: 'function' };
}

function carried(device: DeviceRecord, model: ChassisModel, sight: DeviceSight) {
  const { slot, function: fn } = device;
  const state = functionState(model, device, sight.isConnected(device));
  return { slot, function: fn, state, reason: undefined };
}

function termsOf({ readOnly, revoked, policy }: MountTerms) {
  return { readOnly, revoked: revoked ?? false, policy, kept: false };
}

function cardOf({ card }: CardRecord) {
  return { kind: 'card' as const, mac: card.mac, up: card.up };
}

function kindOf({ tree, mux }: MountRecord): Exclude<FunctionKind, 'disk' | 'card'> {
  if (tree) return 'tree';
  return mux ? 'queues' : 'mount';
}
