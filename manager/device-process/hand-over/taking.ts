/** The side of the new process, which takes functions over. */
import type { FunctionSpec } from '../protocol.js';
import { ChannelError, type HandOverChannel, type Message } from './channel.js';
import { dataAs, type Given, type MovableFunction } from './movable.js';
import { AnyOffer, HandOverMessage, Offer, State, VERSIONS_TAKEN } from './protocol.js';

/** A function that is made of what was offered, and serves nobody yet. */
export interface TakenFunction {
  readonly movable: MovableFunction;
  /** Lets go of all that it holds. The old process has the same, and notices nothing. */
  close(): Promise<void>;
}

export interface TakingOptions<Taken extends TakenFunction> {
  readonly channel: HandOverChannel;
  /** @throws ChassisError or ParcelError */
  readonly create: (spec: FunctionSpec, given: Given) => Promise<Taken>;
}

/**
 * Resolves once these functions are this process's, with the one step that is left: to begin.
 * @throws ChassisError, ParcelError or ChannelError: the old process serves as before, and nothing of it is held here
 */
export async function takeOver<Taken extends TakenFunction>({
  channel,
  create,
}: TakingOptions<Taken>): Promise<Map<string, Taken>> {
  const taken = new Map<string, Taken>();
  try {
    const offer = await next(channel, HandOverMessage.OFFER);
    await orRefuse(channel, () => prepare(offer, create, taken));
    await channel.send(HandOverMessage.READY, {});
    const state = await next(channel, HandOverMessage.STATE);
    await orRefuse(channel, () => restore(state, [...taken.values()]));
    // The old process may have died since: then nobody hears this, and nobody else serves.
    await channel.send(HandOverMessage.RESTORED, {}).catch(() => undefined);
    await isLetGo(channel);
  } catch (error) {
    channel.close();
    for (const each of taken.values()) await each.close();
    throw error;
  }
  await channel.send(HandOverMessage.BEGUN, {}).catch(() => undefined);
  for (const { movable } of taken.values()) movable.resume();
  channel.close();
  return taken;
}

/** Says to the old process why not. */
async function orRefuse(channel: HandOverChannel, job: () => Promise<void>): Promise<void> {
  try {
    await job();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    await channel.send(HandOverMessage.REFUSAL, { reason }).catch(() => undefined);
    throw error;
  }
}

async function prepare<Taken extends TakenFunction>(
  { data, parcel }: Message,
  create: TakingOptions<Taken>['create'],
  taken: Map<string, Taken>,
): Promise<void> {
  try {
    const { version } = dataAs(AnyOffer, data);
    if (!VERSIONS_TAKEN.includes(version)) {
      const known = VERSIONS_TAKEN.join(', ');
      throw new ChannelError(
        `it hands over by version ${version} of the protocol, and the new one takes ${known}: only a newer one takes over from an older one`,
      );
    }
    for (const { spec, offer } of dataAs(Offer, data).functions)
      taken.set(spec.function, await create(spec, { data: offer, parcel }));
  } finally {
    parcel.close();
  }
}

async function restore({ data, parcel }: Message, taken: readonly TakenFunction[]): Promise<void> {
  try {
    const { functions } = dataAs(State, data);
    if (functions.length !== taken.length)
      throw new ChannelError('it tells of other functions than it offered');
    for (const [at, { movable }] of taken.entries()) {
      const problem = await movable.restore({ data: functions[at], parcel });
      if (problem !== undefined) throw new ChannelError(problem);
    }
  } finally {
    parcel.close();
  }
}

/** GO, or the end of a process that died while it stood still. @throws ChannelError where it goes on */
async function isLetGo(channel: HandOverChannel): Promise<void> {
  const message = await channel.receive();
  message?.parcel.close();
  if (message !== undefined && message.type !== HandOverMessage.GO)
    throw new ChannelError('the old process goes on');
}

async function next(channel: HandOverChannel, type: number): Promise<Message> {
  const message = await channel.receive();
  if (message?.type === type) return message;
  message?.parcel.close();
  throw new ChannelError('the old process goes on');
}
