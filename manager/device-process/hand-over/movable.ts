/** What a device of one process says so that another process can go on with it: what it holds of the host, where the port has the rest. */
import type { TSchema, Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import type { IncomingParcel, OutgoingParcel } from './parcel.js';
import { ParcelError } from './parcel.js';

/** What the other process says, not yet known to make sense, with what it sent along. */
export interface Given {
  readonly data: unknown;
  readonly parcel: IncomingParcel;
}

/** The side of a device that is at work, and of one that is about to go on. */
export interface MovableDevice {
  /**
   * What another process makes the same device of, while this one is at work.
   * @throws ChassisError UPGRADE_REFUSED where it cannot be moved, or not now
   */
  offer(parcel: OutgoingParcel): unknown;
  /** Nothing that comes from the host is taken from now on. Its driver is paused already, and has nothing under way. */
  pause(): void;
  /** What has changed since `offer`, or is known only now. */
  save(parcel: OutgoingParcel): unknown;
  /** Takes over what another process saved. Nothing is taken from the host yet. @throws ParcelError or ChassisError */
  restore(given: Given): void;
  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void;
}

/** @throws ParcelError where it is something else */
export function dataAs<T extends TSchema>(schema: T, data: unknown): Static<T> {
  if (Value.Check(schema, data)) return data;
  const problem = Value.Errors(schema, data).First();
  throw new ParcelError(
    `the other process says what is not known here: ${problem?.path} ${problem?.message}`,
  );
}

/** A function with its port, of which the device is a part. */
export interface MovableFunction {
  /** @throws ChassisError UPGRADE_REFUSED where it cannot be moved, or not now */
  offer(parcel: OutgoingParcel): unknown;
  /** Serves nobody until `resume`; resolves once requests under way are done. A string says what was not, in that time. */
  pause(timeoutMs: number): Promise<string | undefined>;
  /** @throws Error where its state cannot be told just now */
  save(parcel: OutgoingParcel): { readonly device: unknown; readonly port: unknown };
  /** Answers why it cannot go on from there. Also @throws ParcelError or ChassisError for that */
  restore(given: Given): Promise<string | undefined>;
  /** Goes on after `pause`, whatever came of that, or begins after `restore`. */
  resume(): void;
}
