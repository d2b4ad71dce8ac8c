/** The side of the process that is at work, and hands its functions over. */
import { ChassisError } from '../../control/api.js';
import type { FunctionSpec } from '../protocol.js';
import { ChannelError, type HandOverChannel, type Message } from './channel.js';
import { dataAs, type MovableFunction } from './movable.js';
import { OutgoingParcel } from './parcel.js';
import { HAND_OVER_VERSION, HandOverMessage, Refusal, type Offer, type State } from './protocol.js';

/** How long the new process may take to get ready, while this one is at work: disks and directories are opened. */
const READY_MS = 60_000;
/** How long requests under way may take while nothing new is begun. Drivers give a disk 30 s, and a guest's user notices before. */
const PAUSE_MS = 1000;
/** How long the new process may take to restore, while nobody serves. */
const RESTORE_MS = 5000;
/** How long it may take to say that it serves. Then it is ended, to know. */
const BEGIN_MS = 5000;

export interface GivenFunction {
  readonly spec: FunctionSpec;
  readonly movable: MovableFunction;
}

export interface GivingOptions {
  readonly channel: HandOverChannel;
  readonly functions: readonly GivenFunction[];
  /** Ends the other process, so that it is known whether it has begun. */
  readonly endOther: () => void;
}

export interface HandedOver {
  /** How long nobody served, in milliseconds. */
  readonly pausedMs: number;
}

/**
 * Resolves once the other process serves: this one must not touch anything of the guests any more, and end.
 * @throws ChassisError UPGRADE_REFUSED: then this one serves as before
 */
export async function handOver(options: GivingOptions): Promise<HandedOver> {
  const { channel, functions } = options;
  try {
    await channel.send(...offerOf(functions));
    await expectNext(channel, HandOverMessage.READY, READY_MS);
    return await letGo(options);
  } catch (error) {
    await channel.send(HandOverMessage.ABORT, {}).catch(() => undefined);
    throw asRefusal(error);
  } finally {
    channel.close();
  }
}

async function letGo({ channel, functions, endOther }: GivingOptions): Promise<HandedOver> {
  const start = performance.now();
  try {
    await pauseAll(functions);
    const parcel = new OutgoingParcel();
    const state: State = { functions: functions.map(({ movable }) => movable.save(parcel)) };
    await channel.send(HandOverMessage.STATE, state, parcel);
    await expectNext(channel, HandOverMessage.RESTORED, RESTORE_MS);
    await begun(channel, endOther);
    return { pausedMs: performance.now() - start };
  } catch (error) {
    for (const { movable } of functions) movable.resume();
    throw error;
  }
}

/** From here on only the other process's word, or its end, tells which of the two serves. */
async function begun(channel: HandOverChannel, endOther: () => void): Promise<void> {
  const timer = setTimeout(endOther, BEGIN_MS);
  try {
    await channel.send(HandOverMessage.GO, {});
    const message = await channel.receive();
    if (message?.type === HandOverMessage.BEGUN) return;
    // It is gone, or about to be: it said no such thing, so it has not begun.
    endOther();
    throw new ChannelError('the new process ended as it was to begin');
  } finally {
    clearTimeout(timer);
  }
}

function offerOf(functions: readonly GivenFunction[]): [number, Offer, OutgoingParcel] {
  const parcel = new OutgoingParcel();
  const offered = functions.map(({ spec, movable }) => ({ spec, offer: movable.offer(parcel) }));
  return [HandOverMessage.OFFER, { version: HAND_OVER_VERSION, functions: offered }, parcel];
}

async function pauseAll(functions: readonly GivenFunction[]): Promise<void> {
  const problems = await Promise.all(
    functions.map(async ({ spec, movable }) => {
      const problem = await movable.pause(PAUSE_MS);
      return problem && `${nameOf(spec)}: ${problem}`;
    }),
  );
  const problem = problems.find((each) => each !== undefined);
  if (problem !== undefined) throw new ChassisError('UPGRADE_REFUSED', problem, 'try again in a moment');
}

async function expectNext(channel: HandOverChannel, type: number, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    const late = () => reject(new ChannelError(`the new process did not answer in ${timeoutMs} ms`));
    timer = setTimeout(late, timeoutMs);
  });
  try {
    check(await Promise.race([channel.receive(), expired]), type);
  } finally {
    clearTimeout(timer);
  }
}

function check(message: Message | undefined, type: number): void {
  if (message === undefined) throw new ChannelError('the new process is gone');
  message.parcel.close();
  if (message.type === HandOverMessage.REFUSAL) throw new ChannelError(dataAs(Refusal, message.data).reason);
  if (message.type !== type) throw new ChannelError(`the new process said ${message.type}, not ${type}`);
}

/** For people. */
export function nameOf({ function: name, device }: FunctionSpec): string {
  if (device.type === 'disk') return `disk ${device.serial}`;
  return device.type === 'card' ? `card ${device.name}` : `mount ${device.tag} (${name})`;
}

function asRefusal(error: unknown): ChassisError {
  if (error instanceof ChassisError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new ChassisError('UPGRADE_REFUSED', `the device process goes on as it was: ${reason}`);
}
